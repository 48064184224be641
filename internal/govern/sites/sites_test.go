package sites

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/dial"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/kinds/edge"
	"github.com/dun-sec/dun/internal/lab"
)

var operator = identity.Actor{Principal: dayzero.Operator, Door: "test"}

// scene is a controller on a real gate and a real name server; time passes by
// hand.
type scene struct {
	t    *testing.T
	g    *gate.Gate
	w    *watch
	dns  *lab.DNS
	now  time.Time
	dial func(string) func(context.Context, string, string) (net.Conn, error)
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, g: lab.Gate(t, lab.Kinds(t)), dns: lab.NewDNS(t), now: time.Now().UTC().Truncate(time.Second)}
	if err := dayzero.Run(t.Context(), s.g, "test"); err != nil {
		t.Fatal(err)
	}
	s.dial = (&dial.Dialer{Resolver: s.dns.Resolver()}).For
	for _, name := range []string{"acme", "beta"} {
		s.put("Tenant", "platform", name, map[string]any{})
	}
	s.restart()
	return s
}

func (s *scene) restart() {
	s.w = &watch{
		opt:    Options{Gate: s.g, Key: [32]byte{7}, Now: func() time.Time { return s.now }, Log: slog.New(slog.DiscardHandler)},
		looker: looker{s.dns.Resolver().LookupTXT, func(t string) func(context.Context, string, string) (net.Conn, error) { return s.dial(t) }},
		actor:  identity.Service(edge.SiteOwner), sites: map[resource.Ref]*site{}, busy: map[string]bool{},
	}
}

