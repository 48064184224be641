package flow

import (
	"math"
	"net/netip"
	"time"

	"github.com/dun-sec/dun/internal/core/traffic"
)

// Of a protected network single addresses are told too: those that most is sent
// to, which no sender can hide among others that little is sent to.
const (
	heavySlots  = 32 // addresses of one network that are weighed, by exporter
	heavyHalved = 2 * time.Second
	heavySeen   = 2    // times, and an address is counted
	heavyPart   = 64   // or one record is such a part of all that is weighed
	maxNetworks = 256  // of one exporter
	maxSingles  = 4096 // series of all exporters together
)

// heavy weighs addresses of one network by space-saving (Metwally, Agrawal and
// El Abbadi, 2005): who comes new takes the place, and the weight, of the
// lightest.
type heavy struct {
	each   map[netip.Addr]*weight
	all    float64 // weights
	halved time.Duration
}

type weight struct {
	packets float64
	seen    int // since it came
}

// note reports whether an address is worth to be counted by itself.
func (h *heavy) note(a netip.Addr, packets float64, at time.Duration) bool {
	if at-h.halved >= heavyHalved {
		h.all = 0
		for b, w := range h.each {
			if w.packets /= 2; w.packets < 0.5 {
				delete(h.each, b)
			}
			h.all += w.packets
		}
		h.halved = at
	}
	w := h.each[a]
	if w == nil {
		w = &weight{}
		if len(h.each) >= heavySlots {
			lightest, least := netip.Addr{}, math.Inf(1)
			for b, x := range h.each {
				if x.packets < least {
					lightest, least = b, x.packets
				}
			}
			w.packets = least
			delete(h.each, lightest)
		}
		h.each[a] = w
	}
	w.packets += packets
	w.seen++
	h.all += packets
	return w.seen >= heavySeen || packets*heavyPart >= h.all
}

type singleKey struct {
	owner   *owner
	address netip.Addr
	vector  traffic.Vector
}

// single is the series of an address of a network; nil = it is not counted by
// itself.
func (c *Collector) single(x *exporter, k singleKey, packets float64, at time.Duration) *series {
	if k.owner == nil || k.owner.prefix.IsSingleIP() {
		return nil
	}
	h := x.heavy[k.owner]
	if h == nil {
		if len(x.heavy) >= maxNetworks {
			return nil
		}
		h = &heavy{each: map[netip.Addr]*weight{}, halved: at}
		x.heavy[k.owner] = h
	}
	worth := h.note(k.address, packets, at)
	s := x.singles[k]
	if s == nil && worth && c.singles < maxSingles {
		s = &series{}
		x.singles[k] = s
		c.singles++
	}
	return s
}

// tellSingles makes counts of them. It knows only what nothing explains by
// itself; what the network's other direction explains after all is taken from
// them as well.
func (c *Collector) tellSingles(x *exporter, at, span time.Duration, networks map[*owner]*[2]traffic.Count) (out []traffic.Count) {
	type address struct {
		owner   *owner
		address netip.Addr
	}
	counts := map[address]*traffic.Count{}
	for k, s := range x.singles {
		s.tick(at, span)
		if at-s.active > idle {
			delete(x.singles, k)
			c.singles--
			continue
		}
		who := address{k.owner, k.address}
		n := counts[who]
		if n == nil {
			n = &traffic.Count{Of: k.owner.ref, Address: netip.PrefixFrom(k.address, k.address.BitLen()), Single: true}
			counts[who] = n
		}
		v := s.volume()
		if network := networks[k.owner]; network != nil {
			v.Suspect = min(v.Suspect, network[0].Volume[k.vector].Suspect)
		}
		n.Volume[k.vector] = v
	}
	for _, n := range counts {
		out = append(out, *n)
	}
	for o, h := range x.heavy {
		if at-h.halved > idle {
			delete(x.heavy, o)
		}
	}
	return out
}
