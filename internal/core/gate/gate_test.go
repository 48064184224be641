package gate_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/kinds"
)

// cell is a gate on a store of its own that can be closed and opened again.
type cell struct {
	t    testing.TB
	dir  string
	skey string
	vkey string
	reg  *resource.Registry
	*gate.Gate
}

func newCell(t testing.TB) *cell {
	t.Helper()
	reg, err := resource.NewRegistry(kinds.All()...)
	if err != nil {
		t.Fatal(err)
	}
	c := &cell{t: t, dir: t.TempDir(), reg: reg}
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

func (c *cell) open() {
	c.t.Helper()
	signer, err := note.NewSigner(c.skey)
	if err != nil {
		c.t.Fatal(err)
	}
	c.Gate, err = gate.Open(context.Background(), gate.Options{
		Path: filepath.Join(c.dir, "records.db"), CheckpointFile: filepath.Join(c.dir, "checkpoint"),
		Cell: "testcell", Node: "n1", Registry: c.reg, Signer: signer, VKey: c.vkey,
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

var operator = identity.Actor{Principal: dayzero.Operator, Door: "api", Source: "127.0.0.1"}

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

func (c *cell) put(a identity.Actor, yaml string) (gate.Result, error) {
	o := c.object(yaml)
	out, err := c.Apply(c.t.Context(), gate.Request{Actor: a, Changes: []gate.Change{{Op: gate.Put, Ref: o.Ref(), Object: o, Revision: o.Metadata.Revision}}})
	if err != nil {
		return gate.Result{}, err
	}
	return out[0], nil
}

const shop = "kind: Site\nmetadata: {tenant: platform, name: shop}\nspec: {hosts: [shop.test], origins: [{url: 'http://127.0.0.1:3000'}]}\n"

func TestARecordIsCommittedProvenAndSurvivesARestart(t *testing.T) {
	c := newCell(t)
	r, err := c.put(operator, shop)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Created || r.Revision == 0 || r.Object.Metadata.UID == "" {
		t.Fatalf("%+v", r)
	}
	if again, err := c.put(operator, shop); !fault.Is(err, fault.Conflict) {
		t.Fatalf("a second creation: %+v %v", again, err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c.open()
	o, err := c.Get(t.Context(), operator, r.Ref)
	if err != nil || o.Metadata.Revision != r.Revision {
		t.Fatalf("%+v %v", o, err)
	}
	rep, err := c.Check(t.Context(), operator)
	if err != nil || rep.Records < 9 {
		t.Fatalf("%+v %v", rep, err)
	}
	var b bytes.Buffer
	if err := c.Export(t.Context(), operator, &b, nil); err != nil {
		t.Fatal(err)
	}
	got, err := audit.VerifyBundle(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }, c.vkey)
	if err != nil || int64(got.Leaves) != got.Size {
		t.Fatalf("%+v %v", got, err)
	}
}

func TestWhoMayNotReadSeesNothing(t *testing.T) {
	c := newCell(t)
	if _, err := c.put(operator, shop); err != nil {
		t.Fatal(err)
	}
	nobody := identity.Actor{Principal: resource.Ref{Kind: "User", Tenant: "platform", Name: "nobody"}, Door: "api"}
	_, err := c.put(nobody, shop)
	_, missing := c.put(nobody, "kind: Site\nmetadata: {tenant: platform, name: shop2}\nspec: {hosts: [b.test], origins: [{url: 'http://127.0.0.1:3000'}]}\n")
	var a, b *fault.Error
	if !errors.As(err, &a) || !errors.As(missing, &b) || a.Code != fault.NotFound || b.Code != fault.NotFound {
		t.Fatalf("%v / %v", err, missing)
	}
}
