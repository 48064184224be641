package edge

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// The rule set is compiled once for all tests but those of New itself.
var sharedRules = sync.OnceValues(func() (*ruleSet, error) { return compileRules(testDir) })

var testDir string

func TestMain(m *testing.M) { runTests(m) }

// world is an edge with real listeners, a feed and an authority of its own.
type world struct {
	t      *testing.T
	edge   *Edge
	feed   *fakeFeed
	events *sink
	ca     *authority
	http   string // address of the plain listener
	https  string
	stop   func()
}

func newWorld(t *testing.T, change func(*Options), objects ...*resource.Object) *world {
	t.Helper()
	w := &world{t: t, feed: newFeed(), events: &sink{}, ca: newAuthority(t)}
	rules, err := sharedRules()
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Node: "n1", NodeID: 7, Issuer: w.ca, Events: w.events, TempDir: t.TempDir(), rules: rules,
		Mask: events.Mask,
		Dial: func(string) DialFunc { return (&net.Dialer{}).DialContext },
	}
	if change != nil {
		change(&o)
	}
	if w.edge, err = New(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	plain, secure := listen(t), listen(t)
	w.http, w.https = plain.Addr().String(), secure.Addr().String()
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.edge.Run(ctx, w.feed); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	running.Go(func() {
		if err := w.edge.Serve(ctx, plain, secure); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	w.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(w.stop)
	if objects != nil {
		w.put(objects...)
	}
	return w
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// put delivers records and returns when they are in force.
func (w *world) put(objects ...*resource.Object) {
	w.t.Helper()
	var c []resource.Change
	for _, o := range objects {
		c = append(c, resource.Change{Ref: o.Ref(), Object: o})
	}
	w.feed.deliver(resource.Batch{Changes: c, Synced: true})
}

func (w *world) remove(ref resource.Ref) {
	w.feed.deliver(resource.Batch{Changes: []resource.Change{{Ref: ref}}, Synced: true})
}

// fakeFeed hands over one batch at a time. deliver returns when Run asks for
// the next one, that is when the batch is in force.
type fakeFeed struct {
	in   chan resource.Batch
	done chan struct{}
	mu   sync.Mutex
	rev  uint64
	open bool // a batch was handed over and not asked for again
}

func newFeed() *fakeFeed { return &fakeFeed{in: make(chan resource.Batch), done: make(chan struct{})} }

func (f *fakeFeed) Next(ctx context.Context) (resource.Batch, error) {
	if f.open {
		f.done <- struct{}{}
	}
	select {
	case b := <-f.in:
		f.open = true
		return b, nil
	case <-ctx.Done():
		return resource.Batch{}, ctx.Err()
	}
}

func (f *fakeFeed) deliver(b resource.Batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rev++
	b.At = resource.Position{Epoch: "e1", Revision: f.rev}
	f.in <- b
	<-f.done
}

type sink struct {
	mu  sync.Mutex
	all []events.Event
}

func (s *sink) Add(e events.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, e)
}

func (s *sink) list(kind string) []events.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []events.Event
	for _, e := range s.all {
		if kind == "" || e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

func (s *sink) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = nil
}

// Records.

func siteObject(tenant, name string, spec edge.SiteSpec) *resource.Object {
	return &resource.Object{Kind: "Site", Metadata: resource.Metadata{Tenant: tenant, Name: name}, Spec: &spec,
		State: new(edge.SiteState)} // as from before hosts were proven: all are served
}

func siteAt(name, host, origin string) *resource.Object {
	return siteObject("acme", name, edge.SiteSpec{Hosts: []string{host}, Origins: []edge.Origin{{URL: origin}}})
}

func spec(o *resource.Object) *edge.SiteSpec { return o.Spec.(*edge.SiteSpec) }

func banObject(tenant, name string, spec edge.BanSpec) *resource.Object {
	return &resource.Object{Kind: "Ban", Metadata: resource.Metadata{Tenant: tenant, Name: name}, Spec: &spec}
}

func exclusionObject(name string, spec edge.ExclusionSpec) *resource.Object {
	return &resource.Object{Kind: "Exclusion", Metadata: resource.Metadata{Tenant: "acme", Name: name}, Spec: &spec}
}
