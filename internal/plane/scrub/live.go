package scrub

import (
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
)

// liveSpan is how long rates are averaged over.
const liveSpan = time.Second

// past is an older reading.
type past struct {
	at time.Duration
	of map[resource.Ref]counted
}

// remember keeps readings of a little more than a second.
func (c *Centre) remember(at time.Duration, of map[resource.Ref]counted) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pasts = append(c.pasts, past{at, of})
	for len(c.pasts) > 2 && at-c.pasts[1].at >= liveSpan {
		c.pasts = c.pasts[1:]
	}
}

// Live is what goes to each protected address now.
func (c *Centre) Live() map[resource.Ref]traffic.Live {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pasts) < 2 {
		return nil
	}
	old, now := c.pasts[0], c.pasts[len(c.pasts)-1]
	per := func(a, b uint64) float64 { return float64(b-a) / (now.at - old.at).Seconds() }
	out := map[resource.Ref]traffic.Live{}
	for i, ref := range c.plan.of {
		b, known := now.of[ref]
		a, before := old.of[ref]
		if !known || !before {
			continue
		}
		p := &c.plan.policies[i]
		l := traffic.Live{Address: p.Prefixes[0].String(), Monitor: p.Monitor, Offered: map[string]float64{}, Dropped: map[string]float64{}, Armed: []string{}}
		for v := range Vectors {
			if n := per(a.in.Packets[v], b.in.Packets[v]); n > 0 {
				l.Offered[Vector(v).String()] = n
				l.Packets += n
			}
			l.Bits += 8 * per(a.in.Bytes[v], b.in.Bytes[v])
			l.Passed += per(a.in.Passed[v], b.in.Passed[v])
			l.Out += per(a.out.Packets[v], b.out.Packets[v])
			if p.Action[v] != Pass {
				l.Armed = append(l.Armed, Vector(v).String())
			}
		}
		for r := range Reasons {
			if n := per(a.in.Reason[r], b.in.Reason[r]); n > 0 && (Reason(r).Drop() || Reason(r).Answered()) {
				l.Dropped[Reason(r).String()] = n
			}
		}
		out[ref] = l
	}
	return out
}
