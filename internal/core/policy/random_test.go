package policy_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds"
	"github.com/dun-sec/dun/internal/kinds/access"
	"github.com/dun-sec/dun/internal/kinds/edge"
	"github.com/dun-sec/dun/internal/kinds/system"
)

// nest is a kind of this test: it puts a role into a role, which the
// vocabulary of the product cannot say.
type nestSpec struct {
	Role string `json:"role" en:"Role" zh:"角色"`
	In   string `json:"in" en:"In" zh:"所属"`
}

func nest() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "Nest", Plural: "nests", Short: "nest", Scope: resource.ScopeTenant, Nav: "access", Title: resource.T("Nest", "嵌套"), Doc: resource.T("A role in a role", "角色中的角色"),
		Version: 1, Sensitivity: resource.SensitivityStaff, ApprovalClass: resource.ApprovalPolicy,
		NewState: func() any { return &struct{}{} },
		Verbs: []resource.Verb{resource.On(resource.Verb{Name: "hatch", Title: resource.T("Hatch", "孵化"), Doc: resource.T("Hatches.", "孵化。")},
			func(resource.Act[nestSpec, struct{}, resource.None]) error { return nil })},
		Columns: []resource.Column{{Title: resource.T("Role", "角色"), Value: func(o *resource.Object) string { return o.Spec.(*nestSpec).Role }}},
		Example: "kind: Nest\nmetadata: {tenant: platform, name: n}\nspec: {role: a, in: b}\n",
	}, resource.Behaviour[nestSpec]{Grants: func(m *resource.Metadata, s *nestSpec) []resource.Grant {
		return []resource.Grant{{Principal: resource.Ref{Kind: "Role", Tenant: m.Tenant, Name: s.Role}, Role: resource.Ref{Kind: "Role", Tenant: m.Tenant, Name: s.In}}}
	}})
}

