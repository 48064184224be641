package flow

import (
	"time"

	"github.com/dun-sec/dun/internal/core/traffic"
)

// What an exporter says comes late, and in bursts: a flow is told of when it has
// been idle, or has lasted, for the exporter's timeout. So each flow is put
// where it was, by how long before its export it ended, and rates are those of
// the seconds in which packets were.
const (
	pastSpan  = 128 // seconds: what ended before is too late to be of use
	drainSpan = 64  // seconds: that a long flow's rate is believed at most
	brief     = 2 * time.Second
	idle      = 30 * time.Second // without anything: forgotten
)

// cell is an amount, or a rate.
type cell struct{ packets, bytes, suspect, seen float64 }

func (c *cell) add(x cell, times float64) {
	c.packets += x.packets * times
	c.bytes += x.bytes * times
	c.suspect += x.suspect * times
	c.seen += x.seen * times
}

type cell32 struct{ packets, bytes, suspect, seen float32 }

func (c *cell32) add(x cell, times float64) {
	c.packets += float32(x.packets * times)
	c.bytes += float32(x.bytes * times)
	c.suspect += float32(x.suspect * times)
	c.seen += float32(x.seen * times)
}

func (c cell32) wide() cell {
	return cell{float64(c.packets), float64(c.bytes), float64(c.suspect), float64(c.seen)}
}

// series is one vector of one direction of one record, as one exporter tells it.
type series struct {
	owed   cell // amounts that are to be handed on, fractions too
	active time.Duration
	late   *late // nil = nothing came late
}

// late is what came by flow records.
type late struct {
	second  int64             // the newest of past
	past    [pastSpan]cell32  // amounts, by second
	lo, hi  int64             // seconds that were touched since the last tick; hi < lo = none
	held    cell              // a rate
	until   time.Duration     // that it is believed
	drain   [drainSpan]cell32 // rates of long flows, by second
	drained time.Duration     // up to when they were handed on
}

// now counts what is seen as it happens.
func (s *series) now(at time.Duration, x cell) {
	s.active = at
	s.owed.add(x, 1)
}

// flow counts what ended age ago and had lasted.
func (s *series) flow(at, age, lasted time.Duration, x cell) {
	s.active = at
	if s.late == nil {
		s.late = &late{second: second(at), hi: -1, drained: at}
	}
	l := s.late
	l.turn(at)
	l.catch(at)
	if lasted >= brief {
		rate := 1 / lasted.Seconds()
		for i := range min(int64((lasted+time.Second-1)/time.Second), drainSpan-4) {
			l.drain[(second(at)+i)%drainSpan].add(x, rate)
		}
		return
	}
	was := min(second(max(at-age, 0)), l.second)
	l.past[was%pastSpan].add(x, 1)
	if l.hi < l.lo {
		l.lo, l.hi = was, was
	} else {
		l.lo, l.hi = min(l.lo, was), max(l.hi, was)
	}
}

func second(at time.Duration) int64 { return int64(at / time.Second) }

// turn empties the seconds that begin.
func (l *late) turn(at time.Duration) {
	now := second(at)
	if now-l.second >= pastSpan {
		l.past = [pastSpan]cell32{}
		l.second = now
	}
	for l.second < now {
		l.second++
		l.past[l.second%pastSpan] = cell32{}
	}
	if l.hi >= l.lo {
		l.lo = max(l.lo, l.second-pastSpan+1)
	}
}

// tick hands on what there was since the last one, span ago.
func (s *series) tick(at, span time.Duration) cell {
	if l := s.late; l != nil {
		l.turn(at)
		l.settle(at)
		l.catch(at)
		if at < l.until {
			s.owed.add(l.held, span.Seconds())
			s.active = at
		}
		for l.drained < at {
			sec := second(l.drained)
			end := min(at, time.Duration(sec+1)*time.Second)
			d := &l.drain[sec%drainSpan]
			if d.packets > 0 {
				s.owed.add(d.wide(), (end - l.drained).Seconds())
				s.active = at
			}
			if end == time.Duration(sec+1)*time.Second {
				*d = cell32{}
			}
			l.drained = end
		}
	}
	return s.owed
}

// catch forgets what was to be handed on while nobody asked: the machine slept.
func (l *late) catch(at time.Duration) {
	if at-l.drained > drainSpan/2*time.Second {
		l.drain, l.drained = [drainSpan]cell32{}, at
	}
}

// settle takes as the rate that of the busiest two seconds of those that were
// told of now, for as long as they were: the next burst of records takes its
// place. One second alone is too short for who sends, and stamps, in bursts.
func (l *late) settle(at time.Duration) {
	if l.hi < l.lo {
		return
	}
	var most cell
	for sec := l.lo; sec <= l.hi; sec++ {
		var pair cell
		pair.add(l.past[sec%pastSpan].wide(), 0.5)
		if before := sec - 1; before >= 0 && l.second-before < pastSpan {
			pair.add(l.past[before%pastSpan].wide(), 0.5)
		}
		if pair.packets > most.packets {
			most = pair
		}
	}
	until := at + time.Duration(l.hi-l.lo+1)*time.Second + tickEvery
	l.lo, l.hi = 0, -1
	if at >= l.until || most.packets >= l.held.packets {
		l.held, l.until = most, until
	}
}

// volume takes whole packets and leaves the rest for later.
func (s *series) volume() traffic.Volume {
	whole := func(f *float64) uint64 {
		n := uint64(*f)
		*f -= float64(n)
		return n
	}
	v := traffic.Volume{Packets: whole(&s.owed.packets), Bytes: whole(&s.owed.bytes), Suspect: whole(&s.owed.suspect), Seen: whole(&s.owed.seen)}
	v.Suspect = min(v.Suspect, v.Packets)
	return v
}
