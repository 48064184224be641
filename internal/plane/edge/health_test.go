package edge

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// pipes plays origins without sockets, so that a fake clock can drive them.
type pipes struct {
	mu     sync.Mutex
	status map[string]int // by address; 0 = no answer ever, -1 = refused
	asked  map[string]int
	busy   atomic.Int64
}

func (p *pipes) set(addr string, status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status[addr] = status
}

func (p *pipes) count(addr string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[addr]
}

func (p *pipes) dial(_ context.Context, _, addr string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked[addr]++
	if p.status[addr] == -1 {
		return nil, io.ErrClosedPipe
	}
	a, b := net.Pipe()
	go p.serve(b, addr)
	return a, nil
}

func (p *pipes) serve(c net.Conn, addr string) {
	defer c.Close()
	for br := bufio.NewReader(c); ; {
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		p.busy.Add(1)
		p.mu.Lock()
		status := p.status[addr]
		p.mu.Unlock()
		if status == 0 {
			br.ReadByte() // until the client gives up
			p.busy.Add(-1)
			return
		}
		p.busy.Add(-1)
		fmt.Fprintf(c, "HTTP/1.1 %d X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status)
		return
	}
}

// healthWorld is an edge under a fake clock; call it inside a bubble. end waits
// for Run.
func healthWorld(t *testing.T, change func(*Options)) (e *Edge, p *pipes, feed *fakeFeed, seen *sink, end func()) {
	p = &pipes{status: map[string]int{}, asked: map[string]int{}}
	rules, err := sharedRules()
	if err != nil {
		t.Fatal(err)
	}
	seen, feed = &sink{}, newFeed()
	o := Options{Events: seen, TempDir: t.TempDir(), rules: rules, Dial: func(string) DialFunc { return p.dial }}
	if change != nil {
		change(&o)
	}
	if e, err = New(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { e.Run(ctx, feed) })
	return e, p, feed, seen, func() { cancel(); running.Wait() }
}

func pass(d time.Duration) { <-time.After(d); synctest.Wait() }

func checkedSite(path string, every time.Duration, origins ...string) *resource.Object {
	s := siteObject("acme", "shop", edge.SiteSpec{Hosts: []string{"shop.example"}, Health: &edge.Health{Path: path, Interval: resource.Duration(every)}})
	for _, o := range origins {
		spec(s).Origins = append(spec(s).Origins, edge.Origin{URL: "http://" + o})
	}
	return s
}

func put(f *fakeFeed, o *resource.Object) {
	f.deliver(resource.Batch{Changes: []resource.Change{{Ref: o.Ref(), Object: o}}, Synced: true})
}

func TestHealthFollowsTheOrigins(t *testing.T) {
	if _, err := sharedRules(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		e, p, feed, seen, end := healthWorld(t, nil)
		defer end()
		p.set("a:80", 200)
		p.set("b:80", 302)
		put(feed, checkedSite("/healthz", 10*time.Second, "a", "b"))
		chosen := func() string {
			s, got := e.snap.Load().lookup("shop.example"), map[string]bool{}
			for range 100 {
				got[s.choose(time.Now(), anyone).url.Host] = true
			}
			return fmt.Sprint(got)
		}
		last := func(n int, want string) {
			t.Helper()
			ev := seen.list("health")
			if len(ev) != n {
				t.Fatalf("%d events, want %d: %+v", len(ev), n, ev)
			}
			if n > 0 {
				a := ev[n-1].Attributes
				if got := strings.Join([]string{a["origin"], a["state"], a["class"], a["status"]}, " "); got != want || ev[n-1].Part != "edge" || ev[n-1].Object != "site/shop" || ev[n-1].Tenant != "acme" || ev[n-1].Action != "detected" {
					t.Errorf("event %q %+v, want %q", got, ev[n-1], want)
				}
			}
		}
		pass(time.Minute)
		last(0, "")
		if n := p.count("a:80"); n < 5 || n > 7 {
			t.Errorf("%d checks in a minute", n)
		}
		p.set("a:80", 503)
		for before := p.count("a:80"); p.count("a:80") == before; {
			pass(time.Second)
		}
		last(0, "") // one failure is none
		pass(12 * time.Second)
		last(1, "http://a down status 503")
		if got := chosen(); got != "map[b:true]" {
			t.Errorf("chosen %s", got)
		}
		p.set("b:80", 0)
		pass(35 * time.Second)
		last(2, "http://b down timeout ")
		if got := chosen(); got != "map[a:true b:true]" {
			t.Errorf("all are down, chosen %s", got)
		}
		p.set("b:80", -1)
		pass(20 * time.Second)
		last(2, "http://b down timeout ") // another reason is no other state
		p.set("a:80", 204)
		pass(12 * time.Second)
		last(3, "http://a up  204")
		put(feed, siteAt("other", "other.example", "http://a")) // the checks go on
		if got := chosen(); got != "map[a:true]" {
			t.Errorf("after a change elsewhere, chosen %s", got)
		}
		if n := e.Stats().Sites["acme/shop"].HealthChanges; n != 3 {
			t.Errorf("counted %d changes", n)
		}
	})
}

