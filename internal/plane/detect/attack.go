package detect

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
)

// Part and kinds of the events, and their attribute "phase".
const (
	Part      = "detect"
	EventKind = "attack"

	PhaseStart    = "start"
	PhaseEscalate = "escalate"
	PhasePeak     = "peak"
	PhaseEnd      = "end"
)

// attack is one that is under way, of one record.
type attack struct {
	id      string
	of      resource.Ref
	addr    string
	out     bool
	start   time.Time
	begun   time.Duration
	last    time.Duration                         // when it was last above
	vectors map[traffic.Vector]map[bool]*strength // by direction
	peak    float64                               // packets a second
	bits    float64
	rate    float64
	dropped float64

	settled  bool // peak and bits are of whole seconds
	told     bool
	grown    bool
	toldPeak float64
	reported time.Duration
	ordered  time.Duration
	obeyed   atomic.Bool   // the last order was carried out
	looked   time.Duration // for a fingerprint
	prints   []traffic.Fingerprint
	zone     string // below which a flood of queries makes up names
	limits   [traffic.Vectors]float64
	capture  capture
}

// strength of one vector.
type strength struct {
	at   time.Duration
	rate amount
}

func newAttack(id string, t *target, start time.Time, at time.Duration) *attack {
	return &attack{id: id, of: t.of, addr: t.addr, out: t.out, start: start.UTC(), begun: at, last: at, vectors: map[traffic.Vector]map[bool]*strength{}}
}

func (a *attack) has(v traffic.Vector, out bool) bool { return a.vectors[v][out] != nil }

// hot says that a vector is above its threshold still.
func (a *attack) hot(v traffic.Vector, t *target, rate amount, at time.Duration) {
	if a.vectors[v] == nil {
		a.vectors[v] = map[bool]*strength{}
	}
	if a.vectors[v][t.out] == nil {
		a.grown = a.told // a new vector
	}
	settled := at-a.begun >= time.Second
	if settled {
		rate = t.lately(v)
	}
	// Of a network and an address in it the larger rate is told.
	if was := a.vectors[v][t.out]; was != nil && t.single && at-was.at < time.Second && was.rate.packets > rate.packets {
		rate = was.rate
	}
	a.vectors[v][t.out] = &strength{at, rate}
	a.last = at
	if p := t.usual.of[v].p95; a.limits[v] == 0 {
		a.limits[v] = max(p*2, floors[v])
	}
	var packets, bytes, dropped float64
	for _, ways := range a.vectors {
		for _, s := range ways {
			if at-s.at <= time.Second {
				packets, bytes, dropped = packets+s.rate.packets, bytes+s.rate.bytes, dropped+s.rate.dropped
			}
		}
	}
	a.rate, a.dropped = packets, dropped
	if settled && !a.settled { // the first word was of a fraction of a second
		a.settled, a.peak, a.bits = true, packets, 8*bytes
	}
	a.bits = max(a.bits, 8*bytes)
	if a.told && packets > 2*max(a.peak, 1) {
		a.grown = true
	}
	a.peak = max(a.peak, packets)
}

// describe is what its packets have in common, for people.
func (a *attack) describe() string {
	s := describe(a.prints)
	if a.zone != "" {
		s = strings.TrimPrefix(s+"; "+namesOf(a.zone), "; ")
	}
	return s
}

// list is the vectors, those of one direction, the strongest first.
func (a *attack) list(out bool) []traffic.Vector {
	var all []traffic.Vector
	for v, ways := range a.vectors {
		if ways[out] != nil {
			all = append(all, v)
		}
	}
	slices.SortFunc(all, func(x, y traffic.Vector) int {
		if a.vectors[x][out].rate.packets > a.vectors[y][out].rate.packets {
			return -1
		}
		return 1
	})
	return all
}

// limit is what is usual of a vector that can only be limited.
func (a *attack) limit(v traffic.Vector, r *rule) float64 {
	if n := r.said(v); n > 0 {
		return n
	}
	return a.limits[v]
}

func (a *attack) names() []string {
	var out []string
	for _, way := range []bool{false, true} {
		for _, v := range a.list(way) {
			if !slices.Contains(out, v.String()) {
				out = append(out, v.String())
			}
		}
	}
	return out
}

func (a *attack) view() Attack {
	return Attack{ID: a.id, Of: a.of, Vectors: a.names(), Start: a.start, Peak: a.peak, Bits: a.bits, Now: a.rate, Out: a.out}
}

// tell makes the event of a phase.
func (d *Detector) tell(a *attack, phase string) func() {
	if d.opt.Events == nil {
		return func() {}
	}
	direction := "in"
	if a.out {
		direction = "out"
	}
	e := events.Event{
		Time: d.opt.Now().UTC(), Node: d.opt.Node, Part: Part, Kind: EventKind, Tenant: a.of.Tenant, Object: "protectedaddress/" + a.of.Name, Action: "detected",
		Attributes: map[string]string{
			"phase": phase, "attack": a.id, "address": a.addr, "direction": direction, "vectors": strings.Join(a.names(), ","),
			"packets": fmt.Sprintf("%.0f", a.rate), "peak": fmt.Sprintf("%.0f", a.peak), "bits": fmt.Sprintf("%.0f", a.bits), "dropped": fmt.Sprintf("%.0f", a.dropped),
			"start": a.start.Format(time.RFC3339Nano), "fingerprint": a.describe(),
		},
	}
	return func() { d.opt.Events.Add(e) }
}
