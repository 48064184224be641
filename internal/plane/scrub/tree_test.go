package scrub

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"
)

// The filter finds the policy of the longest prefix, whatever lengths there are,
// and also where more prefixes are scattered than the tree has nodes for.
func TestPrefixesOfEveryLength(t *testing.T) {
	for _, x := range []struct {
		name     string
		prefixes int
		crowded  bool // nested in few networks
		full     bool // the tree is
	}{{"nested", 3000, true, false}, {"scattered", 6000, false, true}, {"one", 1, false, false}, {"none", 0, false, false}} {
		t.Run(x.name, func(t *testing.T) {
			b := newBench(t)
			rnd := rand.New(rand.NewPCG(7, uint64(x.prefixes)))
			address := func(v6 bool) netip.Addr {
				if v6 {
					a := [16]byte{0x2a, 5}
					for i := 2; i < 16; i++ {
						if a[i] = byte(rnd.Uint32()); x.crowded && i < 15 {
							a[i] = 0
						}
						if x.crowded && i < 4 {
							a[i] = byte(rnd.IntN(4))
						}
					}
					return netip.AddrFrom16(a)
				}
				a := [4]byte{byte(11 + rnd.IntN(80)), byte(rnd.Uint32()), byte(rnd.Uint32()), byte(rnd.Uint32())}
				if x.crowded {
					a = [4]byte{60, a[1] & 3, a[2] & 3, a[3]}
				}
				return netip.AddrFrom4(a)
			}
			publish := func() map[netip.Prefix]uint32 {
				want := map[netip.Prefix]uint32{}
				policies := make([]Policy, 15)
				for i := range policies {
					policies[i].Slot = uint32(i)
				}
				for len(want) < x.prefixes {
					a := address(len(want)%2 == 1)
					p, err := a.Prefix(1 + rnd.IntN(a.BitLen()))
					if err != nil {
						t.Fatal(err)
					}
					if _, twice := want[p]; twice {
						continue
					}
					slot := uint32(rnd.IntN(len(policies)))
					want[p] = slot
					policies[slot].Prefixes = append(policies[slot].Prefixes, p)
				}
				b.publish(Options{}, policies...)
				return want
			}
			longest := func(want map[netip.Prefix]uint32, a netip.Addr) (slot uint32, found bool) {
				for bits := a.BitLen(); bits >= 0; bits-- {
					p, err := a.Prefix(bits)
					if err != nil {
						t.Fatal(err)
					}
					if slot, found = want[p]; found {
						return slot, true
					}
				}
				return 0, false
			}
			for round := range 4 { // each bank twice
				want := publish()
				if full := len(b.tree[b.set.Bank].nodes) == treeNodes; full != x.full {
					t.Fatalf("the tree is full: %t", full)
				}
				var targets []netip.Addr
				for p := range want {
					if targets = append(targets, p.Addr()); len(targets) == 150 {
						break
					}
				}
				for i := range 150 {
					targets = append(targets, address(i%2 == 1))
				}
				for _, dst := range targets {
					src := guest4
					if dst.Is6() {
						src = guest6
					}
					slot, found := longest(want, dst)
					before := seen(t, b, slot)
					total, err := b.Total()
					if err != nil {
						t.Fatal(err)
					}
					b.in(shape{src: src, dst: dst, udp: &layers.UDP{SrcPort: 4000, DstPort: 4001}}.build(t))
					after, err := b.Total()
					if err != nil {
						t.Fatal(err)
					}
					if touched := after.Untouched == total.Untouched; touched != found || found && seen(t, b, slot) != before+1 {
						t.Fatalf("round %d: %s: touched %t; its policy is %d, %t", round, dst, touched, slot, found)
					}
				}
			}
		})
	}
}

func seen(t *testing.T, b *bench, slot uint32) (n uint64) {
	t.Helper()
	c, err := b.Counts(slot, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range c.Packets {
		n += x
	}
	return n
}
