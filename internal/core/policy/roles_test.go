package policy_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds"
	"github.com/dun-sec/dun/internal/kinds/system"
)

const staff = `
kind: RoleBinding
metadata: {tenant: platform, name: auditors}
spec: {role: auditor, subjects: [{kind: User, name: aud}, {kind: User, name: both}]}
---
kind: RoleBinding
metadata: {tenant: platform, name: security}
spec: {role: security, subjects: [{kind: User, name: sec}]}
---
kind: RoleBinding
metadata: {tenant: platform, name: operators}
spec: {role: operator, subjects: [{kind: User, name: op}, {kind: User, name: both}]}
`

// TestBuiltinRoles asks every action of every kind, also of one with verbs of
// its own and of the kinds to come: the auditor reads all and changes nothing,
// whatever else he is; security writes what defends.
func TestBuiltinRoles(t *testing.T) {
	reg, err := resource.NewRegistry(append(kinds.All(), nest())...)
	if err != nil {
		t.Fatal(err)
	}
	c, err := policy.NewCompiler(reg)
	if err != nil {
		t.Fatal(err)
	}
	snap, err := c.Compile(slices.Values(objects(t, reg, staff)))
	if err != nil {
		t.Fatal(err)
	}
	may := func(who, action, tenant string, on *resource.Object) policy.Decision {
		return snap.Decide(policy.Query{
			Principal: resource.Ref{Kind: "User", Tenant: "platform", Name: who}, Action: action, Object: on, Tenant: tenant,
			Context: policy.Context{Phase: "old", Door: "api", Time: time.Now()},
		})
	}
	asked := 0
	for _, k := range reg.All() {
		o := objects(t, reg, k.Example)[0]
		for _, tenant := range []string{"platform", "acme"} {
			if k.Scope == resource.ScopePlatform && tenant != resource.Platform {
				continue
			}
			on := *o
			on.Metadata.Tenant = tenant
			defends := slices.Contains([]string{"Site", "Exclusion", "Ban", "Certificate", "Incident", "Release", "ProtectedAddress", "ScrubPolicy", "Attack"}, k.Name)
			for _, verb := range slices.Concat(policy.Actions(k), []string{"status", "approve"}) {
				read := verb == policy.Read
				for who, want := range map[string]bool{"aud": read, "both": read, "sec": read || defends || k.Name == "ChangeRequest" && slices.Contains([]string{"approve", "deny", "delegate"}, verb), "op": true, "nobody": read && k.Name == "DataClass"} {
					asked++
					if who != "nobody" && who != "op" && k.Data() && !read {
						continue // TestClassesAgainstTheTable
					}
					if d := may(who, strings.ToLower(k.Name)+"."+verb, "", &on); d.Allowed != want {
						t.Errorf("%s %s %s in %s: allowed=%v by %v", who, verb, k.Name, tenant, d.Allowed, d.Policies)
					}
				}
			}
		}
	}
	for _, action := range policy.TenantActions() {
		read := strings.HasSuffix(action, ".read")
		for who, want := range map[string]bool{"aud": read, "both": read, "sec": read, "op": action != "change.breakglass", "nobody": false} { // the one of one factor
			for _, tenant := range []string{"platform", "acme"} {
				if d := may(who, action, tenant, nil); d.Allowed != want {
					t.Errorf("%s %s on %s: allowed=%v by %v", who, action, tenant, d.Allowed, d.Policies)
				}
			}
		}
	}
	if !strings.Contains(policy.Schema(reg), `action "nest.hatch" in [Action::"write"]`) || asked < 300 {
		t.Errorf("%d questions; the verbs of a kind are no actions:\n%s", asked, policy.Schema(reg))
	}
}