func TestHealthChecksEndWithTheirOrigin(t *testing.T) {
	if _, err := sharedRules(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		e, p, feed, _, end := healthWorld(t, nil)
		put(feed, checkedSite("", time.Second, "a", "b")) // both hang
		pass(10 * time.Second)
		put(feed, checkedSite("", time.Second, "b"))
		n := p.count("a:80")
		pass(time.Minute)
		if p.count("a:80") != n {
			t.Error("an origin that is gone is still asked")
		}
		if s := e.snap.Load().lookup("shop.example"); !s.origins[0].health.down.Load() {
			t.Error("b is not known to be down")
		}
		end()
		if s := e.snap.Load().lookup("shop.example"); s.origins[0].health.down.Load() {
			t.Error("a verdict outlives its check")
		}
	})
}

func TestHealthChecksAtOnceAreBounded(t *testing.T) {
	if _, err := sharedRules(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		_, p, feed, _, end := healthWorld(t, func(o *Options) { o.bounds.checks = 3 })
		defer end()
		var all []string
		for i := range 20 {
			all = append(all, fmt.Sprintf("o%d", i)) // all of them hang
		}
		put(feed, checkedSite("/", time.Second, all...))
		most := int64(0)
		for range 600 { // looked at when nothing moves, since an origin notices the end of a check later
			pass(100 * time.Millisecond)
			most = max(most, p.busy.Load())
		}
		if most != 3 {
			t.Errorf("%d checks at once, want 3", most)
		}
	})
}

func TestHealthCheckAsksAsTheSiteOverItsOwnConnections(t *testing.T) {
	ca := newAuthority(t)
	cert, err := ca.Certificate(t.Context(), "internal.example")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan *http.Request, 100)
	o := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- r:
		default:
		}
	}))
	o.TLS = tlsServer(cert)
	o.StartTLS()
	t.Cleanup(o.Close)
	s := checkedSite("/healthz?deep=1", 400*time.Millisecond)
	spec(s).Hosts = []string{"*.shop.example"}
	spec(s).Origins = []edge.Origin{{URL: o.URL, CA: ca.pem(), ServerName: "internal.example"}, {URL: o.URL}}
	w := newWorld(t, nil, s)
	r := <-asked
	if r.Method != "GET" || r.RequestURI != "/healthz?deep=1" || r.Host != "www.shop.example" || r.TLS == nil {
		t.Errorf("%s %s host %s", r.Method, r.RequestURI, r.Host)
	}
	for deadline := time.Now().Add(5 * time.Second); len(w.events.list("health")) == 0 && time.Now().Before(deadline); {
		<-asked
	}
	ev := w.events.list("health")
	if len(ev) != 1 || ev[0].Attributes["class"] != "tls" {
		t.Errorf("events %+v", ev)
	}
	if addr, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || !addr.Addr().IsLoopback() {
		t.Errorf("from %s", r.RemoteAddr)
	}
	w.remove(s.Ref())
	w.stop()
}

func TestHealthRecordsThatMakeNoSenseDoNoHarm(t *testing.T) {
	o := echoOrigin(t)
	for _, h := range []edge.Health{{Interval: -1}, {Path: "no slash"}, {Path: "/%zz"}} {
		s := siteAt("shop", "shop.example", o.URL)
		spec(s).Health = &h
		w := newWorld(t, nil, s)
		if resp, _ := w.do("GET", "http://shop.example/", nil, nil); resp.StatusCode != 200 {
			t.Errorf("%+v: %d", h, resp.StatusCode)
		}
	}
}
