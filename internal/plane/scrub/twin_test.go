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

// TestTheTwinEndures: an upgrade opens and cuts nothing, a doubled load meets
// the same limit, sources leave no state; each is seen where it is broken.
func TestTheTwinEndures(t *testing.T) {
	w, err := NewTwin()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	x, err := w.Endure(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", x)
	if err := judgeEndurance(x); err != nil {
		t.Error(err)
	}
	if len(x.Pace) < 1 || x.Pace[0].Each < 5 {
		t.Errorf("%+v", x.Pace)
	}
	if err := judgePace(x.Pace, 1); err == nil {
		t.Error("one core is taken for sixty million packets a second")
	}
	for what, v := range map[string]Vector{"syn": SYN, "icmp": ICMP} {
		x, err := w.Endure(func(p *Policy) { p.Action[v] = Pass })
		if err != nil {
			t.Fatal(err)
		}
		if err := judgeEndurance(x); err == nil {
			t.Errorf("broken for %s: %+v", what, x)
		}
	}
	if list, err := w.Try(nil); err != nil || list[0].Passed != list[0].Sent {
		t.Error("the twin is broken by its upgrade:", list, err)
	}
}
