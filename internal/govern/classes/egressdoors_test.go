package classes

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/api"
	"github.com/dun-sec/dun/internal/console"
	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/telemetry"
	"github.com/dun-sec/dun/internal/core/usage"
	"github.com/dun-sec/dun/internal/govern/accesskeys"
	"github.com/dun-sec/dun/internal/govern/approvals"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/lab"
)

// building is a gate with API and console before it, and a hole that a test
// makes in one door.
type building struct {
	t      *testing.T
	gate   *gate.Gate
	env    EgressEnv
	inner  http.Handler
	broken string // method and address at which everybody is taken for who may read it
	as     resource.Ref
	token  string
}

type noUsage struct{}

func (noUsage) Read(context.Context, string, time.Time, time.Time, time.Duration) ([]usage.Bucket, error) {
	return nil, nil
}

func newBuilding(t *testing.T) *building {
	t.Helper()
	b := &building{t: t, gate: lab.Gate(t, lab.Kinds(t), func(o *gate.Options) { o.Approvals = approvals.Rules{First: dayzero.Operator} })}
	if err := dayzero.Run(t.Context(), b.gate, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := dayzero.Found(t.Context(), b.gate, "ann"); err != nil {
		t.Fatal(err)
	}
	log, err := events.Open(events.Options{Dir: filepath.Join(t.TempDir(), "events")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	secrets, quiet := lab.Secrets(t), slog.New(slog.DiscardHandler)
	keys := accesskeys.New(accesskeys.Options{Gate: b.gate, Secrets: secrets, Clock: clock.New(), Log: quiet})
	store := lab.SignIn(t, b.gate)
	pages, err := console.New(console.Options{Gate: b.gate, Events: log, NodeID: 1, SignIn: store, Usage: noUsage{}, Status: func() telemetry.Status { return telemetry.Status{} }})
	if err != nil {
		t.Fatal(err)
	}
	rest := api.New(api.Options{Gate: b.gate, Events: log, Secrets: secrets, Keys: keys, SignIn: store, Usage: noUsage{}, Status: func() any { return nil }})
	t.Cleanup(func() { pages.Stop(); rest.Stop() })
	b.inner = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/") {
			rest.ServeHTTP(w, r)
			return
		}
		pages.ServeHTTP(w, r)
	})
	b.env = EgressEnv{Gate: b.gate, Events: log, Founder: dayzero.Operator, Serve: b, Secrets: secrets}
	return b
}

// ServeHTTP implements http.Handler.
func (b *building) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if b.broken == r.Method+" "+r.URL.RequestURI() {
		token, _, err := b.gate.OpenSession(r.Context(), identity.Actor{Principal: b.as, Proof: identity.ProofPassword}, b.as, "")
		if err != nil {
			b.t.Error(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Cookie", "__Host-dun="+token)
	}
	b.inner.ServeHTTP(w, r)
}

func (b *building) run() (assurance.Result, error) {
	r, err := assurance.NewRegistry("n1", b.gate.RecordCheck, time.Now, Egress(b.env))
	if err != nil {
		b.t.Fatal(err)
	}
	return r.Run(b.t.Context(), identity.Actor{Principal: dayzero.Operator, MFA: true}, "1-1")
}

// left lists what is in the tenants of the check.
func (b *building) left() []string {
	b.t.Helper()
	var out []string
	for _, k := range b.gate.Registry().All() {
		p, err := b.gate.List(b.t.Context(), identity.Actor{Principal: dayzero.Operator, MFA: true}, gate.ListOptions{Kind: k.Name, Tenant: gate.AllTenants, Limit: gate.MaxPage})
		if err != nil {
			b.t.Fatal(err)
		}
		for _, o := range p.Items {
			if strings.HasPrefix(o.Metadata.Tenant, canaryTenant) || strings.HasPrefix(o.Metadata.Name, canaryTenant) {
				out = append(out, o.Ref().String())
			}
		}
	}
	return out
}

func TestEachDoorIsTriedAndNothingIsLeft(t *testing.T) {
	b := newBuilding(t)
	for range 2 {
		res, err := b.run()
		if err != nil || res.State != assurance.Proved {
			t.Fatalf("%+v %v", res, err)
		}
		for _, f := range res.Evidence {
			t.Log(f.Name, "|", f.Value)
		}
		t.Log(res.Took)
		if got := b.left(); !slices.Equal(got, []string{"Tenant platform/dun-canary"}) {
			t.Errorf("left behind: %v", got)
		}
	}
}

// TestEachPageThatLeaksIsNamed breaks API and console one address at a time.
func TestEachPageThatLeaksIsNamed(t *testing.T) {
	b := newBuilding(t)
	x := &egress{b.env, identity.Actor{Principal: dayzero.Operator, MFA: true}}
	x.env.Now = time.Now
	s, away, err := x.plant(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer away()
	doors := x.httpDoors(s)
	for _, p := range pagesOf(s) {
		b.as = owner
		if p.operators {
			b.as = dayzero.Operator
		}
		b.broken = "GET " + p.path
		if p.form != "" {
			b.broken = "POST " + p.path
		}
		i := slices.IndexFunc(doors, func(d Door) bool { return d.Name == p.name })
		// The doors beside it, too: a hole in one is not told of another.
		for _, d := range []Door{doors[i], doors[(i+1)%len(doors)]} {
			look, err := d.Try(t.Context(), s.Planted)
			if err != nil || look.Leaked != (d.Name == p.name) {
				t.Errorf("with a hole in %s: %s %+v %v", p.name, d.Name, look, err)
			}
		}
	}
}

func TestALeakTurnsTheCheckRed(t *testing.T) {
	b := newBuilding(t)
	b.as = owner
	b.broken = "GET /api/v1/dun-canary/bans?watch="
	res, err := b.run()
	if err != nil || res.State != assurance.Failed || res.Reason == nil || res.Reason.En != "it leaves by API watch" || !strings.Contains(res.Reason.Zh, "API watch") {
		t.Errorf("%+v %v", res, err)
	}
}
