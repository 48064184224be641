package edge

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
)

// attempt is a request under way to one origin. leave must be called.
type attempt struct {
	*origin
	q      *request
	permit permit
	over   bool // the permit was ended
	left   bool
}

// attempt takes an origin that was not tried yet; nil when none is left.
func (q *request) attempt(tried []*upstream) *attempt {
	s := q.site
	var full []*origin // whose last trial somebody else took in between
	for {
		g := s.choose(q.now, func(g *origin) bool {
			return !slices.Contains(tried, g.upstream) && !slices.Contains(full, g) && g.breaker.ready(s.spread.breaker, q.now)
		})
		if g == nil {
			return nil
		}
		p, ok, moved := g.breaker.enter(s.spread.breaker, q.now)
		if moved {
			q.edge.reportBreaker(s.name, g.label, breakerHalfOpen)
		}
		if ok {
			g.busy.Add(1)
			return &attempt{origin: g, q: q, permit: p}
		}
		full = append(full, g)
	}
}

// end tells the breaker how it went, once.
func (a *attempt) end(how ending) {
	if a.over {
		return
	}
	a.over = true
	if state := a.permit.end(how, a.q.edge.opts.Now()); state != "" {
		a.q.edge.reportBreaker(a.q.site.name, a.label, state)
	}
}

// leave ends what was not ended and makes the origin less busy.
func (a *attempt) leave() {
	if a.left {
		return
	}
	a.left = true
	a.end(unknown)
	a.busy.Add(-1)
}

// roundTrip sends the request to an origin and, where that may be repeated, to
// others that were not tried yet. Whoever gets an attempt leaves it after the
// last byte of the answer. err is errOpen, with no attempt, when the breakers
// let nobody through.
func (q *request) roundTrip(out *http.Request, body *spool, streamed *bodyStream) (*http.Response, *attempt, error) {
	s := q.site
	s.tally.purse.earn(s.spread.budget)
	a := q.attempt(nil)
	if a == nil {
		return nil, nil, errOpen
	}
	var tried []*upstream
	for dialled := false; ; {
		out.URL = q.target.url(a.url.Scheme, a.url.Host)
		if out.Host = a.host; a.host == "" {
			out.Host = q.r.Host
		}
		resp, err := a.transport.RoundTrip(out)
		if err != nil && (out.Context().Err() != nil || streamed != nil && streamed.failure() != nil) {
			return nil, a, err // the client's doing, of which the origin knows nothing
		}
		bad := a.judge(resp, err)
		if !bad {
			return resp, a, nil
		}
		if resp != nil {
			if _, held := s.outlet.keeps(resp.Header); held {
				return resp, a, nil // nothing to try again: what is held back here is not fetched elsewhere
			}
		}
		tried = append(tried, a.upstream)
		var dial *dialError
		free := !dialled && errors.As(err, &dial) // nothing was sent to anybody: no budget, any method
		dialled = dialled || free
		if !q.repeatable(resp, err, streamed, len(tried)) {
			return resp, a, err
		}
		next := q.attempt(tried)
		if next == nil {
			return resp, a, err
		}
		if !free && !s.tally.purse.spend() {
			next.leave()
			return resp, a, err
		}
		if resp != nil {
			discard(resp.Body)
		}
		a.leave()
		a = next
		s.tally.retries.Add(1)
		if body != nil && out.GetBody != nil {
			out.Body, _ = out.GetBody()
		}
	}
}

// judge ends the attempt's permit by what came back.
func (a *attempt) judge(resp *http.Response, err error) (bad bool) {
	if bad = err != nil || badAnswer(resp.StatusCode); bad {
		a.end(failed)
	} else {
		a.end(succeeded)
	}
	var dial *dialError
	switch {
	case errors.As(err, &dial):
		a.restUntil.Store(a.q.now.Add(a.q.edge.bounds.rest).UnixNano())
	case !bad && a.restUntil.Load() != 0:
		a.restUntil.Store(0)
	}
	return bad
}

// repeatable reports whether what failed may be sent again after so many tries:
// what reached no origin once, all else by the site's retries.
func (q *request) repeatable(resp *http.Response, err error, streamed *bodyStream, tries int) bool {
	if streamed != nil && streamed.taken.Load() {
		return false
	}
	var dial *dialError
	if errors.As(err, &dial) {
		return tries <= max(1, q.site.spread.attempts)
	}
	if streamed != nil || tries > q.site.spread.attempts || !idempotent(q.r.Method) {
		return false
	}
	return resp == nil || resp.Header.Get("Retry-After") == "" // who says when does not mean now
}

// reportBreaker tells that a circuit breaker moved; it moves at most twice in
// each rest.
func (e *Edge) reportBreaker(n siteName, origin, state string) {
	e.report.add(events.Event{
		Time: e.opts.Now().UTC(), Kind: kindHealth, Action: actionDetected, Tenant: n.tenant, Object: "site/" + n.name,
		Attributes: map[string]string{"site": n.name, "origin": origin, "class": "breaker", "state": state},
	})
	e.opts.Log.Info("circuit breaker is "+state, "kind", "Site", "tenant", n.tenant, "name", n.name)
}

// OriginState is how an origin of a site stands.
type OriginState struct {
	Origin  string    // as configured
	Breaker string    // closed, open or halfOpen
	Since   time.Time // of the breaker's state; zero = from the start
	Health  string    // up or down; "" = not checked
	Busy    int       // requests in progress, of all sites that share it
}

// Origins is how the origins of a site stand on this node; nil for a site that
// the edge does not know.
func (e *Edge) Origins(tenant, site string) []OriginState {
	snap := e.snap.Load()
	if snap == nil {
		return nil
	}
	s := snap.sites[siteName{tenant, site}]
	if s == nil {
		return nil
	}
	var out []OriginState
	for _, g := range s.origins {
		o := OriginState{Origin: g.label, Breaker: breakerClosed, Busy: int(g.busy.Load())}
		if s.spread.breaker != nil {
			o.Breaker, o.Since = g.breaker.stands()
		}
		if g.health != nil {
			o.Health = "up"
			if g.health.down.Load() {
				o.Health = "down"
			}
		}
		out = append(out, o)
	}
	return out
}

// discard reads the rest of a small answer, so that its connection lives on.
func discard(r io.ReadCloser) {
	io.CopyN(io.Discard, r, healthAnswer)
	r.Close()
}
