package detect

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
)

// run plays counters in simulated time.
type run struct {
	*Detector
	at     time.Duration
	told   []events.Event
	orders []traffic.Order
	rand   *rand.Rand
}

func (r *run) Add(e events.Event) { r.told = append(r.told, e) }

var shop = resource.Ref{Kind: "ProtectedAddress", Tenant: "acme", Name: "shop"}

func newRun(seed uint64) *run {
	r := &run{at: time.Hour, rand: rand.New(rand.NewPCG(seed, 1))}
	r.Detector = New(Options{Events: r, Obey: func(o traffic.Order) bool { r.orders = append(r.orders, o); return true }, Now: func() time.Time { return time.Unix(0, 0).Add(r.at) }})
	return r
}

// mix is what goes on, packets a second.
type mix map[traffic.Vector]struct{ rate, suspect float64 }

// play lets a mix last, in readings of about 100 ms.
func (r *run) play(lasts time.Duration, m mix) {
	for end := r.at + lasts; r.at < end; {
		span := 100*time.Millisecond + time.Duration(r.rand.IntN(20)-10)*time.Millisecond
		r.at += span
		c := traffic.Count{Of: shop, Address: netip.MustParsePrefix("198.51.100.7/32")}
		for v, x := range m {
			n := r.poisson(x.rate * span.Seconds())
			s := min(n, r.poisson(x.suspect*span.Seconds()))
			c.Volume[v] = traffic.Volume{Packets: n, Suspect: s, Bytes: n * 60}
		}
		r.Count(traffic.Reading{Source: "n1", At: r.at, Span: span, Counts: []traffic.Count{c}})
	}
}

func (r *run) poisson(mean float64) uint64 {
	return uint64(max(0, mean+r.rand.NormFloat64()*max(1, mean/20)))
}

func (r *run) phases() string {
	var out []string
	for _, e := range r.told {
		if e.Attributes["phase"] != PhasePeak {
			out = append(out, e.Attributes["phase"]+" "+e.Attributes["vectors"])
		}
	}
	return strings.Join(out, "; ")
}

func quiet() mix { return mix{traffic.SYN: {100, 2}, traffic.ACK: {3000, 50}, traffic.UDP: {200, 10}} }

func with(m mix, v traffic.Vector, rate, suspect float64) mix {
	m[v] = struct{ rate, suspect float64 }{m[v].rate + rate, m[v].suspect + suspect}
	return m
}

func TestAnAttackFromStartToEnd(t *testing.T) {
	r := newRun(1)
	r.play(time.Minute, quiet())
	if len(r.told) > 0 {
		t.Fatal(r.phases())
	}
	begun := r.at
	r.play(time.Second, with(quiet(), traffic.SYN, 5000, 5000))
	if r.phases() != "start syn" {
		t.Fatalf("after one second: %q", r.phases())
	}
	if late := r.told[0].Time.Sub(time.Unix(0, 0).Add(begun)); late > 500*time.Millisecond {
		t.Errorf("told after %s", late)
	}
	r.play(5*time.Second, with(with(quiet(), traffic.SYN, 5000, 5000), traffic.UDP, 60000, 60000))
	r.play(30*time.Second, quiet())
	if got := r.phases(); got != "start syn; escalate udp,syn; end udp,syn" {
		t.Error(got)
	}
	if last := r.orders[len(r.orders)-1]; last.For != 0 {
		t.Error("the order is not taken back:", last)
	}
	for _, e := range r.told {
		if e.Attributes["phase"] == PhaseEnd {
			var peak float64
			if _, err := fmt.Sscan(e.Attributes["peak"], &peak); err != nil || peak < 58_000 || peak > 72_000 {
				t.Error("peak:", e.Attributes["peak"])
			}
		}
	}
}

// TestEveryVectorAtEveryStrength: from 1.2 times the threshold on.
// TestASteadyAttackIsToldOf: nothing of it changes for an hour, and it is told of
// all the while, not too often.
func TestASteadyAttackIsToldOf(t *testing.T) {
	r := newRun(22)
	for range 3600 {
		r.at += time.Second
		c := traffic.Count{Of: shop, Address: netip.MustParsePrefix("198.51.100.7/32")}
		c.Volume[traffic.SYN] = traffic.Volume{Packets: 50_000, Suspect: 50_000}
		r.Count(traffic.Reading{Source: "n1", At: r.at, Span: time.Second, Counts: []traffic.Count{c}})
	}
	for i := 1; i < len(r.told); i++ {
		if gap := r.told[i].Time.Sub(r.told[i-1].Time); gap > 2*alive {
			t.Errorf("nothing for %s", gap)
		}
	}
	if n := len(r.told); n < 50 || n > 100 || r.phases() != "start syn" {
		t.Errorf("%d events: %s", n, r.phases())
	}
}

