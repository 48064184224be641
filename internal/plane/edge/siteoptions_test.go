package edge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

func TestASiteSetsItsHeaders(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Set-Cookie", "a=1; Path=/")
		w.Header().Add("Set-Cookie", "b=secure; httponly; SameSite=None; Secure")
		w.Header().Set("X-Frame-Options", "ALLOWALL")
	})
	site := func(name string, hosts ...string) *resource.Object {
		return siteObject("acme", name, edge.SiteSpec{
			Hosts: hosts, Origins: []edge.Origin{{URL: o.URL}},
			Headers: &edge.Headers{
				HSTS: &edge.HSTS{Subdomains: true}, CSP: &edge.CSP{Directives: []string{"default-src 'self'", "img-src *"}},
				Cookies: &edge.Cookies{Secure: true, HTTPOnly: true, SameSite: "Lax"}, NoSniff: true, ReferrerPolicy: "no-referrer", FrameOptions: "DENY",
			},
		})
	}
	w := newWorld(t, nil, site("shop", "shop.example", "localhost", "127.0.0.1"), siteAt("plain", "plain.example", o.URL))
	c := w.client(false, 0)
	secure, _ := do(t, c, "GET", "https://shop.example/", nil, nil)
	for name, want := range map[string]string{
		"Strict-Transport-Security": "max-age=15552000; includeSubDomains", "Content-Security-Policy": "default-src 'self'; img-src *",
		"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
	} {
		if got := secure.Header.Values(name); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := secure.Header["Set-Cookie"]; !slices.Equal(got, []string{"a=1; Path=/; Secure; HttpOnly; SameSite=Lax", "b=secure; httponly; SameSite=None; Secure"}) {
		t.Errorf("cookies: %q", got)
	}
	// RFC 6797 section 7.2: never in clear; section 8.1.1: never for an address.
	for _, url := range []string{"http://shop.example/", "https://localhost/", "https://127.0.0.1/"} {
		if r, _ := do(t, c, "GET", url, nil, nil); r.StatusCode != 200 || r.Header.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s: %d with HSTS %q", url, r.StatusCode, r.Header.Get("Strict-Transport-Security"))
		}
	}
	clear, _ := do(t, c, "GET", "http://shop.example/", nil, nil)
	if got := clear.Header["Set-Cookie"][0]; strings.Contains(got, "Secure") {
		t.Errorf("a cookie in clear that browsers drop: %q", got)
	}
	if r, _ := do(t, c, "GET", "https://plain.example/", nil, nil); r.Header.Get("X-Frame-Options") != "ALLOWALL" || len(r.Header["Set-Cookie"]) != 2 || r.Header.Get("Content-Security-Policy") != "" {
		t.Errorf("another site's answer was changed: %v", r.Header)
	}
}

func TestTheClearDoorSendsOnToHTTPS(t *testing.T) {
	o := echoOrigin(t)
	w := newWorld(t, nil, siteObject("acme", "shop", edge.SiteSpec{Hosts: []string{"shop.example"}, Origins: []edge.Origin{{URL: o.URL}}, TLS: &edge.TLS{Redirect: true}}))
	_, port, _ := strings.Cut(w.https, ":")
	for _, tt := range []struct{ host, want string }{
		{"shop.example", "https://shop.example/a%20b?c=d%2F"}, {"shop.example:8080", "https://shop.example:" + port + "/a%20b?c=d%2F"}, {"shop.example:80", "https://shop.example/a%20b?c=d%2F"},
	} {
		r, _ := w.do("POST", "http://shop.example/a%20b?c=d%2F", map[string]string{"Host": tt.host}, strings.NewReader("x"))
		if r.StatusCode != http.StatusPermanentRedirect || r.Header.Get("Location") != tt.want || r.Header.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s: %d %q, want %q", tt.host, r.StatusCode, r.Header.Get("Location"), tt.want)
		}
	}
	if r, _ := do(t, w.client(false, 0), "GET", "https://shop.example/", nil, nil); r.StatusCode != 200 {
		t.Errorf("over HTTPS: %d", r.StatusCode)
	}
}

