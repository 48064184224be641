package flow

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/traffic"
)

// to changes where a frame goes.
func to(f []byte, a netip.Addr) []byte {
	copy(f[30:], a.AsSlice())
	return f
}

// singles plays datagrams and returns what was counted of single addresses.
func (b *bench) singles(lasts time.Duration, each func(tick int) []byte) map[netip.Addr]float64 {
	out := map[netip.Addr]float64{}
	for i := range int(lasts / tickEvery) {
		b.Take(router, each(i), b.at)
		b.at += tickEvery
		for _, r := range b.tick(b.at) {
			for _, c := range r.Counts {
				if c.Single {
					if c.Out || c.Of != shop || !c.Address.IsSingleIP() {
						b.t.Fatalf("%+v", c)
					}
					out[c.Address.Addr()] += float64(c.Volume[traffic.SYN].Suspect)
				}
			}
		}
	}
	return out
}

// What is sent to one address of a network is told by itself, also beside many
// others; what goes to all of them at random is told of the network alone.
func TestSingleAddressesOfANetwork(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	victim := netip.MustParseAddr("198.51.3.7")
	somebody := func() netip.Addr { return netip.AddrFrom4([4]byte{198, 51, byte(rnd.Uint32()), byte(rnd.Uint32())}) }
	mixed := func(i, others int) []byte {
		var list [][]byte
		for range 10 {
			list = append(list, to(frame("203.0.113.9", traffic.TCPSyn), victim))
		}
		for range others {
			list = append(list, to(frame("203.0.113.9", traffic.TCPSyn), somebody()))
		}
		return sflowOf(uint32(i), 512, false, list)
	}
	for _, others := range []int{0, 30} {
		b := newBench(t)
		b.protect(assign(records("198.51.0.0/16")))
		got := b.singles(20*time.Second, func(i int) []byte { return mixed(i, others) })
		if want := 20. * 2 * 10 * 512; !about(got[victim], want, 0.05) {
			t.Errorf("beside %d others: %.0f packets, sent %.0f", others, got[victim], want)
		}
		delete(got, victim)
		for a, n := range got {
			if n > 5*512 {
				t.Errorf("%s: %.0f packets", a, n)
			}
		}
	}
	b := newBench(t)
	b.protect(assign(records("198.51.0.0/16")))
	b.singles(20*time.Second, func(i int) []byte {
		var list [][]byte
		for range 40 {
			list = append(list, to(frame("203.0.113.9", traffic.TCPSyn), somebody()))
		}
		return sflowOf(uint32(i), 512, false, list)
	})
	x := b.exporters[router.Addr()]
	if len(x.singles) > 2*heavySlots || len(x.heavy) != 1 || b.Collector.singles != len(x.singles) {
		t.Errorf("a flood over a network leaves %d series of single addresses, %d counted", len(x.singles), b.Collector.singles)
	}
	// One record of NetFlow that is much of all there is.
	b = newBench(t)
	b.protect(assign(records("198.51.100.0/24")))
	got := b.singles(10*time.Second, func(int) []byte {
		return v5(100, 100_000, 99_900, 99_900, 6, traffic.TCPSyn, 4000, 80, 1000, "203.0.113.9")
	})
	if n := got[netip.MustParseAddr("198.51.100.7")]; !about(n, 20*100*1000, 0.2) {
		t.Errorf("%.0f packets by NetFlow", n)
	}
	// Forgotten when it is over, and with its record.
	b.play(idle+2*heavyHalved, traffic.SYN, nil)
	if x := b.exporters[router.Addr()]; len(x.singles) != 0 || len(x.heavy) != 0 || b.Collector.singles != 0 {
		t.Errorf("%d series, %d networks stay", len(x.singles), len(x.heavy))
	}
	b.singles(2*time.Second, func(i int) []byte {
		return sflow(uint32(i), 512, false, 10, frame("203.0.113.9", traffic.TCPSyn))
	})
	if b.Collector.singles == 0 {
		t.Error("not counted again")
	}
	b.protect(assign(records("203.0.113.0/24")))
	if x := b.exporters[router.Addr()]; len(x.singles) != 0 || len(x.heavy) != 0 || b.Collector.singles != 0 {
		t.Errorf("%d series, %d networks of a record that is gone", len(x.singles), len(x.heavy))
	}
}