func TestEveryVectorAtEveryStrength(t *testing.T) {
	for _, v := range traffic.All() {
		for _, strength := range []float64{1.2, 2, 5, 50} {
			r := newRun(uint64(v))
			r.play(20*time.Second, quiet())
			r.play(15*time.Second, with(quiet(), v, strength*floors[v], strength*floors[v]))
			if got := r.phases(); !strings.HasPrefix(got, "start "+v.String()) {
				t.Errorf("%s at %.1f: %q", v, strength, got)
			}
		}
	}
}

// TestASlowRamp is seen where it crosses the threshold.
func TestASlowRamp(t *testing.T) {
	r := newRun(3)
	for i := range 240 {
		n := float64(i) * 10
		r.play(time.Second, with(quiet(), traffic.SYN, n, n))
	}
	if r.phases() != "start syn" {
		t.Error(r.phases())
	}
}

// TestCrowdsAreNoAttack: real clients, ten times as many as usual, from one
// moment to the next, and a backup of one connection.
func TestCrowdsAreNoAttack(t *testing.T) {
	for seed := range uint64(20) {
		r := newRun(seed)
		for range 8 { // more than an hour, ten minutes each
			r.play(10*time.Minute, mix{traffic.SYN: {900, 20}, traffic.ACK: {30_000, 100}, traffic.UDP: {4000, 100}})
		}
		// In the first moments no handshake is finished yet.
		r.play(300*time.Millisecond, mix{traffic.SYN: {9000, 9000}, traffic.ACK: {60_000, 9000}, traffic.UDP: {40_000, 4000}})
		r.play(2*time.Minute, mix{traffic.SYN: {9000, 300}, traffic.ACK: {300_000, 2000}, traffic.UDP: {40_000, 1000}})
		if len(r.told) > 0 {
			t.Fatal(seed, r.phases())
		}
		r.play(time.Minute, mix{traffic.SYN: {900, 20}, traffic.ACK: {900_000, 100}})
		if len(r.told) > 0 {
			t.Fatal(seed, "backup:", r.phases())
		}
	}
}

// TestThinlySpread: what three sources see is one attack.
func TestThinlySpread(t *testing.T) {
	r := newRun(9)
	for range 150 {
		r.at += 100 * time.Millisecond
		for _, source := range []string{"a", "b", "c"} {
			c := traffic.Count{Of: shop, Address: netip.MustParsePrefix("198.51.100.7/32")}
			c.Volume[traffic.SYN] = traffic.Volume{Packets: 50, Suspect: 50}
			r.Count(traffic.Reading{Source: source, At: r.at, Span: 100 * time.Millisecond, Counts: []traffic.Count{c}})
		}
	}
	if r.phases() != "start syn" {
		t.Error(r.phases())
	}
}

func TestThresholdsOfARecord(t *testing.T) {
	r := newRun(4)
	r.Thresholds(shop, map[traffic.Vector]float64{traffic.SYN: 50_000}, nil)
	r.play(20*time.Second, with(quiet(), traffic.SYN, 20_000, 20_000))
	if len(r.told) > 0 {
		t.Error(r.phases())
	}
	r.Thresholds(shop, map[traffic.Vector]float64{traffic.SYN: 500}, nil)
	r.play(2*time.Second, with(quiet(), traffic.SYN, 5000, 5000))
	if r.phases() != "start syn" {
		t.Error(r.phases())
	}
}

// TestFewSamplesAreNoAlarm: one packet in 30 000 was looked at, and of those
// seven in twenty seconds make 10 500 packets a second, which is above the
// threshold of datagrams, by chance perhaps. Where they are many, they are believed.
func TestFewSamplesAreNoAlarm(t *testing.T) {
	for _, x := range []struct {
		samples   int // a reading of a second each
		every     int
		estimated bool
		told      bool
	}{{7, 20, false, false}, {7, 20, true, false}, {8, 20, true, true}, {8, 20, false, true}, {1, 1, true, true}, {1, 1, false, true}, {7, 1000, true, false}, {8, 1000, true, true}} {
		r := newRun(4)
		for i := range 200 {
			r.at += time.Second
			c := traffic.Count{Of: shop, Address: netip.MustParsePrefix("198.51.100.7/32")}
			n := uint64(0)
			if x.every == 1 || i%x.every == 0 {
				n = uint64(x.samples)
			}
			rd := traffic.Reading{Source: "router", At: r.at, Span: time.Second, Estimated: x.estimated}
			if x.estimated {
				c.Volume[traffic.UDP] = traffic.Volume{Packets: n * 30_000, Suspect: n * 30_000, Seen: n}
			} else {
				c.Volume[traffic.UDP] = traffic.Volume{Packets: n, Suspect: n}
				rd.Sampled = 30_000
			}
			rd.Counts = []traffic.Count{c}
			r.Count(rd)
		}
		if told := len(r.told) > 0; told != x.told {
			t.Errorf("%+v: %q", x, r.phases())
		}
	}
}

