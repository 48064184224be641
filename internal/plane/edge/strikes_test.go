package edge

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/verdicts"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

const attackPath = "/?id=1%27%20OR%201=1--"

func shopOf(origin, tenant, name, host string, hammering string) edge.SiteSpec {
	return edge.SiteSpec{Hosts: []string{host}, Origins: []edge.Origin{{URL: origin}}, Limits: &edge.Limits{Hammering: hammering}}
}

// status asks once and says what came.
func (w *world) status(url string) int {
	w.t.Helper()
	res, _ := w.do("GET", url, nil, nil)
	return res.StatusCode
}

// share repairs two sets as two nodes would, once a second, until ctx ends.
func share(ctx context.Context, t *testing.T, a, b *verdicts.Set) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, x := range [][2]*verdicts.Set{{a, b}, {b, a}} {
			ask, err := x[0].Differ(x[1].Digest())
			if err == nil && ask != nil {
				var list []byte
				if list, err = x[1].Entries(ask); err == nil {
					_, err = x[0].Merge(list)
				}
			}
			if err != nil {
				t.Errorf("repair: %v", err)
				return
			}
		}
	}
}

// TestWhoIsRefusedTooOftenIsBannedOnEveryEdge hammers one of two edges: the
// client is refused everything of the tenant for a while, soon on the other edge
// too, and nothing of another tenant, and who is on an allow list never is.
func TestWhoIsRefusedTooOftenIsBannedOnEveryEdge(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "shop") }))
	t.Cleanup(origin.Close)
	one, two := verdicts.New(verdicts.Options{}), verdicts.New(verdicts.Options{})
	open := func(v *verdicts.Set) *world {
		return newWorld(t, func(o *Options) { o.Verdicts = v },
			siteObject("platform", "shop", shopOf(origin.URL, "platform", "shop", "shop.test", "")),
			siteObject("platform", "lax", shopOf(origin.URL, "platform", "lax", "lax.test", "serve")),
			siteObject("other", "blog", shopOf(origin.URL, "other", "blog", "blog.invalid", "")))
	}
	a, b := open(one), open(two)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); share(ctx, t, one, two) }()

	for i := range strikeBurst {
		if s := a.status("http://shop.test" + attackPath); s != 403 {
			t.Fatalf("attack %d: %d", i, s)
		}
	}
	if s := a.status("http://shop.test/"); s != 200 {
		t.Fatalf("banned after %d refusals, which are allowed: %d", strikeBurst, s)
	}
	late := time.Now().Add(time.Minute)
	for a.status("http://shop.test/") != 403 {
		a.status("http://shop.test" + attackPath)
		if time.Now().After(late) {
			t.Fatal("never banned")
		}
	}
	begin := time.Now()
	for b.status("http://shop.test/") != 403 {
		if time.Since(begin) > 30*time.Second {
			t.Fatal("the other edge never heard of it")
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Logf("on the other edge after %s (bar 5 s)", time.Since(begin).Round(time.Millisecond))
	cancel()
	<-done
	if s := a.status("http://lax.test/"); s != 200 {
		t.Errorf("a site that judges each request by itself: %d", s)
	}
	if s := a.status("http://blog.invalid/"); s != 200 {
		t.Errorf("another tenant: %d", s)
	}
	if n := len(one.All()); n != 1 {
		t.Errorf("%d verdicts for one client", n)
	}
	v := one.All()[0]
	if v.Rule != verdictRule || v.Kind != verdictBan || time.Until(v.Until) > strikeBan {
		t.Errorf("%+v", v)
	}
	a.put(banObject("platform", "us", edge.BanSpec{Action: "allow", Sources: []string{"127.0.0.0/8"}}))
	if s := a.status("http://shop.test/"); s != 200 {
		t.Errorf("an allow list does not go before the verdict: %d", s)
	}
	for range 2 * strikeBurst {
		a.status("http://shop.test" + attackPath)
	}
	if n := len(one.All()); n != 1 {
		t.Errorf("who is allowed was struck: %d verdicts", n)
	}
}
