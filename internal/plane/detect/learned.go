package detect

import (
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
)

// Learned says of each protected address what is usual and which thresholds are
// in force, those of its busiest single address.
func (d *Detector) Learned() map[resource.Ref]traffic.Learned {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make(map[resource.Ref]traffic.Learned, len(d.rules))
	busiest := map[resource.Ref]*[traffic.Vectors]float64{}
	take := func(of resource.Ref, u *usual) {
		if d.rules[of] == nil || u.hours == 0 {
			return
		}
		l := out[of]
		l.Hours = max(l.Hours, u.hours)
		out[of] = l
		if busiest[of] == nil {
			busiest[of] = new([traffic.Vectors]float64)
		}
		for v := range u.of {
			busiest[of][v] = max(busiest[of][v], u.of[v].p95)
		}
	}
	for k, t := range d.targets {
		if !t.out && !t.wide {
			take(k.of, &t.usual)
		}
	}
	for k, r := range d.restored {
		if !k.out && !isWide(k.addr) {
			take(k.of, &r.usual)
		}
	}
	for of, r := range d.rules {
		l, p := out[of], busiest[of]
		if p == nil {
			p = new([traffic.Vectors]float64)
		}
		for _, v := range traffic.All() {
			x := traffic.Usual{Vector: v, P95: p[v], Draft: max(floors[v], burstFactor*p[v])}
			switch {
			case r.limit[v] > 0:
				x.InForce, x.Source = r.limit[v], traffic.SourceSpec
			case r.reviewed[v] > 0:
				x.InForce, x.Source = r.reviewed[v], traffic.SourceReviewed
			case x.Draft > floors[v]:
				x.InForce, x.Source = x.Draft, traffic.SourceLearned
			default:
				x.InForce, x.Source = x.Draft, traffic.SourceFloor
			}
			l.Vectors = append(l.Vectors, x)
		}
		out[of] = l
	}
	return out
}
