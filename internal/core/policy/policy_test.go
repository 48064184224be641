package policy_test

import (
	"slices"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds"
)

func setup(t testing.TB) (*resource.Registry, *policy.Compiler) {
	t.Helper()
	reg, err := resource.NewRegistry(kinds.All()...)
	if err != nil {
		t.Fatal(err)
	}
	c, err := policy.NewCompiler(reg)
	if err != nil {
		t.Fatalf("%v\n%s", err, policy.Schema(reg))
	}
	return reg, c
}

func objects(t *testing.T, reg *resource.Registry, yaml string) []*resource.Object {
	t.Helper()
	docs, err := resource.ParseYAML([]byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	var out []*resource.Object
	for _, d := range docs {
		o, _, err := reg.Decode(d)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	return out
}

const cell = `
kind: User
metadata: {tenant: platform, name: op}
---
kind: User
metadata: {tenant: platform, name: gone}
spec: {disabled: true}
---
kind: User
metadata: {tenant: acme, name: ann}
---
kind: RoleBinding
metadata: {tenant: platform, name: operators}
spec: {role: operator, subjects: [{kind: User, name: op}, {kind: User, name: gone}]}
---
kind: RoleBinding
metadata: {tenant: acme, name: operators}
spec: {role: operator, subjects: [{kind: User, name: ann}]}
---
kind: Policy
metadata: {tenant: acme, name: web}
spec:
  cedar: |
    permit (principal in Role::"acme/operator", action in [Action::"read", Action::"site.update"], resource);
---
kind: Policy
metadata: {tenant: platform, name: frozen}
spec:
  cedar: |
    forbid (principal, action in Action::"write", resource) when { resource.hasTag("frozen") && resource.getTag("frozen") == "yes" };
`

func TestDecide(t *testing.T) {
	reg, c := setup(t)
	snap, err := c.Compile(slices.Values(objects(t, reg, cell)))
	if err != nil {
		t.Fatal(err)
	}
	site := func(tenant, labels string) *resource.Object {
		return objects(t, reg, "kind: Site\nmetadata: {tenant: "+tenant+", name: s, labels: {"+labels+"}}\nspec: {hosts: [a.test], origins: [{url: 'http://a'}]}\n")[0]
	}
	user := func(tenant, name string) resource.Ref {
		return resource.Ref{Kind: "User", Tenant: tenant, Name: name}
	}
	edge := resource.Ref{Kind: "Service", Tenant: "platform", Name: "edge"}
	tests := []struct {
		name   string
		who    resource.Ref
		action string
		on     *resource.Object
		want   bool
	}{
		{"operator acts everywhere", user("platform", "op"), "site.update", site("acme", ""), true},
		{"nobody is nobody", user("platform", "stranger"), "site.read", site("platform", ""), false},
		{"disabled is refused with every role", user("platform", "gone"), "site.read", site("platform", ""), false},
		{"a tenant's policy holds in the tenant", user("acme", "ann"), "site.update", site("acme", ""), true},
		{"but only for what it permits", user("acme", "ann"), "site.delete", site("acme", ""), false},
		{"and never for another tenant", user("acme", "ann"), "site.read", site("platform", ""), false},
		{"a tenant's role of the same name is not the platform's", user("acme", "ann"), "user.create", site("platform", ""), false},
		{"a forbid wins", user("platform", "op"), "site.update", site("platform", "frozen: 'yes'"), false},
		{"a forbid for writes leaves reads", user("platform", "op"), "site.read", site("platform", "frozen: 'yes'"), true},
		{"built-in records are read-only", user("platform", "op"), "site.update", site("platform", "dun.dev/builtin: v1"), false},
		{"the edge reads sites", edge, "site.read", site("acme", ""), true},
		{"the edge changes nothing", edge, "site.update", site("acme", ""), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := snap.Decide(policy.Query{Principal: tt.who, Action: tt.action, Object: tt.on, Context: policy.Context{Phase: "old", Door: "api", Source: "127.0.0.1", Time: time.Now()}})
			if d.Allowed != tt.want {
				t.Errorf("allowed=%v by %v", d.Allowed, d.Policies)
			}
			if d.Allowed && len(d.Policies) == 0 {
				t.Error("allowed without a policy")
			}
		})
	}
	if d := snap.Decide(policy.Query{Principal: user("platform", "op"), Action: "event.read", Tenant: "acme", Context: policy.Context{Phase: "old", Time: time.Now()}}); !d.Allowed {
		t.Errorf("operator may not read events: %v", d)
	}
	if d := snap.Decide(policy.Query{Principal: user("acme", "ann"), Action: "event.read", Tenant: "platform", Context: policy.Context{Phase: "old", Time: time.Now()}}); d.Allowed {
		t.Errorf("acme reads the platform's events: %v", d)
	}
}

func TestPoliciesThatCannotBeValidatedAreRefused(t *testing.T) {
	_, c := setup(t)
	for name, text := range map[string]string{
		"syntax":            `permit (principal, action resource);`,
		"empty":             `// nothing`,
		"unknown attribute": `forbid (principal, action, resource is Site) when { resource.nothing == 1 };`,
		"unknown action":    `permit (principal, action == Action::"site.explode", resource);`,
		"unknown type":      `permit (principal is Robot, action, resource);`,
		"type error":        `forbid (principal, action == Action::"site.read", resource) when { resource.name > 3 };`,
		"unguarded source":  `forbid (principal, action, resource) when { context.source.isLoopback() };`,
	} {
		if err := c.Check("platform/x", text); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.Check("platform/x", `forbid (principal, action, resource) when { context has source && !context.source.isLoopback() };`); err != nil {
		t.Error(err)
	}
}
