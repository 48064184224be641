package scrub

import "testing"

// TestTheTwin: every vector is met and the honest pass; where the policy is
// broken for one vector, that one is seen to pass and no other.
func TestTheTwin(t *testing.T) {
	w, err := NewTwin()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	list, err := w.Try(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range list {
		t.Logf("%+v", x)
		switch x.What {
		case "connect", "path-mtu":
			if x.Passed != x.Sent || x.Twin != x.Sent {
				t.Errorf("%+v", x)
			}
		default:
			if x.Passed > 20 || x.Twin != x.Sent || x.Sent != trialPackets {
				t.Errorf("%+v", x)
			}
		}
	}
	list, err = w.Try(func(p *Policy) { p.Action[UDP] = Pass })
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range list {
		if (x.What == "udp") != (x.Passed == trialPackets && x.What != "path-mtu") {
			t.Errorf("broken for udp: %+v", x)
		}
	}
}
