package edge

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/dun-sec/dun/internal/kinds/edge"
)

// spread is how a site's requests go to its origins.
type spread struct {
	least    bool
	attempts int // more than the first
	budget   int64
	breaker  *breakerRule // nil = off
}

func compileSpread(t *edge.Traffic) spread {
	if t == nil {
		t = &edge.Traffic{}
	}
	s := spread{least: t.Balance == edge.BalanceLeast, breaker: compileBreaker(t.Breaker)}
	r := t.Retries
	if r == nil {
		r = &edge.Retries{}
	}
	if !r.Off {
		s.attempts, s.budget = or(r.Attempts, edge.DefaultAttempts), int64(or(r.Budget, edge.DefaultBudget))
	}
	return s
}

// purse holds what a site may spend on retries, in hundredths of a request, so
// that retries follow the requests and never multiply an outage. The zero value
// is full.
type purse struct{ spent atomic.Int64 }

const purseSize = 100 * 10 // ten retries

// earn pays in percent of one request.
func (p *purse) earn(percent int64) {
	for {
		old := p.spent.Load()
		if old == 0 || p.spent.CompareAndSwap(old, max(0, old-percent)) {
			return
		}
	}
}

// spend takes one retry out.
func (p *purse) spend() bool {
	for {
		old := p.spent.Load()
		if old+100 > purseSize {
			return false
		}
		if p.spent.CompareAndSwap(old, old+100) {
			return true
		}
	}
}

// errOpen says that the breaker of every origin is open.
var errOpen = errors.New("every origin's circuit breaker is open")

// fit says whether an origin may be chosen in a round: healthy ones that did
// not fail lately first, then the healthy ones, then, all being ill, anyone.
func (g *origin) fit(round int, at int64) bool {
	healthy := g.health == nil || !g.health.down.Load()
	switch round {
	case 0:
		return healthy && g.restUntil.Load() <= at
	case 1:
		return healthy
	}
	return true
}

// choose picks an origin by the site's balance among those that are the
// fittest, and that want likes too; nil when nothing remains.
func (s *site) choose(now time.Time, want func(*origin) bool) *origin {
	at := now.UnixNano()
	for round := range 3 {
		fit := func(g *origin) bool { return g.fit(round, at) && want(g) }
		pick := byWeight
		if s.spread.least {
			pick = fewest
		}
		if g := pick(s.origins, fit); g != nil {
			return g
		}
	}
	return nil
}

func byWeight(origins []*origin, fit func(*origin) bool) *origin {
	sum := 0
	var some *origin
	for _, g := range origins {
		if !fit(g) {
			continue
		}
		sum += g.weight
		if rand.IntN(sum) < g.weight {
			some = g
		}
	}
	return some
}

// fewest is the origin with the fewest requests in progress for its weight, at
// random by weight among equals.
func fewest(origins []*origin, fit func(*origin) bool) *origin {
	var best *origin
	sum := 0
	for _, g := range origins {
		if !fit(g) {
			continue
		}
		if best != nil {
			mine, other := g.busy.Load()*int64(best.weight), best.busy.Load()*int64(g.weight)
			if mine > other {
				continue
			}
			if mine < other {
				sum = 0
			}
		}
		sum += g.weight
		if rand.IntN(sum) < g.weight {
			best = g
		}
	}
	return best
}

// idempotent methods may be sent again (RFC 9110 section 9.2.2).
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// badAnswer reports statuses by which an origin says that it cannot now.
func badAnswer(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}
