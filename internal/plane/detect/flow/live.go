package flow

import (
	"net/netip"
	"slices"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
)

// liveSpan is how long rates are averaged over.
const liveSpan = 2 * time.Second

// past is what went to whom in one tick.
type past struct {
	at, span time.Duration
	of       map[resource.Ref]*sums
}

// sums are those of all exporters.
type sums struct {
	prefix     netip.Prefix
	in         [traffic.Vectors]uint64 // packets
	bytes, out uint64
}

func (s *sums) add(n *[2]traffic.Count) {
	for v := range n[0].Volume {
		s.in[v] += n[0].Volume[v].Packets
		s.bytes += n[0].Volume[v].Bytes
		s.out += n[1].Volume[v].Packets
	}
}

func (c *Collector) remember(at, span time.Duration, of map[resource.Ref]*sums) {
	c.pasts = append(c.pasts, past{at, span, of})
	for len(c.pasts) > 1 && at-c.pasts[0].at >= liveSpan {
		c.pasts = c.pasts[1:]
	}
}

// Live is what goes to each protected address now, as the exporters tell it.
// Nothing is done about it.
func (c *Collector) Live() map[resource.Ref]traffic.Live {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[resource.Ref]traffic.Live{}
	if c.protected == nil {
		return out
	}
	var span time.Duration
	for _, p := range c.pasts {
		span += p.span
	}
	for _, o := range c.protected.each {
		l := traffic.Live{Address: o.prefix.String(), Monitor: true, Offered: map[string]float64{}, Dropped: map[string]float64{}, Armed: []string{}}
		known := false
		for _, p := range c.pasts {
			s := p.of[o.ref]
			if s == nil {
				continue
			}
			known = true
			for v, n := range s.in {
				if n > 0 {
					l.Offered[traffic.Vector(v).String()] += float64(n) / span.Seconds()
					l.Packets += float64(n) / span.Seconds()
				}
			}
			l.Bits += 8 * float64(s.bytes) / span.Seconds()
			l.Out += float64(s.out) / span.Seconds()
		}
		if known {
			l.Passed = l.Packets
			out[o.ref] = l
		}
	}
	return out
}

// Heard is how an exporter does.
type Heard struct {
	Address netip.Addr
	// Silent is how long it has said nothing, since the start where it never did.
	Silent time.Duration
	Never  bool
}

// Heard lists the exporters, by address.
func (c *Collector) Heard() []Heard {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.opt.Clock()
	var out []Heard
	for a, x := range c.exporters {
		out = append(out, Heard{Address: a, Silent: now - max(x.seen, c.begun), Never: x.seen == 0})
	}
	slices.SortFunc(out, func(a, b Heard) int { return a.Address.Compare(b.Address) })
	return out
}

// Stats reads the counters.
func (c *Collector) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	for _, x := range c.exporters {
		s.Lost += x.lost
		s.Unknown += x.unknown
		s.Refused += x.templates.refused
		s.Templates += uint64(len(x.templates.each))
	}
	return s
}
