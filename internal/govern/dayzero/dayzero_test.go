package dayzero_test

import (
	"context"
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/kinds/access"
	"github.com/dun-sec/dun/internal/lab"
)

func open(t *testing.T) *gate.Gate { return lab.Gate(t, lab.Kinds(t)) }

func run(t *testing.T, g *gate.Gate, release string) {
	t.Helper()
	if err := dayzero.Run(t.Context(), g, release); err != nil {
		t.Fatal(err)
	}
}

var (
	me       = identity.Service(gate.Dayzero)
	operator = identity.Actor{Principal: dayzero.Operator, Door: "api"}
)

func get(t *testing.T, g *gate.Gate, kind, name string) *resource.Object {
	t.Helper()
	o, err := g.Get(t.Context(), me, resource.Ref{Kind: kind, Tenant: resource.Platform, Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func put(t *testing.T, g *gate.Gate, a identity.Actor, o *resource.Object, revision uint64) {
	t.Helper()
	if _, err := g.Apply(t.Context(), gate.Request{Actor: a, Changes: []gate.Change{{Op: gate.Put, Ref: o.Ref(), Object: o, Revision: revision}}}); err != nil {
		t.Fatal(err)
	}
}

func TestTheFirstStartMakesACellUsable(t *testing.T) {
	g := open(t)
	run(t, g, "v1")
	for _, o := range []*resource.Object{get(t, g, "Tenant", "platform"), get(t, g, "Role", "operator"), get(t, g, "User", "operator"), get(t, g, "RoleBinding", "operators")} {
		if o.Metadata.Created.IsZero() {
			t.Errorf("%+v", o)
		}
	}
	list, err := policy.Builtins()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range list {
		if o := get(t, g, "Policy", b.Name); o.Metadata.Labels[resource.LabelBuiltin] != "v1" || o.Spec.(*access.PolicySpec).Cedar != b.Text {
			t.Errorf("%+v", o)
		}
	}
	if err := g.May(operator, "audit.read", "platform"); err != nil {
		t.Error(err)
	}
	// Policies are asked before a record can be: dayzero itself may nothing else.
	for _, action := range []string{"audit.read", "event.read", "status.read"} {
		if err := g.May(me, action, "platform"); !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s: %v", action, err)
		}
	}
	at := g.At()
	run(t, g, "v1")
	run(t, g, "v2") // whose policies are the same
	if g.At() != at {
		t.Errorf("a later start moved %v to %v", at, g.At())
	}
}

func TestARelease(t *testing.T) {
	g := open(t)
	run(t, g, "v1")
	t.Run("brings its policies up to date", func(t *testing.T) {
		list, err := policy.Builtins()
		if err != nil {
			t.Fatal(err)
		}
		o := *get(t, g, "Policy", list[0].Name)
		o.Spec = &access.PolicySpec{Cedar: `permit (principal in Role::"platform/x", action, resource);`}
		put(t, g, me, &o, o.Metadata.Revision)
		run(t, g, "v2")
		if o := get(t, g, "Policy", list[0].Name); o.Spec.(*access.PolicySpec).Cedar != list[0].Text || o.Metadata.Labels[resource.LabelBuiltin] != "v2" {
			t.Errorf("%+v", o)
		}
	})
	t.Run("leaves alone what people changed or deleted", func(t *testing.T) {
		u := *get(t, g, "User", "operator")
		u.Spec = &access.UserSpec{DisplayName: "Renamed"}
		put(t, g, operator, &u, u.Metadata.Revision)
		other := &resource.Object{Kind: "User", Version: 1, Metadata: resource.Metadata{Tenant: resource.Platform, Name: "boss"}, Spec: &access.UserSpec{}}
		put(t, g, operator, other, 0)
		b := *get(t, g, "RoleBinding", "operators")
		b.Spec = &access.RoleBindingSpec{Role: "operator", Subjects: []access.Subject{{Kind: "User", Name: "boss"}}}
		put(t, g, operator, &b, b.Metadata.Revision)
		u = *get(t, g, "User", "operator")
		boss := identity.Actor{Principal: other.Ref(), Door: "api"}
		if _, err := g.Apply(t.Context(), gate.Request{Actor: boss, Changes: []gate.Change{{Op: gate.Delete, Ref: u.Ref(), Revision: u.Metadata.Revision}}}); err != nil {
			t.Fatal(err)
		}
		at := g.At()
		run(t, g, "v3")
		if g.At() != at {
			t.Error("something was written")
		}
		if _, err := g.Get(t.Context(), boss, u.Ref()); !fault.Is(err, fault.NotFound) {
			t.Errorf("the deleted operator is back: %v", err)
		}
	})
}

// mine is a gate in which somebody has a policy of a built-in name already.
type mine struct {
	*gate.Gate
	t    *testing.T
	name string
}

func (m mine) Get(ctx context.Context, a identity.Actor, r resource.Ref) (*resource.Object, error) {
	o, err := m.Gate.Get(ctx, a, r)
	if err != nil || r.Name != m.name {
		return o, err
	}
	p := *o
	p.Metadata.Labels = nil
	p.Spec = &access.PolicySpec{Cedar: "permit (principal, action, resource);"}
	return &p, nil
}

func (m mine) Apply(context.Context, gate.Request) ([]gate.Result, error) {
	m.t.Error("somebody's own policy was replaced")
	return nil, nil
}

func TestSomebodysOwnPolicyIsNotReplaced(t *testing.T) {
	g := open(t)
	run(t, g, "v1")
	list, err := policy.Builtins()
	if err != nil {
		t.Fatal(err)
	}
	if err := dayzero.Run(t.Context(), mine{g, t, list[0].Name}, "v2"); err != nil {
		t.Error(err)
	}
}
