package detect

import (
	"maps"
	"math"
	"net/netip"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
)

// floors are the packets a second to one address below which nothing is an
// attack, whatever was learned.
var floors = [traffic.Vectors]float64{
	traffic.SYN: 1000, traffic.ACK: 5000, traffic.RST: 2000, traffic.SYNACK: 1000, traffic.UDP: 5000, traffic.DNS: 2000,
	traffic.ICMP: 500, traffic.Frag: 1000, traffic.Amp: 500, traffic.Other: 2000,
}

const (
	burstFactor = 5 // times what is usual (P95): a threshold
	wideFactor  = 4 // times that of an address: of a network
)

// rule is what a record says about an address.
type rule struct {
	limit    [traffic.Vectors]float64 // 0 = see reviewed
	reviewed [traffic.Vectors]float64 // what a person took over of the draft; 0 = learned
	prefix   netip.Prefix             // of the record
}

var nothing = &rule{}

func (d *Detector) rule(of resource.Ref) *rule {
	if r := d.rules[of]; r != nil {
		return r
	}
	return nothing
}

// said is the threshold that people gave; 0 = none.
func (r *rule) said(v traffic.Vector) float64 {
	if r.limit[v] > 0 {
		return r.limit[v]
	}
	return r.reviewed[v]
}

// Thresholds sets what a record says, packets a second to each address: its own
// thresholds, and those of the draft that a person took over.
func (d *Detector) Thresholds(of resource.Ref, own, reviewed map[traffic.Vector]float64) {
	r := &rule{}
	for v, n := range own {
		r.limit[v] = n
	}
	for v, n := range reviewed {
		r.reviewed[v] = n
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.rules[of]; old != nil {
		r.prefix = old.prefix
	}
	d.rules[of] = r
	delete(d.stale, of)
}

// Prefix is the network of a protected address, as its record says.
func (d *Detector) Prefix(of resource.Ref) (p netip.Prefix, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.rules[of]; r != nil {
		p = r.prefix
	}
	return p, p.IsValid()
}

// Forget drops an address that is protected no more.
func (d *Detector) Forget(of resource.Ref) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.rules, of)
	delete(d.attacks, of)
	maps.DeleteFunc(d.targets, func(k key, _ *target) bool { return k.of == of })
	maps.DeleteFunc(d.restored, func(k key, _ *remembered) bool { return k.of == of })
}

// threshold of a vector, packets a second.
func (t *target) threshold(v traffic.Vector, r *rule) float64 {
	limit := r.said(v)
	if limit == 0 {
		limit = t.draft(v)
	}
	if t.wide {
		limit *= wideFactor
	}
	return limit
}

// draft is the threshold that follows from what is usual.
func (t *target) draft(v traffic.Vector) float64 {
	return max(floors[v], burstFactor*t.usual.of[v].p95)
}

// crowd is how many times the threshold real visitors may come to. Where nothing
// was said or learned yet, nobody knows how busy a busy day is.
func (t *target) crowd(v traffic.Vector, r *rule) float64 {
	if t.out {
		return math.Inf(1) // what our hosts answer to a flood is as loud
	}
	if v == traffic.ACK {
		return math.Inf(1) // a segment belongs to a connection, or is suspect: a backup is no flood
	}
	if r.said(v) == 0 && t.usual.of[v].p95 == 0 {
		return strangeFactor
	}
	return crowdFactor
}
