package detect

import (
	"math"
	"slices"
	"time"

	"github.com/dun-sec/dun/internal/core/traffic"
)

const (
	hour     = time.Hour
	kept     = 7 * 24         // hours that are remembered
	restless = 2 * longWindow // a pause between readings that long was not watched

	// steep is by how much more of what may be hostile is believed in an hour: twofold
	// in a day. Whoever trains the detector needs days for what he gains.
	steep = 1.0293022366434921 // 2^(1/24)
)

// usual is what is usual of one target: of each vector the 95th percentile of
// the busiest ten seconds of each of the last 168 hours that were watched and
// free of attacks. It counts those hours by the monotonic clock: no step of the
// wall's clock, and no pause, makes it forget.
type usual struct {
	at      time.Duration // of the newest reading
	watched time.Duration // of the hour that is under way
	hours   int           // that are remembered
	next    int           // in each ring
	of      [traffic.Vectors]baseline
}

type baseline struct {
	most float64       // of the hour that is under way
	odd  float64       // of it: what nothing honest explains
	sane float64       // how much of that is believed
	ring *[kept]uint16 // pack(rate); nil = all are zero
	p95  float64       // 0 = nothing was learned
}

// watch notes that t was watched up to at, and closes an hour that is over.
func (u *usual) watch(at time.Duration) {
	if gap := at - u.at; u.at > 0 && gap > 0 && gap < restless {
		u.watched += gap
	}
	u.at = at
	if u.watched >= hour {
		u.watched -= hour
		u.close()
	}
}

func (u *usual) close() {
	u.hours = min(u.hours+1, kept)
	for v := range u.of {
		b := &u.of[v]
		if b.ring == nil && b.most > 0 {
			b.ring = new([kept]uint16)
		}
		if b.ring != nil {
			b.ring[u.next] = pack(b.most)
			b.settle(u.hours)
		}
		b.sane = min(max(b.odd, b.sane/steep), b.limit(traffic.Vector(v)))
		b.most, b.odd = 0, 0
	}
	u.next = (u.next + 1) % kept
}

func (b *baseline) settle(hours int) {
	// What is not watched yet is zero and sorts first.
	s := slices.Clone(b.ring[:])
	slices.Sort(s)
	s = s[kept-hours:]
	b.p95 = unpack(s[int(math.Ceil(0.95*float64(hours)))-1])
}

// learn takes the long window as usual. While there is an attack nothing is
// learned of its address.
func (t *target) learn(v traffic.Vector) {
	_, long := t.rates(v)
	b := &t.usual.of[v]
	suspect := min(long.suspect, long.packets)
	b.odd = max(b.odd, suspect)
	b.most = max(b.most, long.packets-suspect+min(suspect, b.limit(v)))
}

// limit is how much of what nothing honest explains is believed in this hour.
func (b *baseline) limit(v traffic.Vector) float64 {
	return steep * max(b.sane, floors[v]/burstFactor)
}

// pack makes 16 bits of a rate, to 0.3 %.
func pack(rate float64) uint16 {
	return uint16(min(math.Round(256*math.Log2(1+max(0, rate))), math.MaxUint16))
}

func unpack(x uint16) float64 { return math.Exp2(float64(x)/256) - 1 }