func (s *scene) put(kind, tenant, name string, spec any) {
	s.t.Helper()
	o := &resource.Object{Kind: kind, Metadata: resource.Metadata{Tenant: tenant, Name: name}, Spec: spec}
	c := gate.Change{Op: gate.Put, Ref: o.Ref(), Object: o}
	if old, err := s.g.Get(s.t.Context(), operator, c.Ref); err == nil {
		c.Revision = old.Metadata.Revision
	}
	if _, err := s.g.Apply(s.t.Context(), gate.Request{Actor: operator, Changes: []gate.Change{c}}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) site(tenant, name string, hosts ...string) {
	s.t.Helper()
	s.put("Site", tenant, name, map[string]any{"hosts": hosts, "origins": []any{map[string]any{"url": "http://192.0.2.1:9"}}})
}

func (s *scene) act(who identity.Actor, tenant, name, verb string, input any) error {
	o := s.record(tenant, name)
	_, err := s.g.Apply(s.t.Context(), gate.Request{Actor: who, Changes: []gate.Change{{Op: gate.Act, Ref: resource.Ref{Kind: "Site", Tenant: tenant, Name: name}, Verb: verb, Input: input, Revision: o.Metadata.Revision}}})
	return err
}

func (s *scene) record(tenant, name string) *resource.Object {
	s.t.Helper()
	o, err := s.g.Get(s.t.Context(), operator, resource.Ref{Kind: "Site", Tenant: tenant, Name: name})
	if err != nil {
		s.t.Fatal(err)
	}
	return o
}

// round reads the records, does every look that is due, and reports.
func (s *scene) round() {
	s.t.Helper()
	read := func() {
		p, err := s.g.List(s.t.Context(), operator, gate.ListOptions{Kind: "Site", Tenant: gate.AllTenants})
		if err != nil {
			s.t.Fatal(err)
		}
		var b resource.Batch
		for _, o := range p.Items {
			b.Changes = append(b.Changes, resource.Change{Ref: o.Ref(), Object: o})
		}
		s.w.take(b)
	}
	read()
	results := make(chan result, maxLooks)
	for s.w.start(s.t.Context(), results); len(s.w.busy) > 0; s.w.start(s.t.Context(), results) {
		r := <-results
		delete(s.w.busy, r.site.Tenant)
		s.w.settle(s.t.Context(), r)
		read()
	}
	s.w.report(s.t.Context())
}

func (s *scene) host(tenant, name, host string) edge.HostStatus {
	s.t.Helper()
	st, _ := s.record(tenant, name).Status.(*edge.SiteStatus)
	if st == nil {
		s.t.Fatal("no status")
	}
	for _, h := range st.Hosts {
		if h.Host == host {
			return h
		}
	}
	s.t.Fatalf("no status of %s", host)
	return edge.HostStatus{}
}

func TestAHostIsProvenByItsTXTRecord(t *testing.T) {
	s := newScene(t)
	s.site("acme", "shop", "shop.example", "*.shop.example", "free.dun.invalid")
	s.site("platform", "own", "own.example")
	s.round()
	h := s.host("acme", "shop", "shop.example")
	if h.State != edge.HostPending || h.Record != "_dun-host-proof.shop.example" || !strings.HasPrefix(h.Address, "http://shop.example/.well-known/dun-host-proof/") ||
		!strings.Contains(h.Message, "dun do check site shop --tenant acme") || !strings.Contains(h.MessageZh, "TXT") {
		t.Fatalf("%+v", h)
	}
	wild := s.host("acme", "shop", "*.shop.example")
	if wild.Address != "" || wild.Record != h.Record || wild.Value == h.Value {
		t.Errorf("%+v", wild)
	}
	if h := s.host("platform", "own", "own.example"); h.State != edge.HostFree {
		t.Errorf("%+v", h)
	}
	if h := s.host("acme", "shop", "free.dun.invalid"); h.State != edge.HostFree {
		t.Errorf("%+v", h)
	}
	s.dns.Tell("txt-record=" + h.Record + ",dun-host-proof=somebodyelses")
	if err := s.act(operator, "acme", "shop", "check", nil); err != nil {
		t.Fatal(err)
	}
	s.round()
	if got := s.host("acme", "shop", "shop.example"); got.State != edge.HostFailed || got.Value != h.Value {
		t.Errorf("another's value: %+v", got)
	}
	if u := edge.Unproven(s.record("acme", "shop")); len(u) != 2 {
		t.Errorf("not served: %v", u)
	}
	s.dns.Tell("txt-record="+h.Record+",v=spf1 -all", "txt-record="+h.Record+","+h.Value, "txt-record="+h.Record+","+wild.Value)
	s.restart()                              // the claim is the same after a restart
	s.now = s.now.Add(lookLast + lookLast/8) // the jitter
	s.round()
	for _, name := range []string{"shop.example", "*.shop.example"} {
		if got := s.host("acme", "shop", name); got.State != edge.HostProven || got.Method != "dns" || got.Message != "" {
			t.Errorf("%+v", got)
		}
	}
	// The record may go: the host stays served, and a warning says so.
	s.dns.Tell()
	s.now = s.now.Add(lookAgain)
	s.round()
	if got := s.host("acme", "shop", "shop.example"); got.State != edge.HostProven || got.Message == "" || got.Record == "" || len(edge.Unproven(s.record("acme", "shop"))) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestAHostIsProvenByItsAnswer(t *testing.T) {
	s := newScene(t)
	answer := new(atomic.Pointer[http.HandlerFunc])
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked.Add(1); (*answer.Load())(w, r) }))
	t.Cleanup(srv.Close)
	s.dial = func(string) func(context.Context, string, string) (net.Conn, error) {
		return func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr != "shop.example:80" {
				return nil, fmt.Errorf("asked for %s", addr)
			}
			return new(net.Dialer).DialContext(ctx, network, srv.Listener.Addr().String())
		}
	}
	s.site("acme", "shop", "shop.example")
	set := func(f http.HandlerFunc) { answer.Store(&f) }
	set(http.NotFound)
	s.round()
	h := s.host("acme", "shop", "shop.example")
	at, err := url.Parse(h.Address)
	if err != nil {
		t.Fatal(err)
	}
	give := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, h.Value) }
	for name, tt := range map[string]struct {
		f     http.HandlerFunc
		state string
	}{
		"404":                           {http.NotFound, edge.HostPending},
		"a page that repeats the path":  {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) }, edge.HostFailed},
		"the value in a longer page":    {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<p>"+h.Value) }, edge.HostFailed},
		"the value before endless text": {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, h.Value+strings.Repeat(" ", 1<<20)) }, edge.HostFailed},
		"a redirect to the value": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v" {
				give(w, r)
				return
			}
			http.Redirect(w, r, "/v", http.StatusFound)
		}, edge.HostFailed},
		"an edge of Dun":     {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Dun-Request-Id", "x"); give(w, r) }, edge.HostFailed},
		"the value with 201": {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(201); give(w, r) }, edge.HostFailed},
	} {
		set(tt.f)
		asked.Store(0)
		s.now = s.now.Add(lookLast + lookLast/8) // the jitter
		s.round()
		if got := s.host("acme", "shop", "shop.example"); got.State != tt.state || asked.Load() != 1 {
			t.Errorf("%s: %+v, asked %d times", name, got, asked.Load())
		}
	}
	set(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != at.Path || r.Host != "shop.example" {
			t.Errorf("asked for %s %s", r.Host, r.URL)
		}
		give(w, r)
	})
	s.now = s.now.Add(lookLast + lookLast/8) // the jitter
	s.round()
	if got := s.host("acme", "shop", "shop.example"); got.State != edge.HostProven || got.Method != "http" {
		t.Errorf("%+v", got)
	}
}

