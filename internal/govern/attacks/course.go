package attacks

import (
	"cmp"
	"slices"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/kinds/shield"
)

// coursePoints is how many points the graph of an attack has at most. An attack
// that lasts longer has wider ones.
const coursePoints = 120

// course is how an attack went. Each point is the worst second of its time.
type course struct {
	step, n int // seconds of a point; seconds of the newest that have passed
	of      [3][]int
	worst   [3]int
}

// add takes one second: packets that were offered, stopped and passed.
func (c *course) add(offered, stopped, passed float64) {
	c.step = max(c.step, 1)
	for i, x := range [3]float64{offered, stopped, passed} {
		c.worst[i] = max(c.worst[i], int(min(max(x, 0), 1e15)))
	}
	if c.n++; c.n < c.step {
		return
	}
	for i := range c.of {
		c.of[i] = append(c.of[i], c.worst[i])
	}
	c.n, c.worst = 0, [3]int{}
	if len(c.of[0]) < coursePoints {
		return
	}
	c.step *= 2
	for i, all := range c.of {
		for j := range coursePoints / 2 {
			all[j] = max(all[2*j], all[2*j+1])
		}
		c.of[i] = all[:coursePoints/2]
	}
}

// take goes on with a course that was reported.
func (c *course) take(was *shield.Course) {
	if was == nil || was.Step <= 0 || len(was.Offered) >= coursePoints || len(was.Stopped) != len(was.Offered) || len(was.Passed) != len(was.Offered) {
		return
	}
	c.step = int(time.Duration(was.Step) / time.Second)
	c.of = [3][]int{slices.Clone(was.Offered), slices.Clone(was.Stopped), slices.Clone(was.Passed)}
}

// watch notes one second of a flood.
func (f *flood) watch(live map[resource.Ref]traffic.Live) {
	if f.end != nil {
		return
	}
	l, ok := live[resource.Ref{Kind: "ProtectedAddress", Tenant: f.tenant, Name: f.object}]
	if !ok {
		f.course.add(f.rate, f.dropped, max(0, f.rate-f.dropped))
		return
	}
	stopped := 0.0
	if f.stopped == nil {
		f.stopped = map[string]float64{}
	}
	for reason, n := range l.Dropped {
		stopped += n
		f.stopped[reason] += n
	}
	f.passed += l.Passed
	f.course.add(l.Packets, stopped, l.Passed)
	f.status.Lease = l.Lease
}

// result is the status as it is now.
func (f *flood) result() shield.AttackStatus {
	st := f.status
	if f.end != nil {
		st.Lease = nil
	}
	if f.stopped != nil {
		st.Passed, st.Stopped = int(f.passed), nil
		for reason, n := range f.stopped {
			st.Stopped = append(st.Stopped, shield.Stopped{Reason: reason, Packets: int(n)})
		}
		slices.SortFunc(st.Stopped, func(x, y shield.Stopped) int {
			return cmp.Or(cmp.Compare(y.Packets, x.Packets), cmp.Compare(x.Reason, y.Reason))
		})
	}
	if c := &f.course; len(c.of[0]) > 0 {
		st.Course = &shield.Course{Step: resource.Duration(time.Duration(c.step) * time.Second), Offered: slices.Clone(c.of[0]), Stopped: slices.Clone(c.of[1]), Passed: slices.Clone(c.of[2])}
	}
	return st
}
