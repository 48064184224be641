package detect

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
)

// hours lets a mix last, in readings of five seconds.
func (r *run) hours(n float64, m mix) {
	for end := r.at + time.Duration(n*float64(time.Hour)); r.at < end; {
		r.at += 5 * time.Second
		c := traffic.Count{Of: shop, Address: netip.MustParsePrefix("198.51.100.7/32")}
		for v, x := range m {
			c.Volume[v] = traffic.Volume{Packets: uint64(5 * x.rate), Suspect: uint64(5 * x.suspect)}
		}
		r.Count(traffic.Reading{Source: "router", At: r.at, Span: 5 * time.Second, Counts: []traffic.Count{c}})
	}
}

// follow says which addresses are protected, as Run does.
func (r *run) follow(refs ...resource.Ref) {
	r.reset()
	for _, of := range refs {
		r.Thresholds(of, nil, nil)
	}
	r.settle()
}

func (r *run) usual(v traffic.Vector) traffic.Usual {
	for _, u := range r.Learned()[shop].Vectors {
		if u.Vector == v {
			return u
		}
	}
	return traffic.Usual{}
}

func near(a, b float64) bool { return math.Abs(a-b) <= b/50 }

func TestWhatIsUsualIsLearned(t *testing.T) {
	r := newRun(1)
	r.follow(shop)
	if u := r.usual(traffic.ACK); u.Source != traffic.SourceFloor || u.InForce != floors[traffic.ACK] {
		t.Errorf("at first: %+v", u)
	}
	r.hours(0.9, mix{traffic.ACK: {3000, 0}})
	if l := r.Learned()[shop]; l.Hours != 0 {
		t.Errorf("after 54 minutes: %+v", l)
	}
	r.hours(40, mix{traffic.ACK: {3000, 0}})
	r.hours(1.5, mix{traffic.ACK: {9000, 0}}) // of 42 hours, two are more than one in twenty… that is not usual yet
	if u, l := r.usual(traffic.ACK), r.Learned()[shop]; !near(u.P95, 3000) || !near(u.InForce, 15_000) || u.Source != traffic.SourceLearned || l.Hours < 40 || l.Hours > 42 {
		t.Errorf("after two days: %+v, %d hours", u, l.Hours)
	}
	r.hours(24, mix{traffic.ACK: {9000, 0}})
	if u := r.usual(traffic.ACK); !near(u.P95, 9000) {
		t.Errorf("after a busy day: %+v", u)
	}
	r.hours(7*24+1, mix{traffic.ACK: {500, 0}})
	if u, l := r.usual(traffic.ACK), r.Learned()[shop]; !near(u.P95, 500) || u.Source != traffic.SourceFloor || l.Hours != kept {
		t.Errorf("after a quiet week: %+v, %d hours", u, l.Hours)
	}
	if u := r.usual(traffic.UDP); u.P95 != 0 {
		t.Errorf("what never came: %+v", u)
	}
}

// TestNobodyTrainsItQuickly: a sender who stays just below the threshold gains
// at most a factor of two in a day.
func TestNobodyTrainsItQuickly(t *testing.T) {
	r := newRun(2)
	r.follow(shop)
	r.hours(2, mix{traffic.SYN: {150, 0}})
	for day := 1; day <= 5; day++ {
		for range 24 {
			x := r.usual(traffic.SYN).InForce * 0.95
			r.hours(1, mix{traffic.SYN: {150 + x, x}})
		}
		if limit := r.usual(traffic.SYN).InForce; limit > floors[traffic.SYN]*2*math.Pow(2.05, float64(day)) {
			t.Fatalf("after %d days: %.0f", day, limit)
		}
	}
	if len(r.told) > 0 {
		t.Errorf("below the threshold: %s", r.phases())
	}
}

func TestAttacksAreNotUsual(t *testing.T) {
	r := newRun(3)
	r.follow(shop)
	r.hours(3, mix{traffic.SYN: {150, 0}})
	r.hours(30, mix{traffic.SYN: {50_000, 50_000}})
	r.hours(2, mix{traffic.SYN: {150, 0}})
	if u := r.usual(traffic.SYN); u.P95 > 350 { // the ten seconds before it was told of
		t.Errorf("%+v", u)
	}
}

func TestWhatWasLearnedOutlivesTheProcess(t *testing.T) {
	r := newRun(4)
	r.hours(2.5, mix{traffic.ACK: {3000, 0}})
	if r.Memory() != nil {
		t.Error("a memory, and nobody knows what is protected")
	}
	r.follow(shop)
	r.hours(4, mix{traffic.ACK: {3000, 0}, traffic.DNS: {10, 10}})
	r.Count(traffic.Reading{Source: "router", At: r.at, Span: time.Second, Counts: []traffic.Count{{Of: resource.Ref{Kind: protectedKind, Tenant: "acme", Name: "gone"}, Address: netip.MustParsePrefix("192.0.2.1/32")}}})
	before, b := r.Learned(), r.Memory()

	for what, step := range map[string]time.Duration{"at once": 0, "a week later": 7 * 24 * time.Hour, "a clock that went back": -30 * time.Minute} {
		n := newRun(5)
		n.at = r.at + step
		if err := n.Remember(b); err != nil {
			t.Fatal(what, err)
		}
		n.at = 5 * time.Second // the machine started anew: so did its monotonic clock
		n.follow(shop)
		if now := n.Learned(); fmt.Sprint(now) != fmt.Sprint(before) {
			t.Errorf("%s: %+v, want %+v", what, now, before)
		}
		if again := n.Memory(); len(again) != len(b) {
			t.Errorf("%s: %d bytes, want %d", what, len(again), len(b))
		}
		n.hours(0.6, mix{traffic.ACK: {3000, 0}}) // the half hour before the end counts
		if l := n.Learned()[shop]; l.Hours != before[shop].Hours+1 {
			t.Errorf("%s: %d hours, want one more than %d", what, l.Hours, before[shop].Hours)
		}
		n.follow()
		if x := n.Memory(); len(x) != memoryHead+4 {
			t.Errorf("%s: %d bytes of nobody's address", what, len(x))
		}
	}
	n := newRun(6)
	n.at = r.at + 31*24*time.Hour
	if err := n.Remember(b); err != nil || len(n.restored) > 0 {
		t.Errorf("of last month: %v, %d", err, len(n.restored))
	}
	// Of a clock that was years ahead: it ends all the same.
	n.at = -1000 * time.Hour
	if err := n.Remember(b); err != nil || len(n.restored) != 1 {
		t.Fatalf("%v, %d", err, len(n.restored))
	}
	for _, x := range n.restored {
		if x.seen.After(time.Unix(0, 0).Add(n.at)) {
			t.Error("seen in the future")
		}
	}
}

