package scrub

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/shield"
)

// TestOneAddressOfANetworkIsCounted: of a network those addresses are counted by
// themselves that much is sent to, of both families.
func TestOneAddressOfANetworkIsCounted(t *testing.T) {
	both(t, func(t *testing.T, src, dst netip.Addr) {
		b := newBench(t)
		bits := 24
		if dst.Is6() {
			bits = 64
		}
		network, err := dst.Prefix(bits)
		if err != nil {
			t.Fatal(err)
		}
		c := b.centre(nil, object("ProtectedAddress", "platform", "net", &shield.ProtectedAddressSpec{Prefix: network.String()}))
		b.put(c)
		n := &counter{last: map[resource.Ref]counted{}}
		read := func() map[netip.Prefix]uint64 {
			t.Helper()
			r, err := c.reading(n)
			if err != nil {
				t.Fatal(err)
			}
			out := map[netip.Prefix]uint64{}
			if r != nil {
				for _, x := range r.Counts {
					if !x.Out {
						out[x.Address] += x.Volume[UDP].Packets
						if x.Single != x.Address.IsSingleIP() || x.Volume[UDP].Suspect > x.Volume[UDP].Packets {
							t.Errorf("%+v", x)
						}
					}
				}
			}
			return out
		}
		to := func(a netip.Addr, times int) {
			f := shape{src: src, dst: a, udp: &layers.UDP{SrcPort: 9, DstPort: 999}, payload: make([]byte, 30)}.build(t)
			for range times {
				b.in(f)
			}
		}
		other := dst.Next()
		read()
		to(dst, 50)
		if got := read(); got[network] != 50 || len(got) != 1 {
			t.Errorf("nobody named an address: %v", got)
		}
		ref := c.plan.of[0]
		at := Monotonic()
		for range candidateSeen {
			c.candidates.note(ref, dst, at)
		}
		c.candidates.note(ref, other, at)
		read()
		to(dst, 40)
		to(other, 7)
		one := netip.PrefixFrom(dst, dst.BitLen())
		if got := read(); got[network] != 47 || got[one] < 40 || got[one] > 47 || len(got) != 2 {
			t.Errorf("%v", got)
		}
		if got := read(); got[one] != 0 || len(got) != 2 {
			t.Errorf("when nothing comes: %v", got)
		}
		c.candidates.mu.Lock()
		c.candidates.of[ref][dst].last -= 2 * candidateKept
		c.candidates.mu.Unlock()
		if got := read(); len(got) != 1 {
			t.Errorf("long after: %v", got)
		}
	})
}

// TestCandidatesAreBounded: which addresses are sent to is the senders' choice, how
// many are kept is not.
func TestCandidatesAreBounded(t *testing.T) {
	var c candidates
	for i := range 100_000 {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		of := resource.Ref{Kind: "ProtectedAddress", Tenant: "acme", Name: fmt.Sprint(i % (2 * maxNetworks))}
		for range candidateSeen {
			c.note(of, a, time.Second)
		}
	}
	if len(c.of) > maxNetworks {
		t.Errorf("%d networks", len(c.of))
	}
	for of, all := range c.of {
		if n := len(c.chosen(of, time.Second)); len(all) > 4*maxCandidates || n != maxCandidates {
			t.Errorf("%d kept, %d chosen", len(all), n)
		}
	}
	// Many that are seen a little do not hide one that is seen much.
	of := resource.Ref{Kind: "ProtectedAddress", Tenant: "acme", Name: "0"}
	victim := netip.MustParseAddr("192.0.2.1")
	for i := range 2000 {
		at := 2*time.Second + time.Duration(i)*time.Millisecond
		for range candidateSeen {
			c.note(of, netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}), at)
		}
		if i%20 == 0 {
			c.note(of, victim, at)
		}
	}
	if got := c.chosen(of, 4*time.Second); !slices.Contains(got, victim) {
		t.Errorf("%v", got)
	}
	for of := range c.of {
		c.chosen(of, time.Hour)
	}
	if len(c.of) != 0 {
		t.Errorf("%d networks long after", len(c.of))
	}
}
