package gate_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

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
