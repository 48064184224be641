package edge

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// spreadSite has origins in the order given.
func spreadSite(traffic *edge.Traffic, origins ...string) *resource.Object {
	s := siteAt("shop", "shop.example", "")
	spec(s).Origins = nil
	for _, o := range origins {
		spec(s).Origins = append(spec(s).Origins, edge.Origin{URL: o})
	}
	spec(s).Traffic = traffic
	return s
}

func TestLeastCountsAnAnswerToItsLastByte(t *testing.T) {
	hold := make(chan struct{})
	var held sync.WaitGroup
	slow := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "slow ")
		http.NewResponseController(w).Flush()
		<-hold
	})
	fast := newOrigin(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "fast") })
	t.Cleanup(func() { close(hold); held.Wait() })
	w := newWorld(t, nil, spreadSite(&edge.Traffic{Balance: edge.BalanceLeast}, slow.URL, fast.URL))
	// Ask until the slow one has begun an answer whose header is there already.
	for busy := false; !busy; {
		req, _ := http.NewRequest("GET", "http://shop.example/", nil)
		resp, err := w.client(false, 0).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4)
		io.ReadFull(resp.Body, b)
		if busy = string(b) == "slow"; busy {
			held.Go(func() { io.Copy(io.Discard, resp.Body); resp.Body.Close() })
		} else {
			resp.Body.Close()
		}
	}
	for range 20 {
		if _, body := w.do("GET", "http://shop.example/", nil, nil); body != "fast" {
			t.Fatalf("%q came from the origin that is still sending", body)
		}
	}
	if o := w.edge.Origins("acme", "shop"); len(o) != 2 || o[0].Busy != 1 || o[1].Busy != 0 {
		t.Errorf("%+v", o)
	}
}

func TestOnlyWhatIsSafeIsSentAgain(t *testing.T) {
	var hits, again atomic.Int64
	bad := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		switch r.URL.Path {
		case "/cut":
			c, _, _ := http.NewResponseController(w).Hijack()
			c.Close()
		case "/later":
			w.Header().Set("Retry-After", "9")
			w.WriteHeader(503)
		case "/half":
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "half")
			http.NewResponseController(w).Flush()
			c, _, _ := http.NewResponseController(w).Hijack()
			c.Close()
		default:
			w.WriteHeader(503)
		}
	})
	good := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		again.Add(1)
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %d", r.Method, len(b))
	})
	off := &edge.Breaker{Off: true}
	for name, tt := range map[string]struct {
		method, path, mode string
		retries            *edge.Retries
		again              bool
	}{
		"GET without an answer":         {"GET", "/cut", "block", nil, true},
		"GET answered 503":              {"GET", "/", "block", nil, true},
		"PUT answered 503":              {"PUT", "/", "block", nil, true},
		"POST without an answer":        {"POST", "/cut", "block", nil, false},
		"POST answered 503":             {"POST", "/", "block", nil, false},
		"PUT whose body was streamed":   {"PUT", "/", "off", nil, false},
		"503 that says when":            {"GET", "/later", "block", nil, false},
		"answer that breaks off":        {"GET", "/half", "block", nil, false},
		"retries that are switched off": {"GET", "/", "block", &edge.Retries{Off: true}, false},
	} {
		s := spreadSite(&edge.Traffic{Breaker: off, Retries: tt.retries}, bad.URL, good.URL)
		spec(s).Origins[0].Weight = 1000
		spec(s).WAF = &edge.WAF{Mode: tt.mode}
		w := newWorld(t, nil, s)
		hits.Store(0)
		again.Store(0)
		for hits.Load() == 0 { // until chance has asked the bad one
			var body io.Reader
			if tt.method != "GET" {
				body = strings.NewReader(`{"a":1}`)
			}
			again.Store(0)
			req, _ := http.NewRequest(tt.method, "http://shop.example"+tt.path, body)
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("User-Agent", "Mozilla/5.0")
			req.Header.Set("Accept", "*/*")
			resp, err := w.client(false, 0).Do(req)
			if err == nil {
				b, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if tt.again && tt.method == "PUT" && string(b) != "PUT 7" {
					t.Errorf("%s: the other origin got %q", name, b)
				}
			}
		}
		if got := again.Load() == 1; got != tt.again || hits.Load() != 1 {
			t.Errorf("%s: the first was asked %d times, the other %d", name, hits.Load(), again.Load())
		}
		if n := w.edge.Stats().Total.Retries; (n == 1) != tt.again {
			t.Errorf("%s: %d retries counted", name, n)
		}
		w.stop()
	}
}