// TestRolesDoNotNest shows that no record can put a role into a role, and that
// if one could, roles in each other end.
func TestRolesDoNotNest(t *testing.T) {
	reg, c := setup(t)
	for _, subject := range []string{"{kind: Role, name: b}", "{kind: RoleBinding, name: b}", "{kind: Tenant, name: b}"} {
		docs, err := resource.ParseYAML([]byte("kind: RoleBinding\nmetadata: {tenant: platform, name: x}\nspec: {role: a, subjects: [" + subject + "]}\n"))
		if err != nil {
			t.Fatal(err)
		}
		o, k, err := reg.Decode(docs[0])
		if err == nil {
			err = k.Validate(o)
		}
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", subject, err)
		}
	}
	if err := c.Check("platform/x", `permit (principal, action, resource in Role::"platform/a") when { Role::"platform/a" in Role::"platform/b" };`); err != nil {
		t.Error(err) // harmless: false
	}

	nested := setupNest(t)
	role := func(role, in string) *resource.Object {
		return &resource.Object{Kind: "Nest", Version: 1, Metadata: resource.Metadata{Tenant: "platform", Name: role + "-" + in}, Spec: &nestSpec{Role: role, In: in}}
	}
	ring := []*resource.Object{role("a", "a"), role("a", "b"), role("b", "c"), role("c", "a"), role("c", "operator")}
	snap, err := nested.Compile(slices.Values(append(ring, objects(t, reg, "kind: RoleBinding\nmetadata: {tenant: platform, name: x}\nspec: {role: a, subjects: [{kind: User, name: ann}]}\n")...)))
	if err != nil {
		t.Fatal(err)
	}
	q := policy.Query{Principal: resource.Ref{Kind: "User", Tenant: "platform", Name: "ann"}, Action: "event.read", Tenant: "acme"}
	if d := snap.Decide(q); !d.Allowed {
		t.Errorf("%+v", d)
	}
	if x := snap.Explain(q, q.Principal); !slices.Equal(x.Roles, []string{"platform/a", "platform/b", "platform/c", "platform/operator"}) {
		t.Errorf("%q", x.Roles)
	}
	if q.Principal.Name = "eve"; snap.Decide(q).Allowed {
		t.Error("eve is in no role")
	}
}

// TestATenantHasOneName: the record of a tenant and what its records are in are
// one entity.
func TestATenantHasOneName(t *testing.T) {
	tenant := func(name string) *resource.Object {
		return &resource.Object{Kind: "Tenant", Version: 1, Metadata: resource.Metadata{Tenant: "platform", Name: name}, Spec: &system.TenantSpec{Title: name}}
	}
	reg, _ := setup(t)
	site := objects(t, reg, "kind: Site\nmetadata: {tenant: acme, name: s}\nspec: {hosts: [a.test], origins: [{url: 'http://a'}]}\n")[0]
	for _, tt := range []struct {
		scope  string
		action string
		on     *resource.Object // nil = acme as a whole
		want   bool
	}{
		{`resource == Tenant::"acme"`, "tenant.read", tenant("acme"), true},
		{`resource == Tenant::"acme"`, "event.read", nil, true},
		{`resource == Tenant::"platform/acme"`, "tenant.read", tenant("acme"), false},
		{`resource in Tenant::"acme"`, "tenant.read", tenant("acme"), true}, // in is true of itself
		{`resource in Tenant::"acme"`, "event.read", nil, true},
		{`resource in Tenant::"acme"`, "site.read", site, true},
		{`resource in Tenant::"platform"`, "tenant.read", tenant("acme"), true}, // as every record of the platform
		{`resource in Tenant::"platform"`, "tenant.read", tenant("platform"), true},
		{`resource in Tenant::"platform"`, "event.read", nil, false}, // the customer's events are not
		{`resource in Tenant::"platform"`, "site.read", site, false},
		{`resource is Tenant in Tenant::"acme"`, "site.read", site, false},
	} {
		t.Run(tt.scope+" "+tt.action, func(t *testing.T) {
			d := withPolicy(t, "permit (principal, action, "+tt.scope+");").Decide(policy.Query{
				Principal: resource.Ref{Kind: "User", Tenant: "platform", Name: "eve"}, Action: tt.action, Object: tt.on, Tenant: "acme",
			})
			if d.Allowed != tt.want {
				t.Errorf("%+v", d)
			}
		})
	}
	// What a policy may ask of a record, it may ask of the tenant as a whole.
	d := withPolicy(t, `permit (principal, action, resource is Tenant) when { resource.spec.title == "" && resource.spec.originNetworks.isEmpty() && resource.name == "acme" };`).Decide(policy.Query{
		Principal: resource.Ref{Kind: "User", Tenant: "platform", Name: "eve"}, Action: "event.read", Tenant: "acme",
	})
	if !d.Allowed {
		t.Errorf("%+v", d)
	}
}
