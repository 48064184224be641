package edge

import (
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/kinds/edge"
)

// breakerRule is a site's circuit breaker made ready.
type breakerRule struct {
	failures, ratio, trials int
	rest                    time.Duration
}

func compileBreaker(b *edge.Breaker) *breakerRule {
	if b == nil {
		b = &edge.Breaker{}
	}
	if b.Off {
		return nil
	}
	return &breakerRule{
		failures: or(b.Failures, edge.DefaultFailures), ratio: or(b.Ratio, edge.DefaultRatio), trials: or(b.Trials, edge.DefaultTrials),
		rest: or(time.Duration(b.Rest), breakerRest),
	}
}

// States of a breaker, as events and statuses name them.
const (
	breakerClosed   = "closed"
	breakerOpen     = "open"
	breakerHalfOpen = "halfOpen"
)

// breaker counts how requests to an upstream end. Open, it lets nobody through
// for the rest; then, half open, a bounded number at once, of which the first
// success closes it and a failure opens it again. What began before it opened
// decides nothing any more. The zero value is closed.
type breaker struct {
	mu     sync.Mutex
	state  string    // guarded by mu, as all below; "" = closed
	round  uint64    // changes with the state: who entered in another one is not counted
	since  time.Time // of the state; zero = from the start
	trying int       // half open: requests in progress
	row    int       // failures in a row
	halves [2]struct {
		began     int64 // in half windows of Unix time
		all, fail int
	}
}

// permit is the right to send one request. It must be ended exactly once.
type permit struct {
	*breaker
	rule  *breakerRule
	round uint64
	trial bool
}

// ready reports whether enter would let somebody through.
func (b *breaker) ready(r *breakerRule, now time.Time) bool {
	if r == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch b.state {
	case breakerOpen:
		return b.rested(r, now)
	case breakerHalfOpen:
		return b.trying < r.trials
	}
	return true
}

// rested is true for a clock that went back, too: nothing stays open for ever.
func (b *breaker) rested(r *breakerRule, now time.Time) bool {
	d := now.Sub(b.since)
	return d < 0 || d >= r.rest
}

// enter lets a request through, or not; moved says that this made the breaker
// half open.
func (b *breaker) enter(r *breakerRule, now time.Time) (p permit, ok, moved bool) {
	if r == nil {
		return permit{}, true, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == breakerOpen {
		if !b.rested(r, now) {
			return permit{}, false, false
		}
		b.move(breakerHalfOpen, now)
		moved = true
	}
	if b.state == breakerHalfOpen {
		if b.trying >= r.trials {
			return permit{}, false, false
		}
		b.trying++
		return permit{b, r, b.round, true}, true, moved
	}
	return permit{b, r, b.round, false}, true, false
}

func (b *breaker) move(state string, now time.Time) {
	b.state, b.since, b.trying, b.row = state, now, 0, 0
	b.round++
	clear(b.halves[:])
}

// ending is how a request went.
type ending uint8

const (
	unknown   ending = iota // the client left, or its own fault ended it
	succeeded               // the origin answered
	failed
)

// end gives the permit back; state is the one that this moved the breaker to, ""
// for none.
func (p permit) end(how ending, now time.Time) (state string) {
	b := p.breaker
	if b == nil {
		return ""
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.round != p.round {
		return ""
	}
	if p.trial {
		b.trying--
		switch how {
		case succeeded:
			b.move(breakerClosed, now)
		case failed:
			b.move(breakerOpen, now)
		default:
			return ""
		}
		return b.state
	}
	if how == unknown || !b.count(p.rule, how == failed, now) {
		return ""
	}
	b.move(breakerOpen, now)
	return b.state
}

// count adds one result and reports whether it is one failure too many.
func (b *breaker) count(r *breakerRule, fail bool, now time.Time) bool {
	half := now.Unix() / (edge.RatioWindow / 2)
	h := &b.halves[half&1]
	if h.began != half {
		h.began, h.all, h.fail = half, 0, 0
	}
	h.all++
	if !fail {
		b.row = 0
		return false
	}
	h.fail++
	b.row++
	all, bad := h.all, h.fail
	if other := b.halves[1-half&1]; other.began == half-1 {
		all, bad = all+other.all, bad+other.fail
	}
	return b.row >= r.failures || all >= edge.RatioLeast && bad*100 >= all*r.ratio
}

// stands is the state with the time since when.
func (b *breaker) stands() (state string, since time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return or(b.state, breakerClosed), b.since
}
