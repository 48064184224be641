package edge

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

func refusedAddress(t testing.TB) string {
	ln := listen(t)
	defer ln.Close()
	return "http://" + ln.Addr().String()
}

func TestOriginFailures(t *testing.T) {
	hang := make(chan struct{})
	slow := newOrigin(t, func(http.ResponseWriter, *http.Request) { <-hang })
	t.Cleanup(func() { close(hang) }) // before the origin's own Close, which waits
	cut := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
		c, _, _ := http.NewResponseController(w).Hijack()
		c.Close()
	})
	tlsOrigin := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(tlsOrigin.Close)
	waits := siteAt("slow", "slow.example", slow.URL)
	spec(waits).Limits = &edge.Limits{Timeouts: &edge.Timeouts{Origin: resource.Duration(200 * time.Millisecond)}}
	w := newWorld(t, nil, siteAt("down", "down.example", refusedAddress(t)), waits, siteAt("cut", "cut.example", cut.URL), siteAt("tls", "tls.example", tlsOrigin.URL))
	for host, want := range map[string]struct {
		status int
		class  string
	}{"down": {502, "connect"}, "slow": {504, "timeout"}, "cut": {502, "protocol"}, "tls": {502, "tls"}} {
		w.events.reset()
		resp, _ := w.do("GET", "http://"+host+".example/", nil, nil)
		ev := w.events.list("origin")
		if resp.StatusCode != want.status || len(ev) != 1 || ev[0].Attributes["class"] != want.class || ev[0].Attributes["origin"] == "" || ev[0].Attributes["count"] != "1" {
			t.Errorf("%s: %d, events %+v", host, resp.StatusCode, ev)
		}
	}
}

func TestOriginErrorEventsAreCoalesced(t *testing.T) {
	now := time.Now()
	var offset atomic.Int64
	w := newWorld(t, func(o *Options) { o.Now = func() time.Time { return now.Add(time.Duration(offset.Load())) } }, spreadSite(&edge.Traffic{Breaker: &edge.Breaker{Off: true}}, refusedAddress(t)))
	c := w.client(false, 0)
	for range 30 {
		do(t, c, "GET", "http://shop.example/", nil, nil)
	}
	offset.Store(int64(time.Second))
	do(t, c, "GET", "http://shop.example/", nil, nil)
	ev := w.events.list("origin")
	if len(ev) != 2 || ev[1].Attributes["count"] != "30" {
		t.Errorf("%d events, last %+v", len(ev), ev[len(ev)-1].Attributes)
	}
	if s := w.edge.Stats(); s.Total.OriginErrors != 31 {
		t.Errorf("stats %+v", s.Total)
	}
}

func TestAnotherOriginIsTriedWhenOneIsDown(t *testing.T) {
	up := echoOrigin(t)
	for _, mode := range []string{"block", "off"} {
		s := siteObject("acme", "shop", *withWAF("", "shop.example", "", mode, 1, 0))
		spec(s).Origins = []edge.Origin{{URL: refusedAddress(t), Weight: 1000}, {URL: up.URL, Weight: 1}}
		w := newWorld(t, func(o *Options) { o.bounds.rest = time.Nanosecond }, s)
		for _, method := range []string{"GET", "POST"} {
			for range 10 {
				var body io.Reader
				if method == "POST" {
					body = strings.NewReader(`{"a":1}`)
				}
				resp, text := w.do(method, "http://shop.example/", map[string]string{"Content-Type": "application/json"}, body)
				if resp.StatusCode != 200 || method == "POST" && !strings.Contains(text, "body=7") {
					t.Fatalf("waf %s %s: %d %q", mode, method, resp.StatusCode, text)
				}
			}
		}
	}
}

func TestOriginThatRefusedIsAvoidedForAWhile(t *testing.T) {
	up := echoOrigin(t)
	var dials sync.Map
	now := time.Now()
	var offset atomic.Int64
	s := siteAt("shop", "shop.example", "")
	down := refusedAddress(t)
	spec(s).Origins = []edge.Origin{{URL: down, Weight: 1000}, {URL: up.URL}}
	w := newWorld(t, func(o *Options) {
		o.Now = func() time.Time { return now.Add(time.Duration(offset.Load())) }
		o.Dial = func(string) DialFunc {
			return func(ctx context.Context, network, addr string) (net.Conn, error) {
				n, _ := dials.LoadOrStore("http://"+addr, new(atomic.Int64))
				n.(*atomic.Int64).Add(1)
				return (&net.Dialer{}).DialContext(ctx, network, addr)
			}
		}
	}, s)
	count := func() int64 { n, _ := dials.LoadOrStore(down, new(atomic.Int64)); return n.(*atomic.Int64).Load() }
	for range 50 {
		w.do("GET", "http://shop.example/", nil, nil)
	}
	if n := count(); n != 1 {
		t.Errorf("the origin that is down was dialled %d times, want once", n)
	}
	offset.Store(int64(restAfterFailure))
	for range 50 {
		w.do("GET", "http://shop.example/", nil, nil)
	}
	if n := count(); n != 2 {
		t.Errorf("after the rest it was dialled %d times, want 2", n)
	}
}

func anyone(*origin) bool { return true }

func TestWeightsShareTheRequests(t *testing.T) {
	s := &site{origins: []*origin{{upstream: &upstream{}, weight: 3}, {upstream: &upstream{}, weight: 1}}}
	n := map[*origin]int{}
	for range 4000 {
		n[s.choose(time.Now(), anyone)]++
	}
	if a := n[s.origins[0]]; a < 2800 || a > 3200 {
		t.Errorf("weights 3:1 gave %d:%d", a, n[s.origins[1]])
	}
	s.origins[0].restUntil.Store(time.Now().Add(time.Hour).UnixNano())
	if s.choose(time.Now(), anyone) != s.origins[1] || s.choose(time.Now(), func(g *origin) bool { return g != s.origins[1] }) != s.origins[0] {
		t.Error("a resting origin is taken last, but taken")
	}
}

func TestOriginTLSIsVerified(t *testing.T) {
	ca := newAuthority(t)
	cert, err := ca.Certificate(t.Context(), "internal.example")
	if err != nil {
		t.Fatal(err)
	}
	o := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
	o.EnableHTTP2 = true
	o.TLS = tlsServer(cert)
	o.StartTLS()
	t.Cleanup(o.Close)
	make := func(name string, g edge.Origin) *resource.Object {
		g.URL = o.URL
		return siteObject("acme", name, edge.SiteSpec{Hosts: []string{name + ".example"}, Origins: []edge.Origin{g}})
	}
	w := newWorld(t, nil, make("good", edge.Origin{CA: ca.pem(), ServerName: "internal.example"}), make("noca", edge.Origin{ServerName: "internal.example"}),
		make("badname", edge.Origin{CA: ca.pem()}), make("garbage", edge.Origin{CA: "nonsense"}))
	for host, want := range map[string]int{"good": 200, "noca": 502, "badname": 502, "garbage": 503} {
		if resp, body := w.do("GET", "http://"+host+".example/", nil, nil); resp.StatusCode != want || want == 200 && body != "HTTP/2.0" {
			t.Errorf("%s: %d %q, want %d", host, resp.StatusCode, body, want)
		}
	}
}
