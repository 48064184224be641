package detect

import (
	"math"
	"slices"
	"time"

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
	burstFactor = 5                // times what is usual (P95): a threshold
	wideFactor  = 4                // times that of an address: of a network
	step        = 10 * time.Minute // that one value is kept of
	kept        = 7 * 24 * 60 / 10 // values: seven days
	enough      = 6                // values before anything is learned: an hour
)

// rule is what a record says about an address.
type rule struct {
	limit [traffic.Vectors]float64 // 0 = learned
	only  bool                     // it is told of attacks, nothing is done
}

var nothing = &rule{}

func (d *Detector) rule(of resource.Ref) *rule {
	if r := d.rules[of]; r != nil {
		return r
	}
	return nothing
}

// Thresholds sets what a record says, packets a second to each address.
func (d *Detector) Thresholds(of resource.Ref, each map[traffic.Vector]float64) {
	r := &rule{}
	for v, n := range each {
		r.limit[v] = n
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rules[of] = r
}

// Forget drops an address that is protected no more.
func (d *Detector) Forget(of resource.Ref) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.rules, of)
	delete(d.attacks, of)
	for k := range d.targets {
		if k.of == of {
			delete(d.targets, k)
		}
	}
}

// threshold of a vector, packets a second.
func (t *target) threshold(v traffic.Vector, r *rule) float64 {
	limit := r.limit[v]
	if limit == 0 {
		limit = max(floors[v], burstFactor*t.learned[v].p95)
	}
	if t.wide {
		limit *= wideFactor
	}
	return limit
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
	if r.limit[v] == 0 && t.learned[v].p95 == 0 {
		return strangeFactor
	}
	return crowdFactor
}

// baseline is what is usual: the 95th percentile of the busiest ten seconds of
// each ten minutes of seven days.
type baseline struct {
	values []float32
	next   int
	begun  time.Duration
	most   float64
	p95    float64
}

// learn takes the long window as usual. While there is an attack nothing is
// learned of its address.
func (t *target) learn(v traffic.Vector) {
	_, long := t.rates(v)
	var at time.Duration
	for _, w := range t.sources {
		at = max(at, w.at)
	}
	t.learned[v].take(at, long.packets)
}

func (b *baseline) take(at time.Duration, rate float64) {
	if b.begun == 0 {
		b.begun = at
	}
	b.most = max(b.most, rate)
	if at-b.begun < step {
		return
	}
	if len(b.values) < kept {
		b.values = append(b.values, float32(b.most))
	} else {
		b.values[b.next] = float32(b.most)
		b.next = (b.next + 1) % kept
	}
	b.begun, b.most = at, 0
	b.settle()
}

func (b *baseline) settle() {
	if len(b.values) < enough {
		return
	}
	s := slices.Clone(b.values)
	slices.Sort(s)
	b.p95 = float64(s[int(math.Ceil(0.95*float64(len(s))))-1])
}