func setupNest(t testing.TB) *policy.Compiler {
	t.Helper()
	reg, err := resource.NewRegistry(append(kinds.All(), nest())...)
	if err != nil {
		t.Fatal(err)
	}
	c, err := policy.NewCompiler(reg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// dice draws whole worlds and questions.
type dice struct {
	*rand.Rand
	c    *policy.Compiler
	pool []string // statements that validate
}

var ( // names that everything is drawn from
	tenants = []string{"platform", "acme", "globex"}
	names   = []string{"a", "b", "c", "d"}
	labels  = []string{"team", "frozen", "dun.dev/class"}
	values  = []string{"web", "yes", "test"}
)

func pick[T any](d *dice, list ...T) T { return list[d.IntN(len(list))] }

func (d *dice) in(odds int) bool { return d.IntN(odds) == 0 }

func (d *dice) name() string { return pick(d, tenants...) + "/" + pick(d, names...) }

// statement draws one policy; many do not validate.
func (d *dice) statement() string {
	if d.in(2) {
		return d.guarded()
	}
	principal := pick(d, "", "", ` in Role::"%s"`, ` in Role::"%s"`, ` == User::"%s"`, ` == Service::"%s"`, " is User", " is Node", ` is User in Role::"%s"`, ` in Tenant::"acme"`)
	action := pick(d, "", ` in Action::"read"`, ` in Action::"write"`, ` == Action::"site.update"`, ` == Action::"user.read"`, ` == Action::"exclusion.read"`,
		` in [Action::"site.read", Action::"read", Action::"tenant.update"]`, ` in [Action::"exclusion.create", Action::"user.delete"]`, ` in [Action::"write", Action::"event.read"]`, ` in []`)
	on := pick(d, "", "", "", " is Site", " is User", " is Exclusion", " is Tenant", ` in Tenant::"acme"`, ` in Tenant::"platform"`, ` is Site in Tenant::"globex"`, ` == Site::"%s"`, ` == Tenant::"acme"`, ` in Role::"%s"`)
	s := pick(d, "permit", "permit", "permit", "forbid") + " (principal" + d.fill(principal) + ", action" + action + ", resource" + d.fill(on) + ")"
	for d.in(2) {
		clause := d.condition()
		for d.in(2) {
			clause += pick(d, " && ", " && ", " || ") + d.condition()
		}
		s += pick(d, " when", " when", " unless") + " { " + clause + " }"
	}
	return s + ";"
}

// guarded draws a statement whose conditions do the work of a scope, in every
// order with conditions that err: what the index may skip, and what it may not.
func (d *dice) guarded() string {
	one := func() string {
		return d.fill(pick(d, "resource is Site", "resource is User", `resource.hasTag("team")`, `resource.hasTag("frozen")`, `resource.class == "test"`, `resource.class == "production"`, `resource.tenant == "platform"`, `resource.name == "acme"`, `resource.name == "a"`, "principal is User", `principal in Role::"%s"`, `resource in Tenant::"acme"`,
			`action in Action::"read"`, "9223372036854775807 + (if context.mfa then 1 else 0) > 0", "9223372036854775807 + (if context.mfa then 1 else 0) > 0"))
	}
	s := pick(d, "permit", "forbid") + " (principal, action, resource)"
	for range 1 + d.IntN(2) {
		clause := one()
		for d.in(2) {
			clause += pick(d, " && ", " && ", " || ") + one()
		}
		s += pick(d, " when", " when", " unless") + " { " + clause + " }"
	}
	return s + ";"
}

func (d *dice) fill(s string) string {
	if strings.Contains(s, "%s") {
		return fmt.Sprintf(s, d.name())
	}
	return s
}

func (d *dice) condition() string {
	return d.fill(pick(d,
		"context.mfa", "!context.mfa", `context.phase == "new"`, "context has source", "context has source && context.source.isLoopback()",
		`principal in Role::"%s"`, `principal in [Role::"acme/a", Role::"platform/b"]`, "principal is User", `principal is User && principal.hasTag("team")`, `principal == User::"%s"`,
		`principal is User && principal.hasTag("team") && principal.getTag("team") == "web"`, `principal is User && principal.spec.disabled`, "principal == resource",
		"resource is Site", "resource is Site || resource is User", `resource is User || resource.name == "a"`, `resource in Tenant::"acme"`, `resource == Site::"%s"`, `resource is User && resource in Role::"%s"`,
		`resource.hasTag("frozen")`, `resource.hasTag("team") && resource.getTag("team") == "web"`, `resource.class == "test"`, `resource.tenant == "acme"`, `!(resource.name like "a*")`,
		`action == Action::"site.read"`, `action in Action::"read"`, `User::"%s" in Role::"%s"`, `User::"acme/a".spec.email == "x@acme.test"`, `Role::"%s" in Role::"acme/b"`,
		`resource is Site && resource.spec.hosts.contains("a.test")`, "resource is Exclusion && resource.spec.rule * 9223372036854775807 > 0",
		"9223372036854775807 + (if context.mfa then 1 else 0) > 0", "if context.mfa then resource is Site else principal is User", "true", "false",
	))
}

// draw fills the pool with statements that validate.
func (d *dice) draw(t testing.TB, n int) {
	tried := 0
	for len(d.pool) < n {
		s := strings.ReplaceAll(d.statement(), "%!s(MISSING)", "acme/a")
		if tried++; d.c.Check("acme/x", s) == nil {
			d.pool = append(d.pool, s)
		}
	}
	t.Logf("%d of %d statements validate", n, tried)
}

func (d *dice) labels() map[string]string {
	m := map[string]string{}
	for _, l := range labels {
		if d.in(3) {
			m[l] = pick(d, values...)
		}
	}
	return m
}

// record draws a record that moves policy, or its deletion.
func (d *dice) record() resource.Change {
	o := &resource.Object{Version: 1, Metadata: resource.Metadata{Tenant: pick(d, tenants...), Name: pick(d, names...), Labels: d.labels()}}
	switch d.IntN(4) {
	case 0:
		o.Kind, o.Spec = "User", &access.UserSpec{Email: pick(d, "x@acme.test", ""), Disabled: d.in(8)}
	case 1:
		b := &access.RoleBindingSpec{Role: pick(d, names...)}
		for range 1 + d.IntN(3) {
			b.Subjects = append(b.Subjects, access.Subject{Kind: pick(d, "User", "User", "Service", "Node"), Name: pick(d, names...)})
		}
		o.Kind, o.Spec = "RoleBinding", b
	case 2:
		o.Kind, o.Spec = "Nest", &nestSpec{Role: pick(d, names...), In: pick(d, names...)}
	case 3:
		var text []string
		for range 1 + d.IntN(4) {
			text = append(text, pick(d, d.pool...))
		}
		o.Kind, o.Spec = "Policy", &access.PolicySpec{Cedar: strings.Join(text, "\n")}
	}
	if d.in(5) {
		return resource.Change{Ref: o.Ref()}
	}
	return resource.Change{Ref: o.Ref(), Object: o}
}

func (d *dice) question() policy.Query {
	q := policy.Query{
		Principal: resource.Ref{Kind: pick(d, "User", "User", "User", "Service", "Node"), Tenant: pick(d, tenants...), Name: pick(d, names...)},
		Context: policy.Context{
			Phase: pick(d, "old", "new"), Door: "api", MFA: d.in(2), Time: time.UnixMilli(1e12), Source: pick(d, "", "127.0.0.1", "192.0.2.1"),
		},
	}
	if d.in(10) {
		q.Tenant, q.Action = pick(d, tenants...), pick(d, "event.read", "audit.read", "status.read")
		return q
	}
	o := &resource.Object{Version: 1, Metadata: resource.Metadata{Tenant: pick(d, tenants...), Name: pick(d, names...), Labels: d.labels()}}
	switch d.IntN(5) {
	case 0:
		o.Kind, o.Spec = "Site", &edge.SiteSpec{Hosts: pick(d, []string{"a.test"}, []string{"b.test"})}
	case 1:
		o.Kind, o.Spec = "Exclusion", &edge.ExclusionSpec{Rule: pick(d, 0, 2), Site: "s"}
	case 2:
		o.Kind, o.Spec = "User", &access.UserSpec{Email: "x@acme.test", Disabled: d.in(2)}
	case 3:
		o.Kind, o.Spec, o.Metadata.Tenant, o.Metadata.Name = "Tenant", &system.TenantSpec{}, "platform", pick(d, tenants...)
	case 4:
		o.Kind, o.Spec = "Role", &access.RoleSpec{}
	}
	q.Object, q.Action = o, strings.ToLower(o.Kind)+"."+pick(d, "read", "read", "create", "update", "delete")
	return q
}

// TestRandomWorlds compares every decision, with the ids that made it, over
// random policies, bindings and nested roles, while they change: the snapshot
// that Update makes decides like the one that Compile makes, and both like
// cedar-go over all policies.
func TestRandomWorlds(t *testing.T) {
	c := setupNest(t)
	d := &dice{rand.New(rand.NewPCG(7, 2026)), c, nil}
	statements, worlds, steps, questions := 300, 50, 20, 100
	if testing.Short() {
		statements, worlds = 60, 5
	}
	d.draw(t, statements)
	seen, asked := map[string]int{}, 0
	for range worlds {
		world := map[resource.Ref]*resource.Object{}
		snap, err := c.Compile(slices.Values([]*resource.Object(nil)))
		if err != nil {
			t.Fatal(err)
		}
		for range steps {
			var changes []resource.Change
			for range 1 + d.IntN(5) {
				ch := d.record()
				changes = append(changes, ch)
				if world[ch.Ref] = ch.Object; ch.Object == nil {
					delete(world, ch.Ref)
				}
			}
			before := snap
			if snap, err = c.Update(before, changes...); err != nil {
				t.Fatal(err)
			}
			var all []*resource.Object
			for _, o := range world {
				all = append(all, o)
			}
			whole, err := c.Compile(slices.Values(all))
			if err != nil {
				t.Fatal(err)
			}
			n := newPlain(t, world)
			for range questions {
				q := d.question()
				asked++
				allowed, ids := n.decide(q)
				got, again := snap.Decide(q), whole.Decide(q)
				if got.Allowed != allowed || !slices.Equal(got.Policies, ids) {
					t.Fatalf("%+v on %+v: %v by %q, cedar says %v by %q", q, q.Object, got.Allowed, got.Policies, allowed, ids)
				}
				if again.Allowed != allowed || !slices.Equal(again.Policies, ids) {
					t.Fatalf("%+v on %+v: compiled anew %v by %q, cedar says %v by %q", q, q.Object, again.Allowed, again.Policies, allowed, ids)
				}
				kind := "Tenant"
				if q.Object != nil {
					kind = q.Object.Kind
				}
				if old := before.Decide(q); snap.SameFor(before, q.Principal, kind) {
					seen["same"]++
					if old.Allowed != got.Allowed || !slices.Equal(old.Policies, got.Policies) {
						t.Fatalf("%+v on %+v: said to be the same, was %v by %q, is %v by %q", q, q.Object, old.Allowed, old.Policies, got.Allowed, got.Policies)
					}
				}
				if seen[fmt.Sprint(allowed, len(ids) > 0)]++; asked%10 != 0 {
					continue
				}
				x := snap.Explain(q, q.Principal)
				if x.Allowed != allowed || allowed == (len(x.Missing) > 0) || len(x.Decided) != len(ids) {
					t.Fatalf("%+v on %+v: explained %+v, cedar says %v by %q", q, q.Object, x, allowed, ids)
				}
			}
		}
	}
	t.Log(asked, seen)
	for _, s := range []string{"same", "true true", "false true", "false false"} {
		if seen[s] < asked/200 {
			t.Errorf("only %d of %d questions were %s", seen[s], asked, s)
		}
	}
}