func TestAHostIsNotProvenByReachingOurselves(t *testing.T) {
	s := newScene(t)
	own := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { t.Error("our own door was asked") }))
	t.Cleanup(own.Close)
	door := netip.MustParseAddrPort(own.Listener.Addr().String())
	s.dial = func(tenant string) func(context.Context, string, string) (net.Conn, error) {
		d := (&dial.Dialer{Resolver: s.dns.Resolver(), Own: func() []netip.AddrPort { return []netip.AddrPort{door} }}).For("platform") // which may name loopback
		return func(ctx context.Context, network, addr string) (net.Conn, error) {
			host, _, _ := net.SplitHostPort(addr)
			return d(ctx, network, net.JoinHostPort(host, fmt.Sprint(door.Port()))) // as if our door were port 80
		}
	}
	s.dns.Tell("address=/mine.example/127.0.0.1", "address=/inner.example/10.1.2.3")
	s.site("acme", "shop", "mine.example")
	s.round()
	if got := s.host("acme", "shop", "mine.example"); got.State != edge.HostFailed || !strings.Contains(got.Message, "this edge") {
		t.Errorf("%+v", got)
	}
	s.dial = (&dial.Dialer{Resolver: s.dns.Resolver()}).For
	s.site("beta", "shop", "inner.example")
	s.round()
	if got := s.host("beta", "shop", "inner.example"); got.State != edge.HostFailed {
		t.Errorf("%+v", got)
	}
}

func TestWhoCannotProveAHostKeepsItForAWeek(t *testing.T) {
	s := newScene(t)
	s.site("acme", "squat", "victim.example")
	s.round()
	for range 40 {
		s.now = s.now.Add(6 * time.Hour)
		s.round()
	}
	s.site("beta", "real", "victim.example") // is no conflict any more
	s.round()
	h := s.host("beta", "real", "victim.example")
	if h.Value == s.host("acme", "squat", "victim.example").Value {
		t.Error("two tenants would prove a host by the same value")
	}
	s.dns.Tell("txt-record=" + h.Record + "," + h.Value)
	s.now = s.now.Add(lookLast + lookLast/8) // the jitter
	s.round()
	if got := s.host("beta", "real", "victim.example"); got.State != edge.HostProven {
		t.Errorf("%+v", got)
	}
	if got := s.host("acme", "squat", "victim.example"); got.State != edge.HostFailed {
		t.Errorf("%+v", got)
	}
}

func TestOneTenantsHostsDoNotTakeAllLooks(t *testing.T) {
	s := newScene(t)
	var at, most atomic.Int64
	s.w.looker.txt = func(ctx context.Context, name string) ([]string, error) {
		if n := at.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer at.Add(-1)
		return nil, &net.DNSError{IsNotFound: true}
	}
	for i := range 30 {
		s.site("acme", fmt.Sprintf("s%d", i), fmt.Sprintf("*.h%d.example", i))
	}
	s.round()
	if most.Load() != 1 {
		t.Errorf("%d looks at once for one tenant", most.Load())
	}
}

func TestRunProvesAndReports(t *testing.T) {
	s := newScene(t)
	feed, err := s.g.Watch(identity.Service(edge.SiteOwner), []string{"Site"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := claimOf([32]byte{7}, resource.Ref{Kind: "Site", Tenant: "acme", Name: "shop"}, "shop.example")
	s.dns.Tell("txt-record=" + c.record + "," + c.value)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- Run(ctx, Options{Gate: s.g, Feed: feed, Key: [32]byte{7}, TXT: s.dns.Resolver().LookupTXT, Dial: s.dial,
			Origins: func(tenant, site string) []edge.OriginStatus {
				return []edge.OriginStatus{{Origin: tenant + site, Breaker: "open"}}
			}})
	}()
	s.site("acme", "shop", "shop.example")
	for deadline := time.Now().Add(20 * time.Second); ; {
		st, _ := s.record("acme", "shop").Status.(*edge.SiteStatus)
		if st != nil && st.Hosts[0].State == edge.HostProven && st.Origins[0].Breaker == "open" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", st)
		}
		<-time.After(20 * time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
