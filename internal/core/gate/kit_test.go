package gate_test

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/gate/internal/store"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/kinds"
)

// clock stands still until a test moves it.
type clock struct{ us atomic.Int64 }

func (c *clock) now() time.Time          { return time.UnixMicro(c.us.Load()) }
func (c *clock) advance(d time.Duration) { c.us.Add(d.Microseconds()) }

// cell is a gate on a store of its own that can be closed and opened again.
type cell struct {
	t     testing.TB
	dir   string
	skey  string
	vkey  string
	reg   *resource.Registry
	clock *clock
	ring  int
	wrap  func(store.Store) store.Store
	log   *slog.Logger

	denials   bool
	signer    func(note.Signer) note.Signer
	memory    int64
	ringBytes int
	*gate.Gate
}

// newCell makes a cell after its first start. with changes it before.
func newCell(t testing.TB, with ...func(*cell)) *cell {
	t.Helper()
	reg, err := resource.NewRegistry(kinds.All()...)
	if err != nil {
		t.Fatal(err)
	}
	c := &cell{t: t, dir: t.TempDir(), reg: reg, clock: &clock{}}
	c.clock.us.Store(time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC).UnixMicro())
	for _, f := range with {
		f(c)
	}
	if c.skey, c.vkey, err = audit.GenerateKey(audit.Origin("testcell")); err != nil {
		t.Fatal(err)
	}
	c.open()
	t.Cleanup(func() { c.Close() })
	if err := dayzero.Run(t.Context(), c.Gate, "test"); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cell) file(name string) string { return filepath.Join(c.dir, name) }

func (c *cell) tryOpen() (err error) {
	signer, err := note.NewSigner(c.skey)
	if err != nil {
		return err
	}
	if c.signer != nil {
		signer = c.signer(signer)
	}
	opt := gate.Options{
		Path: c.file("records.db"), CheckpointFile: c.file("checkpoint"),
		Cell: "testcell", Node: "n1", Registry: c.reg, Signer: signer, VKey: c.vkey, Now: c.clock.now, Log: c.log, Memory: c.memory,
	}
	if c.denials {
		sk, err := audit.DenialsKey(c.skey)
		if err != nil {
			return err
		}
		opt.Denials.Path, opt.Denials.CheckpointFile = c.file("denials.db"), c.file("denials")
		if opt.Denials.Signer, err = note.NewSigner(sk); err != nil {
			return err
		}
		if opt.Denials.VKey, err = audit.DenialsVKey(c.vkey); err != nil {
			return err
		}
	}
	g, err := gate.Open(context.Background(), opt.Tuned(c.ring, c.ringBytes, time.Millisecond, c.wrap))
	if err == nil {
		c.Gate = g
	}
	return err
}

