package edge

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/types"

	"github.com/dun-sec/dun/internal/core/resource"
)

// explosive is a rule engine with a defect.
type explosive struct{ coraza.WAF }

func (e explosive) NewTransaction() types.Transaction {
	return explosiveTransaction{e.WAF.NewTransaction().(transaction)}
}

type explosiveTransaction struct{ transaction }

func (explosiveTransaction) ProcessRequestHeaders() *types.Interruption { panic("boom") }

func TestPanicOfTheEngineFailsClosed(t *testing.T) {
	reached := 0
	o := newOrigin(t, func(http.ResponseWriter, *http.Request) { reached++ })
	rules, err := sharedRules()
	if err != nil {
		t.Fatal(err)
	}
	broken := *rules
	broken.waf = explosive{rules.waf}
	w := newWorld(t, func(o *Options) { o.rules = &broken }, siteAt("shop", "shop.example", o.URL))
	for range 2 * w.edge.bounds.slots { // no slot is lost
		if resp, _ := w.do("GET", "http://shop.example/", nil, nil); resp.StatusCode != 500 {
			t.Fatalf("%d, want 500", resp.StatusCode)
		}
	}
	ev := w.events.list("limit")
	if reached != 0 || len(ev) == 0 || ev[0].Attributes["class"] != "engine" || ev[0].Action != "blocked" {
		t.Errorf("%d reached the origin, events %+v", reached, ev)
	}
}

func TestHeavyBodiesQueueBehindEachOtherOnly(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.bounds.wait, o.bounds.slots, o.bounds.heavySlots = 50*time.Millisecond, 2, 1 }, siteAt("shop", "shop.example", echoOrigin(t).URL))
	heavy := func() int {
		ctype, body := sizedUpload(t, heavyBody)
		resp, _ := w.do("POST", "http://shop.example/", map[string]string{"Content-Type": ctype}, strings.NewReader(string(body)))
		return resp.StatusCode
	}
	light := func() int { resp, _ := w.do("GET", "http://shop.example/", nil, nil); return resp.StatusCode }
	w.edge.engine.heavy.enter(t.Context(), "acme", time.Second) // a heavy body is being inspected
	if h, l := heavy(), light(); h != 503 || l != 200 {
		t.Errorf("heavy lane full: heavy %d, light %d", h, l)
	}
	w.edge.engine.heavy.leave()
	w.edge.engine.slots.enter(t.Context(), "acme", time.Second)
	w.edge.engine.slots.enter(t.Context(), "acme", time.Second)
	if h, l := heavy(), light(); h != 503 || l != 503 {
		t.Errorf("all slots full: heavy %d, light %d", h, l)
	}
	w.edge.engine.slots.leave()
	w.edge.engine.slots.leave()
	if h, l := heavy(), light(); h != 200 || l != 200 {
		t.Errorf("free again: heavy %d, light %d", h, l)
	}
	if ev := w.events.list("limit"); len(ev) != 1 || ev[0].Attributes["class"] != "busy" {
		t.Errorf("events %+v", ev)
	}
}

func TestStopLetsRequestsFinish(t *testing.T) {
	in, out := make(chan struct{}), make(chan struct{})
	o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) { close(in); <-out; io.WriteString(w, "finished") })
	w := newWorld(t, nil, siteAt("shop", "shop.example", o.URL))
	got := make(chan string)
	go func() { _, body := w.do("GET", "http://shop.example/", nil, nil); got <- body }()
	<-in
	stopped := make(chan struct{})
	go func() { w.stop(); close(stopped) }()
	for { // wait until the listener is closed
		c := w.client(false, 0)
		resp, err := c.Get("http://shop.example/")
		if err != nil {
			break
		}
		resp.Body.Close()
	}
	close(out)
	if body := <-got; body != "finished" {
		t.Errorf("%q", body)
	}
	<-stopped
}

type failingFeed struct{ err error }

func (f failingFeed) Next(context.Context) (resource.Batch, error) { return resource.Batch{}, f.err }

func TestRunReportsTheFeedsError(t *testing.T) {
	w := newWorld(t, nil)
	lost := errors.New("lost")
	if err := w.edge.Run(t.Context(), failingFeed{lost}); !errors.Is(err, lost) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.edge.Run(ctx, failingFeed{lost}); err != nil {
		t.Errorf("after the end: %v", err)
	}
}

func TestServeWithoutIssuerRefusesHTTPS(t *testing.T) {
	rules, err := sharedRules()
	if err != nil {
		t.Fatal(err)
	}
	e, err := New(t.Context(), Options{rules: rules, TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	defer ln.Close()
	if err := e.Serve(t.Context(), nil, ln); err == nil {
		t.Error("served")
	}
}

func TestChangedTenantGetsNewConnections(t *testing.T) {
	w := newWorld(t, nil, siteAt("shop", "shop.example", echoOrigin(t).URL))
	only := func() (u *upstream) {
		for _, u = range w.edge.pool.all {
		}
		if len(w.edge.pool.all) != 1 {
			t.Fatalf("%d pools", len(w.edge.pool.all))
		}
		return u
	}
	first := only()
	w.put(siteAt("shop", "shop.example", first.label), siteAt("again", "again.example", first.label))
	if only() != first {
		t.Error("an unchanged origin lost its connections")
	}
	w.put(&resource.Object{Kind: "Tenant", Metadata: resource.Metadata{Tenant: "platform", Name: "acme", Revision: 9}})
	if only() == first {
		t.Error("connections dialled under the tenant's old networks are kept")
	}
}

func TestExpectContinueIsAnsweredHereAndNotForwarded(t *testing.T) {
	var seen string
	o := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) { seen = r.Header.Get("Expect") })
	w := newWorld(t, nil, siteAt("shop", "shop.example", o.URL))
	c := w.client(false, 0)
	c.Transport.(*http.Transport).ExpectContinueTimeout = time.Hour // the body is sent only when asked for
	resp, _ := do(t, c, "POST", "http://shop.example/", map[string]string{"Expect": "100-continue", "Content-Type": "application/json"}, strings.NewReader("{}"))
	if resp.StatusCode != 200 || seen != "" {
		t.Errorf("%d, origin saw Expect %q", resp.StatusCode, seen)
	}
}