// TestSamplesOfAQuietDay: a third of the threshold, by one packet in 1000, for
// three hours: chance makes no attack of it. Two and a half times the threshold is one.
func TestSamplesOfAQuietDay(t *testing.T) {
	for _, x := range []struct {
		rate float64
		told bool
	}{{333, false}, {2500, true}} {
		r := newRun(11)
		r.Thresholds(shop, map[traffic.Vector]float64{traffic.SYN: 1000}, nil)
		for range 3 * 3600 * 2 {
			r.at += 500 * time.Millisecond
			n := uint64(0)
			for p := r.rand.ExpFloat64(); p < x.rate/2000; p += r.rand.ExpFloat64() {
				n++
			}
			c := traffic.Count{Of: shop, Address: netip.MustParsePrefix("198.51.100.7/32")}
			c.Volume[traffic.SYN] = traffic.Volume{Packets: n * 1000, Suspect: n * 1000, Seen: n}
			r.Count(traffic.Reading{Source: "router", At: r.at, Span: 500 * time.Millisecond, Estimated: true, Counts: []traffic.Count{c}})
		}
		if told := len(r.told) > 0; told != x.told {
			t.Errorf("%+v: %q", x, r.phases()[:min(200, len(r.phases()))])
		}
	}
}

// TestSourcesAreBounded: nobody who sends readings chooses what they cost.
func TestSourcesAreBounded(t *testing.T) {
	d := New(Options{})
	for i := range maxTargets + 100 {
		c := traffic.Count{Of: resource.Ref{Name: fmt.Sprint(i)}, Address: netip.MustParsePrefix("198.51.100.7/32")}
		d.Count(traffic.Reading{Source: "a", At: time.Hour, Span: time.Second, Counts: []traffic.Count{c}})
	}
	if len(d.targets) != maxTargets || d.refused != 100 {
		t.Error(len(d.targets), d.refused)
	}
	tg := d.targets[key{resource.Ref{Name: "0"}, "198.51.100.7/32", false}]
	for i := range 200 {
		tg.add(fmt.Sprint(i), time.Hour, time.Second, &[traffic.Vectors]traffic.Volume{}, counting{scale: 1})
	}
	if len(tg.sources) != maxSources {
		t.Error(len(tg.sources))
	}
}

// frame is a sampled packet of the shop's.
func (r *run) frame(v traffic.Vector, ttl byte) traffic.Sample {
	b := make([]byte, 14+40, 200)
	b[14], b[22], b[23] = 0x45, ttl, 6
	return traffic.Sample{At: r.at, Of: shop, Vector: v, Length: 900, Network: 14, Data: b[:200]}
}

// TestEvidence: some of the attack's packets, never an honest one, handed out
// after some seconds and at the end.
func TestEvidence(t *testing.T) {
	r := newRun(3)
	var kept []traffic.Evidence
	r.opt.Keep = func(e traffic.Evidence) { kept = append(kept, e) }
	r.play(10*time.Second, quiet())
	r.Sample(r.frame(traffic.SYN, 1)) // too old by then
	r.play(5*time.Second, quiet())
	r.Sample(r.frame(traffic.SYN, 2))
	flood := with(quiet(), traffic.UDP, 60000, 60000)
	r.play(time.Second, flood)
	for i := range 5000 {
		good, bad, lets, other := r.frame(traffic.UDP, 3), r.frame(traffic.UDP, 4), r.frame(traffic.UDP, 5), r.frame(traffic.SYN, 6)
		good.Proven, bad.Dropped = true, true
		for _, s := range []traffic.Sample{bad, good, other, lets} {
			r.Sample(s)
		}
		if i%100 == 0 {
			r.play(100*time.Millisecond, flood)
		}
	}
	if len(kept) != 1 || kept[0].Final || kept[0].Of != shop {
		t.Fatalf("%d, %+v", len(kept), kept)
	}
	r.play(30*time.Second, quiet())
	if len(kept) != 2 || !kept[1].Final || kept[1].Attack != kept[0].Attack {
		t.Fatalf("%d", len(kept))
	}
	frames, err := traffic.ReadCapture(kept[1].Capture)
	if err != nil || len(frames) != evidenceFirst+evidenceLate || len(frames) != kept[1].Packets {
		t.Fatal(len(frames), err)
	}
	for i, f := range frames {
		if f.Data[22] != 4 || f.Length != 900 || len(f.Data) != traffic.EvidenceSnap {
			t.Fatalf("frame %d: %d %+v", i, f.Data[22], f)
		}
		if i > 0 && f.Time.Before(frames[i-1].Time) {
			t.Fatal("out of order")
		}
	}
	if d := frames[0].Time.Sub(kept[1].Start); d < 0 || d > 5*time.Second {
		t.Error(d)
	}
	r.play(15*time.Second, quiet())
	r.Sample(r.frame(traffic.SYN, 7))
	r.play(5*time.Second, with(quiet(), traffic.SYN, 9000, 9000))
	if n := len(kept); n != 3 || kept[2].Packets != 1 {
		t.Fatalf("what came before: %d", n)
	}
}