func TestAClientIsHeldToTheRate(t *testing.T) {
	o := echoOrigin(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var mu sync.Mutex
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	limited := siteObject("acme", "shop", edge.SiteSpec{Hosts: []string{"shop.example"}, Origins: []edge.Origin{{URL: o.URL}}, Limits: &edge.Limits{
		Rate: &edge.Rate{Requests: 3}, Routes: []edge.Route{{Path: "/login", Rate: &edge.Rate{Requests: 1, Per: resource.Duration(time.Minute)}}},
	}})
	w := newWorld(t, func(o *Options) {
		o.Now = clock
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}, limited, siteAt("free", "free.example", o.URL), banObject("acme", "friends", edge.BanSpec{Action: edge.ActionAllow, Sources: []string{"203.0.113.9"}}))
	get := func(from, path string) (int, string) {
		r, _ := w.do("GET", "http://shop.example"+path, map[string]string{"X-Forwarded-For": from}, nil)
		return r.StatusCode, r.Header.Get("Retry-After")
	}
	for i, want := range []int{200, 200, 200, 429} {
		if code, after := get("203.0.113.1", "/"); code != want || want == 429 && after != "1" {
			t.Errorf("request %d: %d, Retry-After %q", i, code, after)
		}
	}
	for what, from := range map[string]string{"another client": "203.0.113.2", "one whom the allow list names": "203.0.113.9"} {
		if code, _ := get(from, "/"); code != 200 {
			t.Errorf("%s: %d", what, code)
		}
	}
	for range 10 {
		if code, _ := get("203.0.113.9", "/"); code != 200 {
			t.Errorf("the allow list comes first: %d", code)
		}
	}
	// IPv6 clients own a /64 and would change addresses at will.
	for i, want := range []int{200, 429} {
		if code, after := get(fmt.Sprintf("2001:db8:1:2::%d", i+1), "/login/form"); code != want || want == 429 && after != "60" {
			t.Errorf("IPv6 %d: %d, Retry-After %q", i, code, after)
		}
	}
	if code, _ := get("2001:db8:1:3::1", "/login"); code != 200 {
		t.Errorf("another /64: %d", code)
	}
	if code, _ := get("2001:db8:1:2::1", "/loginx"); code != 200 {
		t.Errorf("a path that only begins alike: %d", code)
	}
	mu.Lock()
	now = now.Add(time.Second)
	mu.Unlock()
	if code, _ := get("203.0.113.1", "/"); code != 200 {
		t.Errorf("a second later: %d", code)
	}
	if r, _ := w.do("GET", "http://free.example/", map[string]string{"X-Forwarded-For": "203.0.113.1"}, nil); r.StatusCode != 200 {
		t.Errorf("another site: %d", r.StatusCode)
	}
	if e := w.events.list(kindLimit); len(e) == 0 || e[0].Attributes["class"] != "rate" {
		t.Errorf("events: %v", e)
	}
}

func TestAClientIsHeldToSoManyAtOnce(t *testing.T) {
	hold, in := make(chan struct{}), make(chan struct{}, 8)
	o := newOrigin(t, func(http.ResponseWriter, *http.Request) { in <- struct{}{}; <-hold })
	w := newWorld(t, nil, siteObject("acme", "shop", edge.SiteSpec{Hosts: []string{"shop.example"}, Origins: []edge.Origin{{URL: o.URL}}, Limits: &edge.Limits{Concurrency: 2}}))
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			if r, _ := w.do("GET", "http://shop.example/", nil, nil); r.StatusCode != 200 {
				t.Errorf("within the limit: %d", r.StatusCode)
			}
		})
		<-in
	}
	if r, _ := w.do("GET", "http://shop.example/", nil, nil); r.StatusCode != 429 {
		t.Errorf("a third at once: %d", r.StatusCode)
	}
	close(hold)
	all.Wait()
	if r, _ := w.do("GET", "http://shop.example/", nil, nil); r.StatusCode != 200 {
		t.Errorf("when they have gone: %d", r.StatusCode)
	}
}

// A million sources take no memory beyond the table, and do not make it forget
// a client who is over his limit, or one with a request in progress.
func TestAFloodOfSourcesLeavesTheLimiterItsSize(t *testing.T) {
	l := newLimiter()
	slow := compileRate(&edge.Rate{Requests: 1, Per: resource.Duration(time.Hour)}, 0, -1)
	open := compileRate(nil, 1, 0)
	key := func(i int, route int) clientKey {
		return clientKey{site: siteName{"acme", "shop"}, route: route, client: netip.AddrFrom4([4]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)})}
	}
	now := int64(time.Hour)
	if ok, _ := l.take(key(1, -1), slow, now); !ok {
		t.Fatal("the first request")
	}
	if ok, _ := l.take(key(1, 0), open, now); !ok {
		t.Fatal("the first in progress")
	}
	quick := compileRate(&edge.Rate{Requests: 1000}, 0, -1)
	for i := range 1_000_000 {
		l.take(key(i+2, -1), quick, now+int64(i))
	}
	if ok, wait := l.take(key(1, -1), slow, now+1_000_000); ok || wait <= 0 {
		t.Error("the flood made the table forget who was over his limit")
	}
	if ok, _ := l.take(key(1, 0), open, now+1_000_000); ok {
		t.Error("the flood made the table forget a request in progress")
	}
	if n := len(l.shards) * limiterSets * limiterWays; n != limiterShards*limiterSets*limiterWays {
		t.Errorf("%d cells", n)
	}
	l.done(key(1, 0))
	if ok, _ := l.take(key(1, 0), open, now+1_000_001); !ok {
		t.Error("a request that ended is still counted")
	}
}

// One tenant's flood waits behind itself: the quiet one is next in turn.
func TestTenantsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTurns(1)
		if err := s.enter(t.Context(), "loud", time.Minute); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []string
		var all sync.WaitGroup
		wait := func(tenant string) {
			all.Go(func() {
				if err := s.enter(t.Context(), tenant, time.Minute); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, tenant)
				mu.Unlock()
				s.leave()
			})
			synctest.Wait()
		}
		for range 50 {
			wait("loud")
		}
		wait("quiet")
		s.leave()
		all.Wait()
		if at := slices.Index(order, "quiet"); at < 0 || at > 1 || len(order) != 51 {
			t.Errorf("the quiet tenant was number %d of %d", at+1, len(order))
		}
		if s.free != 1 || len(s.wait) != 0 || len(s.order) != 0 {
			t.Errorf("left behind: %d free, %v, %v", s.free, s.wait, s.order)
		}
	})
}

func TestTheLineOfATenantIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTurns(1)
		s.enter(t.Context(), "loud", time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range maxWaiting {
			all.Go(func() {
				if err := s.enter(ctx, "loud", time.Hour); !errors.Is(err, errGone) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if err := s.enter(t.Context(), "loud", time.Hour); !errors.Is(err, errBusy) {
			t.Errorf("one too many: %v", err)
		}
		if err := s.enter(t.Context(), "quiet", time.Second); !errors.Is(err, errBusy) {
			t.Errorf("nobody left within the wait: %v", err)
		}
		cancel()
		all.Wait()
		s.leave()
		if s.free != 1 || len(s.wait) != 0 || len(s.order) != 0 {
			t.Errorf("left behind: %d free, %v, %v", s.free, s.wait, s.order)
		}
	})
}
