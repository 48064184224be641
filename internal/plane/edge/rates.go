package edge

import (
	"cmp"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/kinds/edge"
)

// limitedRoute is a part of a site with limits of its own.
type limitedRoute struct {
	path string
	rate *rate
}

func compileRate(r *edge.Rate, atOnce, index int) *rate {
	if r == nil && atOnce == 0 {
		return nil
	}
	out := &rate{at: index, atOnce: int32(atOnce)}
	if r != nil && r.Requests > 0 {
		per := or(time.Duration(r.Per), time.Second)
		out.limited = true
		out.every = max(1, int64(per)/int64(r.Requests))
		out.burst = out.every * int64(or(r.Burst, r.Requests))
	}
	return out
}

// compileOptions makes a site's options of this file and its neighbours ready.
func (e *Edge) compileOptions(t *site, s *edge.SiteSpec) {
	t.headers = compileHeaders(s.Headers)
	if s.TLS != nil {
		t.redirect, t.cert = s.TLS.Redirect, s.TLS.Certificate
	}
	t.strikes = s.Limits == nil || s.Limits.Hammering != "serve"
	t.spread = compileSpread(s.Traffic)
	t.pass = compilePassing(s.PassThrough)
	if l := s.Limits; l != nil {
		t.rate = compileRate(l.Rate, l.Concurrency, -1)
		for i, r := range l.Routes {
			t.routes = append(t.routes, limitedRoute{r.Path, compileRate(r.Rate, r.Concurrency, i)})
		}
		slices.SortStableFunc(t.routes, func(a, b limitedRoute) int { return cmp.Compare(len(b.path), len(a.path)) })
	}
}

// below reports whether a path is a route's or lies below it.
func (r *limitedRoute) below(path string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(r.path, "/"))
	return ok && (rest == "" || rest[0] == '/')
}

// withinRates counts the request of a client who is not on an allow list. done
// must be called when the request ends.
func (q *request) withinRates() (done func(), ok bool) {
	done = func() {}
	if q.trust || q.site.rate == nil && len(q.site.routes) == 0 {
		return done, true
	}
	var took [2]clientKey
	n := 0
	done = func() {
		for _, k := range took[:n] {
			q.edge.limits.done(k)
		}
	}
	for _, r := range [2]*rate{q.route(), q.site.rate} {
		if r == nil {
			continue
		}
		k := clientKey{q.site.name, r.at, client64(q.from.Addr())}
		good, wait := q.edge.limits.take(k, r, q.now.UnixNano())
		if !good {
			q.hint = max(wait, time.Second)
			q.overRate(wait == 0)
			return done, false
		}
		if r.atOnce > 0 {
			took[n] = k
			n++
		}
	}
	return done, true
}

func (q *request) route() *rate {
	for i := range q.site.routes {
		if q.site.routes[i].below(q.target.path) {
			return q.site.routes[i].rate
		}
	}
	return nil
}

// overRate refuses; a flood makes one event a second for each site.
func (q *request) overRate(atOnce bool) {
	class := "rate"
	if atOnce {
		class = "concurrency"
	}
	q.site.tally.blocked.Add(1)
	q.strike()
	if n, due := q.edge.report.coalesce(class+" "+q.site.name.String(), q.now); due {
		q.edge.report.add(q.event(kindLimit, actionBlocked, map[string]string{"class": class, "status": "429", "count": strconv.FormatUint(n, 10)}))
	}
	q.refuse(http.StatusTooManyRequests)
}

// redirected sends clients of the clear door to HTTPS.
func (q *request) redirected() bool {
	if !q.site.redirect || q.scheme == "https" {
		return false
	}
	host := q.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if _, port, err := net.SplitHostPort(q.r.Host); err == nil && port != "80" {
		if p := q.edge.served.Load(); p != nil && *p != "443" {
			host = net.JoinHostPort(q.host, *p) // whoever names our port has no port 443 in front
		}
	}
	q.w.Header().Set("Location", q.target.url("https", host).String())
	q.w.Header().Set("Cache-Control", "no-store")
	if q.r.Body != nil && q.r.Body != http.NoBody && q.r.ProtoMajor == 1 {
		q.w.Header().Set("Connection", "close")
	}
	q.w.WriteHeader(http.StatusPermanentRedirect)
	return true
}