// TestEvidenceOfWhatGoesOut: of a flood that a host of ours sends, its packets are
// kept, and none that came in.
func TestEvidenceOfWhatGoesOut(t *testing.T) {
	r := newRun(5)
	var kept []traffic.Evidence
	r.opt.Keep = func(e traffic.Evidence) { kept = append(kept, e) }
	play := func(n int, rate uint64) {
		for i := range n {
			r.at += 100 * time.Millisecond
			out := traffic.Count{Of: shop, Address: netip.MustParsePrefix("198.51.100.7/32"), Out: true}
			out.Volume[traffic.UDP] = traffic.Volume{Packets: rate / 10, Suspect: rate / 10, Bytes: rate * 6, Dropped: rate / 20}
			r.Count(traffic.Reading{Source: "n1", At: r.at, Span: 100 * time.Millisecond, Counts: []traffic.Count{out}})
			for j := range 5 {
				ours, theirs := r.frame(traffic.UDP, 4), r.frame(traffic.UDP, 9)
				ours.Out, ours.Dropped = true, (i+j)%2 == 0
				r.Sample(theirs)
				r.Sample(ours)
			}
		}
	}
	play(100, 20)
	play(100, 90_000)
	play(300, 20)
	if len(kept) < 2 || !kept[len(kept)-1].Final {
		t.Fatalf("%d: %+v", len(kept), kept)
	}
	last := kept[len(kept)-1]
	frames, err := traffic.ReadCapture(last.Capture)
	if err != nil || len(frames) < 100 {
		t.Fatal(len(frames), err)
	}
	for _, f := range frames {
		if f.Data[22] != 4 {
			t.Fatalf("a packet that came in: %+v", f)
		}
	}
}

// TestOneAddressOfANetwork: what the whole network's higher threshold hides is
// seen of the address itself; whoever sends to ever new addresses makes no memory
// grow, and those that are really protected keep their place.
func TestOneAddressOfANetwork(t *testing.T) {
	r := newRun(21)
	network := netip.MustParsePrefix("198.51.100.0/24")
	play := func(n int, single netip.Addr, rate uint64) {
		for range n {
			r.at += 100 * time.Millisecond
			whole := traffic.Count{Of: shop, Address: network}
			whole.Volume[traffic.SYN] = traffic.Volume{Packets: 100 + rate/10, Suspect: rate / 10}
			one := traffic.Count{Of: shop, Address: netip.PrefixFrom(single, 32), Single: true}
			one.Volume[traffic.SYN] = traffic.Volume{Packets: rate / 10, Suspect: rate / 10}
			r.Count(traffic.Reading{Source: "n1", At: r.at, Span: 100 * time.Millisecond, Counts: []traffic.Count{whole, one}})
		}
	}
	victim := netip.MustParseAddr("198.51.100.9")
	play(100, victim, 500)
	if len(r.told) > 0 {
		t.Fatal(r.phases())
	}
	play(120, victim, 2000) // a network's threshold is 4000
	if r.phases() != "start syn" || r.told[0].Attributes["address"] != "198.51.100.9/32" {
		t.Errorf("%s at %v", r.phases(), r.told)
	}
	play(300, victim, 0)
	if r.phases() != "start syn; end syn" {
		t.Error(r.phases())
	}
	for i := range 20_000 {
		play(1, netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), 100)
	}
	if len(r.targets) > maxSingles || r.singles > maxSingles {
		t.Errorf("%d targets, %d of them single", len(r.targets), r.singles)
	}
	if r.targets[key{shop, network.String(), false}] == nil {
		t.Error("the network itself is forgotten")
	}
}