func (c *cell) open() {
	c.t.Helper()
	if err := c.tryOpen(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cell) reopen() {
	c.t.Helper()
	if err := c.Close(); err != nil {
		c.t.Fatal(err)
	}
	c.open()
}

var operator = identity.Actor{Principal: dayzero.Operator, Door: "api", Source: "127.0.0.1", Request: "req1"}

var dayzeroService = identity.Service(gate.Dayzero)

func user(tenant, name string) identity.Actor {
	return identity.Actor{Principal: resource.Ref{Kind: "User", Tenant: tenant, Name: name}, Door: "api", Source: "192.0.2.7"}
}

func (c *cell) object(yaml string) *resource.Object {
	c.t.Helper()
	docs, err := resource.ParseYAML([]byte(yaml))
	if err != nil {
		c.t.Fatal(err)
	}
	o, _, err := c.reg.Decode(docs[0])
	if err != nil {
		c.t.Fatal(err)
	}
	return o
}

// change reads a manifest as a put of the revision that it carries.
func (c *cell) change(yaml string) gate.Change {
	c.t.Helper()
	o := c.object(yaml)
	return gate.Change{Op: gate.Put, Ref: o.Ref(), Object: o, Revision: o.Metadata.Revision}
}

func (c *cell) do(a identity.Actor, changes ...gate.Change) ([]gate.Result, error) {
	return c.Apply(context.Background(), gate.Request{Actor: a, Changes: changes})
}

func (c *cell) put(a identity.Actor, yaml string) (gate.Result, error) {
	c.t.Helper()
	out, err := c.do(a, c.change(yaml))
	if err != nil {
		return gate.Result{}, err
	}
	return out[0], nil
}

// must puts each manifest as the operator.
func (c *cell) must(manifests ...string) (last gate.Result) {
	c.t.Helper()
	for _, m := range manifests {
		var err error
		if last, err = c.put(operator, m); err != nil {
			c.t.Fatal(err)
		}
	}
	return last
}

func (c *cell) remove(a identity.Actor, r gate.Result) error {
	_, err := c.do(a, gate.Change{Op: gate.Delete, Ref: r.Ref, Revision: r.Revision})
	return err
}

func (c *cell) patch(a identity.Actor, r gate.Result, patch map[string]any) (gate.Result, error) {
	out, err := c.do(a, gate.Change{Op: gate.Patch, Ref: r.Ref, Revision: r.Revision, Patch: patch})
	if err != nil {
		return gate.Result{}, err
	}
	return out[0], nil
}

// check fails the test unless records, history and log agree.
func (c *cell) check() gate.CheckReport {
	c.t.Helper()
	rep, err := c.Check(context.Background(), operator)
	if err != nil {
		c.t.Fatal(err)
	}
	return rep
}

func (c *cell) names(a identity.Actor, opt gate.ListOptions) []string {
	c.t.Helper()
	p, err := c.List(context.Background(), a, opt)
	if err != nil {
		c.t.Fatal(err)
	}
	return namesOf(p.Items)
}

func namesOf(list []*resource.Object) []string {
	out := []string{}
	for _, o := range list {
		out = append(out, o.Metadata.Tenant+"/"+o.Metadata.Name)
	}
	return out
}

func wantCode(t testing.TB, err error, code fault.Code) {
	t.Helper()
	if !fault.Is(err, code) {
		t.Errorf("want %s, got %v", code, err)
	}
}

func wantField(t testing.TB, err error, path string) {
	t.Helper()
	e := fault.Of(err)
	if e.Code != fault.Invalid || !slices.ContainsFunc(e.Fields, func(f fault.Field) bool { return f.Path == path }) {
		t.Errorf("want a wrong field %s, got %v", path, err)
	}
}

const shop = "kind: Site\nmetadata: {tenant: platform, name: shop}\nspec: {hosts: [shop.test], origins: [{url: 'http://127.0.0.1:3000'}]}\n"

// site is the manifest of a site; meta adds to its metadata.
func site(tenant, name, meta, hosts string) string {
	if meta != "" {
		meta = ", " + meta
	}
	return "kind: Site\nmetadata: {tenant: " + tenant + ", name: " + name + meta + "}\nspec: {hosts: [" + hosts + "], origins: [{url: 'http://127.0.0.1:3000'}]}\n"
}

func tenant(name string) string {
	return "kind: Tenant\nmetadata: {tenant: platform, name: " + name + "}\n"
}

// staff gives a user of a tenant a role there, and the role what cedar says.
func (c *cell) staff(tenant, name, role, cedar string) identity.Actor {
	c.t.Helper()
	meta := "metadata: {tenant: " + tenant + ", name: "
	c.must("kind: User\n"+meta+name+"}\n", "kind: Role\n"+meta+role+"}\n",
		"kind: RoleBinding\n"+meta+name+"-"+role+"}\nspec: {role: "+role+", subjects: [{kind: User, name: "+name+"}]}\n",
		"kind: Policy\n"+meta+role+"}\nspec:\n  cedar: |\n    "+cedar+"\n")
	return user(tenant, name)
}

// book opens a log as the operator.
func (c *cell) book(name string) *gate.Book {
	c.t.Helper()
	b, err := c.Book(operator, name)
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

// LogSize is the number of leaves of the main log.
func (c *cell) LogSize() int64 { return c.book(gate.MainLog).Size() }

func (c *cell) Checkpoint(ctx context.Context, a identity.Actor) ([]byte, error) {
	b, err := c.Book(a, gate.MainLog)
	if err != nil {
		return nil, err
	}
	return b.Checkpoint(ctx)
}

func (c *cell) Leaves(ctx context.Context, a identity.Actor, from uint64, limit int) ([]audit.Entry, error) {
	b, err := c.Book(a, "")
	if err != nil {
		return nil, err
	}
	return b.Leaves(ctx, from, limit)
}

func (c *cell) Export(ctx context.Context, a identity.Actor, w io.Writer, want func(audit.Entry) bool) error {
	b, err := c.Book(a, gate.MainLog)
	if err != nil {
		return err
	}
	return b.Export(ctx, w, want)
}

func tenantRef(name string) resource.Ref {
	return resource.Ref{Kind: "Tenant", Tenant: resource.Platform, Name: name}
}