func TestAHarmedMemoryIsNotTaken(t *testing.T) {
	r := newRun(7)
	r.follow(shop)
	r.hours(3.5, mix{traffic.ACK: {3000, 0}})
	good := r.Memory()
	try := func(what string, b []byte) {
		n := newRun(8)
		if err := n.Remember(b); err == nil || len(n.restored) > 0 {
			t.Errorf("%s: %v, %d", what, err, len(n.restored))
		}
	}
	try("nothing", nil)
	for i := range good {
		try(fmt.Sprint("cut at ", i), good[:i])
		harmed := bytes.Clone(good)
		harmed[i] ^= 0x10
		try(fmt.Sprint("harmed at ", i), harmed)
	}
	newer := sealMemory(append([]byte("dun learned 2\n"), good[len(memoryVersion):len(good)-4]...))
	try("a newer version", newer)
	for what, change := range map[string]func([]byte) []byte{
		"more targets than there are": func(b []byte) []byte { binary.BigEndian.PutUint32(b[memoryHead-4:], 2); return b },
		"very many targets":           func(b []byte) []byte { binary.BigEndian.PutUint32(b[memoryHead-4:], 1<<31); return b },
		"too many bytes":              func(b []byte) []byte { return append(b, 0) },
		"too many hours": func(b []byte) []byte {
			at := memoryHead + 1 + len("acme") + 1 + len("shop") + 1 + len("198.51.100.7/32") + 8 + 1
			b[at] = kept + 1
			return b
		},
	} {
		try(what, sealMemory(change(bytes.Clone(good[:len(good)-4]))))
	}
}

func sealMemory(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// FuzzMemory: whatever the file holds, what is taken of it is bounded and written
// again as it was.
func FuzzMemory(f *testing.F) {
	r := newRun(9)
	r.follow(shop)
	r.hours(3.5, mix{traffic.ACK: {3000, 0}, traffic.SYN: {20, 3}})
	f.Add(r.Memory()[memoryHead-4:])
	f.Fuzz(func(t *testing.T, body []byte) {
		b := append([]byte(memoryVersion), make([]byte, 8)...)
		d := newRun(10)
		if d.Remember(sealMemory(append(b, body...))) != nil {
			return
		}
		if len(d.restored) > maxTargets {
			t.Fatal(len(d.restored))
		}
		for k, x := range d.restored {
			d.Thresholds(k.of, nil, nil)
			if x.hours > kept || x.watched >= time.Hour {
				t.Fatalf("%+v", x.usual)
			}
		}
		d.settle()
		once := d.Memory()
		if err := d.Remember(once); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(d.Memory(), once) {
			t.Fatal("another memory than was remembered")
		}
	})
}

// TestRulesHoldOverAReset: while the records are read again, those of before count.
func TestRulesHoldOverAReset(t *testing.T) {
	r := newRun(12)
	other := resource.Ref{Kind: protectedKind, Tenant: "acme", Name: "other"}
	for _, of := range []resource.Ref{shop, other} {
		r.Thresholds(of, map[traffic.Vector]float64{traffic.SYN: 50_000}, nil)
	}
	r.settle()
	r.reset()
	r.play(20*time.Second, mix{traffic.SYN: {9000, 9000}})
	r.Thresholds(shop, map[traffic.Vector]float64{traffic.SYN: 50_000}, nil)
	r.settle()
	r.play(20*time.Second, mix{traffic.SYN: {9000, 9000}})
	if len(r.told) > 0 || r.rules[other] != nil || r.rules[shop] == nil {
		t.Errorf("%s, %v", r.phases(), r.rules)
	}
}

func TestAReviewedThresholdStays(t *testing.T) {
	r := newRun(11)
	r.follow(shop)
	r.hours(5, mix{traffic.SYN: {150, 0}, traffic.UDP: {2000, 0}})
	r.Thresholds(shop, map[traffic.Vector]float64{traffic.UDP: 7000}, map[traffic.Vector]float64{traffic.SYN: 3000, traffic.UDP: 10_000})
	if u := r.usual(traffic.UDP); u.Source != traffic.SourceSpec || u.InForce != 7000 || !near(u.Draft, 10_000) {
		t.Errorf("%+v", u)
	}
	if u := r.usual(traffic.SYN); u.Source != traffic.SourceReviewed || u.InForce != 3000 {
		t.Errorf("%+v", u)
	}
	r.play(20*time.Second, mix{traffic.SYN: {2700, 2700}}) // above the floor, below what was reviewed
	if len(r.told) > 0 {
		t.Errorf("below it: %s", r.phases())
	}
	r.play(20*time.Second, mix{traffic.SYN: {3500, 3500}})
	if r.phases() != "start syn" {
		t.Errorf("above it: %s", r.phases())
	}
}
