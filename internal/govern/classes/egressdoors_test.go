package classes

import (
	"context"
	"errors"
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
	paths  []string // of API and console
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
	b.paths = append(rest.Paths(), pages.Paths()...)
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
	b := newBuilding(t)
	b.as = owner
	b.broken = "GET /api/v1/dun-canary/bans?watch="
	res, err := b.run()
	if err != nil || res.State != assurance.Failed || res.Reason == nil || res.Reason.En != "it leaves by API watch" || !strings.Contains(res.Reason.Zh, "API watch") {
		t.Errorf("%+v %v", res, err)
	}
}

// elsewhere are the addresses of API and console that show no content of a ban,
// of events or of the log, and why.
var elsewhere = map[string]string{
	"GET /api/v1/-/audit/checkpoint":                     "a hash and a signature",
	"GET /api/v1/-/audit/check":                          "counts",
	"GET /api/v1/-/audit/consistency":                    "hashes",
	"GET /api/v1/-/posture":                              "results of checks",
	"GET /api/v1/{tenant}/traffic":                       "counters of protected addresses, of those whose records the visitor may read",
	"GET /api/v1/{tenant}/attacks/{name}/evidence":       "packets of an attack, of who may read its record",
	"GET /records/{plural}/{tenant}/{name}/traffic":      "counters of a protected address whose record the visitor may read",
	"GET /records/{plural}/{tenant}/{name}/traffic/live": "that page as it is now",
	"POST /records/{plural}/{tenant}/{name}/evidence":    "packets of an attack, of who may read its record",
	"GET /api/v1/status":                                 "the state of the cell",
	"PUT /api/v1/{tenant}/bans/{name}":                   "a change, answered with what was sent",
	"PATCH /api/v1/{tenant}/bans/{name}":                 "a change; of what may not be read it is not found",
	"DELETE /api/v1/{tenant}/bans/{name}":                "a change",
	"POST /api/v1/-/transaction":                         "changes",
	"POST /api/v1/-/posture/{control}/run":               "a result of a check",
	"POST /api/v1/{tenant}/audit/erase":                  "counts",
	"POST /api/v1/session":                               "a session",
	"POST /api/v1/enter":                                 "a session",
	"POST /api/v1/join":                                  "a certificate",
	"POST /api/v1/enrol":                                 "a session",
	"GET /":                                              "sites and blocks, by the gate's list and the same search of events",
	"GET /live":                                          "the first page as it is now",
	"GET /access":                                        "who may do what; it names no record that the visitor may not read",
	"GET /account":                                       "the visitor's own sessions",
	"GET /gallery":                                       "parts of pages",
	"GET /new/{plural}":                                  "an empty form",
	"GET /sign-ups":                                      "who waits for a tenant",
	"GET /setup":                                         "the visitor's own proofs",
	"GET /enter":                                         "a form",
	"GET /certificates/new":                              "an empty form",
	"GET /account/app":                                   "the visitor's own",
	"POST /audit/check":                                  "counts",
	"GET /records/{plural}/{tenant}/{name}/delete":       "a question about what was found; a ban that may not be read is not",
	"GET /records/{plural}/{tenant}/{name}/do/{verb}":    "a form of a verb; bans have none",
}

