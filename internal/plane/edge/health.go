package edge

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// healthKey holds everything that makes a check another one. A check that did
// not change goes on over snapshots.
type healthKey struct {
	site      siteName
	upstream  *upstream
	uri, host string
	interval  time.Duration
}

// health is the check of one origin for one site. Whoever chooses an origin
// reads down; everything else belongs to the check's goroutine.
type health struct {
	key   healthKey
	url   *url.URL
	tally *siteTally
	down  atomic.Bool
	stop  context.CancelFunc // owned by healthChecks.follow
}

// healthChecks runs the checks of the current snapshot.
type healthChecks struct {
	edge    *Edge
	slots   chan struct{}         // checks in progress, of the whole process
	all     map[healthKey]*health // owned by Run
	running sync.WaitGroup
}

func newHealthChecks(e *Edge) *healthChecks {
	return &healthChecks{edge: e, slots: make(chan struct{}, e.bounds.checks), all: map[healthKey]*health{}}
}

// of returns the check of an origin, which follow starts if it is new; nil
// when the site wants none or its path cannot be understood.
func (c *healthChecks) of(t *site, s *edge.SiteSpec, g *origin) *health {
	if s.Health == nil || len(s.Hosts) == 0 {
		return nil
	}
	path, err := parseTarget(or(s.Health.Path, "/"))
	if err != nil {
		c.edge.opts.Log.Warn("health check left out", "kind", "Site", "tenant", t.name.tenant, "name", t.name.name, "err", err)
		return nil
	}
	k := healthKey{site: t.name, upstream: g.upstream, uri: path.uri(), host: g.host, interval: max(or(time.Duration(s.Health.Interval), healthInterval), healthLeast)}
	if k.host == "" {
		k.host = s.Hosts[0]
		if rest, wild := strings.CutPrefix(k.host, "*"); wild {
			k.host = "www" + rest // some name that the wildcard covers
		}
		if strings.Contains(k.host, ":") {
			k.host = "[" + k.host + "]"
		}
	}
	if h := c.all[k]; h != nil {
		return h
	}
	return &health{key: k, url: path.url(g.url.Scheme, g.url.Host), tally: t.tally}
}

// follow starts the checks that are new and ends those that are gone.
func (c *healthChecks) follow(ctx context.Context, s *snapshot) {
	for k, h := range c.all {
		if s.checks[k] == nil {
			h.stop()
			delete(c.all, k)
		}
	}
	for k, h := range s.checks {
		if c.all[k] != nil {
			continue
		}
		c.all[k] = h
		var own context.Context
		own, h.stop = context.WithCancel(ctx)
		c.running.Go(func() { c.watch(own, h) })
	}
}

// end stops all checks and waits for them. What nobody checks any more counts
// as healthy: a last verdict must not last for ever.
func (c *healthChecks) end() {
	for _, h := range c.all {
		h.stop()
	}
	c.running.Wait()
	for _, h := range c.all {
		h.down.Store(false)
	}
	clear(c.all)
}

// watch asks again and again until ctx ends. Failures in a row take an origin
// down, so that one lost packet does not; one success brings it back. The
// times are spread, so that a thousand sites do not ask at once.
func (c *healthChecks) watch(ctx context.Context, h *health) {
	timer := time.NewTimer(rand.N(h.key.interval))
	defer timer.Stop()
	for failures := 0; ; {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		class, status := c.ask(ctx, h)
		if ctx.Err() != nil {
			return
		}
		switch {
		case class == "":
			failures = 0
			c.settle(h, false, class, status)
		default:
			if failures++; failures >= failuresUntilDown {
				c.settle(h, true, class, status)
			}
		}
		timer.Reset(h.key.interval - h.key.interval/10 + rand.N(h.key.interval/5+1))
	}
}

// ask sends one request; class is "" when the origin is healthy.
func (c *healthChecks) ask(ctx context.Context, h *health) (class string, status int) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return "stopped", 0
	}
	ctx, cancel := context.WithTimeout(ctx, min(h.key.interval, healthTimeout))
	defer cancel()
	resp, err := h.key.upstream.transport.RoundTrip((&http.Request{
		Method: http.MethodGet, URL: h.url, Host: h.key.host, Body: http.NoBody, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"User-Agent": {"Dun health check"}, "Accept": {"*/*"}, "Via": {c.edge.via}},
	}).WithContext(ctx))
	if err != nil {
		class, _ = classify(err)
		return class, 0
	}
	io.CopyN(io.Discard, resp.Body, healthAnswer) // a short answer keeps the connection usable
	resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return "status", resp.StatusCode
	}
	return "", resp.StatusCode
}

// settle tells of a change of state, once.
func (c *healthChecks) settle(h *health, down bool, class string, status int) {
	if h.down.Swap(down) == down {
		return
	}
	h.tally.healthChanges.Add(1)
	a := map[string]string{"site": h.key.site.name, "origin": h.key.upstream.label, "state": "up"}
	if down {
		a["state"], a["class"] = "down", class
	}
	if status != 0 {
		a["status"] = strconv.Itoa(status)
	}
	c.edge.report.add(events.Event{
		Time: c.edge.opts.Now().UTC(), Kind: kindHealth, Action: actionDetected,
		Tenant: h.key.site.tenant, Object: "site/" + h.key.site.name, Attributes: a,
	})
	c.edge.opts.Log.Info("origin is "+a["state"], "kind", "Site", "tenant", h.key.site.tenant, "name", h.key.site.name)
}
