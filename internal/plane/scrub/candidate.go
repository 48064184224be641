package scrub

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
)

// Of a network the filter counts single addresses in a sketch, which has to be
// asked for an address by name. Samples name those that much is sent to.
const (
	candidateSeen = 2               // samples within candidateSpan
	candidateSpan = 2 * time.Second //
	candidateKept = 30 * time.Second
	maxCandidates = 16  // of one network
	maxNetworks   = 256 // that have any
)

// candidates are addresses of protected networks that may be under attack.
type candidates struct {
	mu sync.Mutex
	of map[resource.Ref]map[netip.Addr]*candidate
}

type candidate struct {
	first, last  time.Duration // of the span under way; of all
	seen, before int           // in the span under way, and in the one before
	most         int           // score that it ever had
}

// score is how often it was seen lately.
func (x *candidate) score(at time.Duration) int {
	switch age := at - x.first; {
	case age <= candidateSpan:
		return x.seen + x.before
	case age <= 2*candidateSpan:
		return x.seen
	}
	return 0
}

// note takes the address that a packet went to. What is stored of a network is
// four times what may be chosen; who was seen least gives way.
func (c *candidates) note(of resource.Ref, dst netip.Addr, at time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.of[of]
	if all == nil {
		if len(c.of) >= maxNetworks {
			return
		}
		if c.of == nil {
			c.of = map[resource.Ref]map[netip.Addr]*candidate{}
		}
		all = map[netip.Addr]*candidate{}
		c.of[of] = all
	}
	x := all[dst]
	if x == nil {
		x = &candidate{first: at}
		if len(all) >= 4*maxCandidates {
			least, score := netip.Addr{}, 0
			for a, y := range all {
				if n := y.score(at); !least.IsValid() || n < score || n == score && y.last < all[least].last {
					least, score = a, n
				}
			}
			delete(all, least)
			x.before = score // as space-saving does (Metwally 2005): else nobody new ever stays
		}
		all[dst] = x
	}
	if at-x.first > candidateSpan {
		*x = candidate{first: at, before: x.score(at), most: x.most}
	}
	x.last = at
	x.seen++
	x.most = max(x.most, x.seen)
}

// chosen are the addresses of a network to ask the sketch for, at a time: those
// that were seen most. One stays for a while after that, so that an end is seen.
func (c *candidates) chosen(of resource.Ref, at time.Duration) []netip.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.of[of]
	var out []netip.Addr
	for a, x := range all {
		if at-x.last > candidateKept {
			delete(all, a)
		} else if x.most >= candidateSeen {
			out = append(out, a)
		}
	}
	if len(all) == 0 {
		delete(c.of, of)
	}
	slices.SortFunc(out, func(a, b netip.Addr) int {
		return cmp.Or(cmp.Compare(all[b].score(at), all[a].score(at)), cmp.Compare(all[b].last, all[a].last), a.Compare(b))
	})
	return out[:min(len(out), maxCandidates)]
}

// destination is where a sampled packet went.
func destination(s *traffic.Sample) (netip.Addr, bool) {
	if s.Network < 0 || s.Network >= len(s.Data) {
		return netip.Addr{}, false
	}
	ip := s.Data[s.Network:]
	switch {
	case ip[0]>>4 == 4 && len(ip) >= 20:
		return netip.AddrFrom4([4]byte(ip[16:20])), true
	case ip[0]>>4 == 6 && len(ip) >= 40:
		return netip.AddrFrom16([16]byte(ip[24:40])), true
	}
	return netip.Addr{}, false
}

// single is what the sketch says of one address of a network between two looks.
// It knows only what nothing explains by itself; which part of that the network's
// connections explain after all is taken from the network.
func single(network *traffic.Count, now, old *Sketch, a netip.Addr) traffic.Count {
	out := traffic.Count{Of: network.Of, Address: netip.PrefixFrom(a, a.BitLen()), Single: true}
	for _, v := range traffic.All() {
		whole := &network.Volume[v]
		n := min(uint64(now.Since(old, a, Vector(v))), whole.Packets)
		if n == 0 {
			continue
		}
		share := func(of uint64) uint64 { return uint64(float64(n) * float64(of) / float64(whole.Packets)) }
		out.Volume[v] = traffic.Volume{Packets: n, Suspect: min(n, whole.Suspect), Bytes: share(whole.Bytes), Dropped: share(whole.Dropped)}
	}
	return out
}