// TestEveryAddressIsTriedOrSaysWhyNot: an address that is added joins the check,
// or the list above.
func TestEveryAddressIsTriedOrSaysWhyNot(t *testing.T) {
	t.Parallel()
	b := newBuilding(t)
	mux := http.NewServeMux()
	var of []string // addresses that show something
	for _, path := range b.paths {
		if !strings.Contains(path, " ") || strings.Contains(path, "/assets/") || strings.Contains(path, "sign-") {
			continue
		}
		mux.HandleFunc(path, func(http.ResponseWriter, *http.Request) {})
		method, at, _ := strings.Cut(path, " ")
		ofKind := strings.HasPrefix(at, "/api/v1/{tenant}/") && slices.ContainsFunc(b.gate.Registry().All(), func(k *resource.Kind) bool {
			return k.Name != "Ban" && strings.HasPrefix(at+"/", "/api/v1/{tenant}/"+k.Plural+"/")
		})
		if !ofKind && (method == "GET" || strings.HasPrefix(at, "/api/")) {
			of = append(of, path)
		}
	}
	x := &egress{b.env, identity.Actor{Principal: dayzero.Operator, MFA: true}}
	x.env.Now = time.Now
	s, away, err := x.plant(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer away()
	tried := map[string]bool{}
	for _, p := range pagesOf(s) {
		method := "GET"
		if p.form != "" {
			method = "POST"
		}
		r, err := http.NewRequestWithContext(t.Context(), method, "http://x"+p.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, pattern := mux.Handler(r)
		if pattern == "" {
			t.Errorf("%s is served by nothing", p.path)
		}
		tried[pattern] = true
	}
	for _, path := range of {
		if short := strings.TrimSuffix(path, "{$}"); !tried[path] && elsewhere[path] == "" && elsewhere[short] == "" {
			t.Errorf("control 1-1 does not try %s; add it to pagesOf, or say in elsewhere what it shows", path)
		}
	}
}

// TestAHoleInAStreamOfNodesIsNamed opens the records of every tenant to every
// node by a policy.
func TestAHoleInAStreamOfNodesIsNamed(t *testing.T) {
	t.Parallel()
	b := newBuilding(t)
	o := &resource.Object{Kind: "Policy", Version: 1, Metadata: resource.Metadata{Tenant: resource.Platform, Name: "hole"}, Spec: map[string]any{"cedar": `permit (principal is Node, action == Action::"ban.read", resource);`}}
	b.approve(gate.Change{Op: gate.Put, Ref: o.Ref(), Object: o})
	res, err := b.run()
	if err != nil || res.State != assurance.Failed || res.Reason.En != "it leaves by stream of a node" {
		t.Errorf("%+v %v", res, err)
	}
}

// TestWhatACrashLeftGoesFirst: a try that was cut leaves people and records;
// nothing of them is there when the next one ends.
func TestWhatACrashLeftGoesFirst(t *testing.T) {
	t.Parallel()
	b := newBuilding(t)
	x := &egress{b.env, identity.Actor{Principal: dayzero.Operator, MFA: true}}
	x.env.Now = time.Now
	s, _, err := x.plant(t.Context(), UserData)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.left(); len(got) < 7 {
		t.Fatalf("only %v", got)
	}
	if res, err := b.run(); err != nil || res.State != assurance.Proved {
		t.Errorf("%+v %v", res, err)
	}
	if got := b.left(); !slices.Equal(got, []string{"Tenant platform/dun-canary"}) {
		t.Errorf("left behind: %v", got)
	}
	if _, err := b.gate.Authenticate(s.tokens[owner]); err == nil {
		t.Error("who tried is signed in still")
	}
}

// TestOtherDoorsJoin: what another part hands in is tried, named and held to
// its twin.
func TestOtherDoorsJoin(t *testing.T) {
	t.Parallel()
	give := func(l Look) func(context.Context, Planted) (Look, error) {
		return func(context.Context, Planted) (Look, error) { return l, nil }
	}
	for what, tt := range map[string]struct {
		try, twin Look
		state     assurance.State
		says      string
	}{
		"shut":  {Look{Saw: "403"}, Look{Leaked: true}, assurance.Proved, ""},
		"open":  {Look{Leaked: true}, Look{Leaked: true}, assurance.Failed, "it leaves by a window"},
		"quiet": {Look{Quiet: true}, Look{Leaked: true}, assurance.Failed, "nothing tells of the try at a window"},
		"blind": {Look{}, Look{}, "", "what may leave does not come by a window"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := newBuilding(t)
			b.env.Serve, b.env.Secrets = nil, nil // the rest has tests of its own
			b.env.Doors = []Door{{Name: "a window", Try: give(tt.try), Twin: give(tt.twin)}}
			res, err := b.run()
			said := ""
			if err != nil {
				said = err.Error()
			} else if res.Reason != nil {
				said = res.Reason.En
			}
			if res.State != tt.state || !strings.Contains(said, tt.says) {
				t.Errorf("%s %q", res.State, said)
			}
		})
	}
}

// approve makes a change that two founders want.
func (b *building) approve(c gate.Change) {
	b.t.Helper()
	_, err := b.gate.Apply(b.t.Context(), gate.Request{Actor: identity.Actor{Principal: dayzero.Operator, MFA: true}, Changes: []gate.Change{c}})
	w, ok := errors.AsType[*gate.Waiting](err)
	if !ok {
		b.t.Fatal(err)
	}
	ann := identity.Actor{Principal: resource.Ref{Kind: "User", Tenant: resource.Platform, Name: "ann"}, MFA: true}
	if _, err := b.gate.Apply(b.t.Context(), gate.Request{Actor: ann, Changes: []gate.Change{{Op: gate.Act, Ref: w.Request, Verb: "approve", Revision: w.Revision}}}); err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	go func() {
		done <- approvals.Run(ctx, approvals.Options{Gate: b.gate, Clock: clock.New(), Log: slog.New(slog.DiscardHandler)})
	}()
	for late := time.Now().Add(lab.Wait); ; <-time.After(5 * time.Millisecond) {
		if _, err := b.gate.Get(b.t.Context(), ann, c.Ref); err == nil {
			break
		}
		if time.Now().After(late) {
			b.t.Fatal("what was approved is not carried out")
		}
	}
	cancel()
	if err := <-done; err != nil {
		b.t.Fatal(err)
	}
}