func TestRetriesCannotMultiplyAnOutage(t *testing.T) {
	var hits atomic.Int64
	fail := func(w http.ResponseWriter, r *http.Request) { hits.Add(1); w.WriteHeader(503) }
	a, b, c := newOrigin(t, fail), newOrigin(t, fail), newOrigin(t, fail)
	w := newWorld(t, nil, spreadSite(&edge.Traffic{Breaker: &edge.Breaker{Off: true}, Retries: &edge.Retries{Attempts: 3}}, a.URL, b.URL, c.URL))
	const requests = 500
	client := w.client(false, 0)
	for range requests {
		if resp, _ := do(t, client, "GET", "http://shop.example/", nil, nil); resp.StatusCode != 503 {
			t.Fatal(resp.StatusCode)
		}
	}
	most := int64(requests + requests*edge.DefaultBudget/100 + 10)
	t.Logf("%d requests to an outage made %d at the origins", requests, hits.Load())
	if n := hits.Load(); n > most || n <= requests {
		t.Errorf("%d requests made %d at the origins, want more than %d and at most %d", requests, n, requests, most)
	}
}

func TestAnOpenBreakerSparesTheOrigin(t *testing.T) {
	var hits, inside, most atomic.Int64
	var well atomic.Bool
	hold := make(chan struct{})
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		if n := inside.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer inside.Add(-1)
		if r.URL.Path == "/trial" {
			<-hold
		}
		if !well.Load() {
			w.WriteHeader(502)
		}
	})
	now := time.Now()
	var offset atomic.Int64
	w := newWorld(t, func(o *Options) { o.Now = func() time.Time { return now.Add(time.Duration(offset.Load())) } }, spreadSite(nil, o.URL))
	for i := range 50 {
		want := 502
		if i >= edge.DefaultFailures {
			want = 503
		}
		resp, _ := w.do("GET", "http://shop.example/", nil, nil)
		if resp.StatusCode != want || want == 503 && resp.Header.Get("Retry-After") == "" {
			t.Fatalf("request %d: %d", i, resp.StatusCode)
		}
	}
	if hits.Load() != edge.DefaultFailures {
		t.Errorf("the origin was asked %d times", hits.Load())
	}
	// Half open: of twenty at once one gets through.
	offset.Store(int64(breakerRest))
	well.Store(true)
	most.Store(0)
	refused := make(chan int, 20)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			req, _ := http.NewRequest("GET", "http://shop.example/trial", nil)
			if resp, err := w.client(false, 0).Do(req); err == nil {
				resp.Body.Close()
				refused <- resp.StatusCode
			}
		})
	}
	for range 19 {
		if status := <-refused; status != 503 {
			t.Errorf("beside the trial: %d", status)
		}
	}
	close(hold)
	all.Wait()
	if status := <-refused; status != 200 || most.Load() != 1 {
		t.Errorf("the trial: %d, %d at once", status, most.Load())
	}
	if resp, _ := w.do("GET", "http://shop.example/", nil, nil); resp.StatusCode != 200 {
		t.Errorf("after a success: %d", resp.StatusCode)
	}
	var states []string
	for _, e := range w.events.list("health") {
		states = append(states, e.Attributes["class"]+" "+e.Attributes["state"])
	}
	if got := strings.Join(states, ", "); got != "breaker open, breaker halfOpen, breaker closed" {
		t.Errorf("events: %s", got)
	}
}

func TestAClientThatLeavesDoesNotOpenTheBreaker(t *testing.T) {
	arrived := make(chan struct{})
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			arrived <- struct{}{}
			<-r.Context().Done()
		}
	})
	w := newWorld(t, nil, spreadSite(&edge.Traffic{Breaker: &edge.Breaker{Failures: 1}}, o.URL))
	for range 3 {
		ctx, leave := context.WithCancel(t.Context())
		req, _ := http.NewRequestWithContext(ctx, "GET", "http://shop.example/wait", nil)
		c := w.client(false, 0)
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			if resp, err := c.Do(req); err == nil {
				resp.Body.Close()
			}
		}()
		<-arrived
		leave()
		<-gone
	}
	if resp, _ := w.do("GET", "http://shop.example/", nil, nil); resp.StatusCode != 200 {
		t.Errorf("%d", resp.StatusCode)
	}
	if o := w.edge.Origins("acme", "shop"); o[0].Breaker != breakerClosed {
		t.Errorf("%+v", o)
	}
}
