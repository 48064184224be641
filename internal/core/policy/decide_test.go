package policy_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// withPolicy compiles a cell in which User platform/ann has the role platform/r and
// the platform has one more policy.
func withPolicy(t *testing.T, cedar string) *policy.Snapshot {
	t.Helper()
	reg, c := setup(t)
	snap, err := c.Compile(slices.Values(objects(t, reg, `
kind: DataClass
metadata: {tenant: platform, name: test}
spec: {title: Test, level: 2}
---
kind: User
metadata: {tenant: platform, name: ann, labels: {team: web}}
spec: {email: ann@dun.test}
---
kind: RoleBinding
metadata: {tenant: platform, name: b}
spec: {role: r, subjects: [{kind: User, name: ann}, {kind: Service, name: bot}]}
---
kind: Policy
metadata: {tenant: platform, name: p}
spec:
  cedar: |
    `+strings.ReplaceAll(cedar, "\n", "\n    ")+"\n")))
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

func TestWhatAPolicyMayAskFor(t *testing.T) {
	reg, _ := setup(t)
	const ann, bot, eve = "User ann", "Service bot", "User eve"
	site := objects(t, reg, "kind: Site\nmetadata: {tenant: platform, name: s, labels: {team: web}}\nspec: {hosts: [a.test, b.test], origins: [{url: 'http://a'}]}\n")[0]
	plain := objects(t, reg, "kind: Site\nmetadata: {tenant: platform, name: plain, labels: {dun.dev/class: test}}\nspec: {hosts: [c.test], origins: [{url: 'http://a'}]}\n")[0]
	annRecord := objects(t, reg, "kind: User\nmetadata: {tenant: platform, name: ann}\nspec: {email: new@dun.test}\n")[0]
	noon := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		when    string
		who     string
		on      *resource.Object
		context policy.Context
		want    bool
	}{
		{`principal in Role::"platform/r"`, ann, site, policy.Context{}, true},
		{`principal in Role::"platform/r"`, bot, site, policy.Context{}, true},
		{`principal in Role::"platform/r"`, eve, site, policy.Context{}, false},
		{`principal is User && principal.spec.email == "ann@dun.test"`, ann, site, policy.Context{}, true},
		{`principal is User && principal.name == "ann" && principal.tenant == "platform"`, ann, site, policy.Context{}, true},
		{`principal is User && principal.hasTag("team") && resource.hasTag("team") && principal.getTag("team") == resource.getTag("team")`, ann, site, policy.Context{}, true},
		{`principal is User && principal.hasTag("team") && resource.hasTag("team") && principal.getTag("team") == resource.getTag("team")`, ann, plain, policy.Context{}, false},
		{`principal is User && principal in Tenant::"platform"`, ann, site, policy.Context{}, true},
		{`principal is User && principal in Tenant::"platform"`, bot, site, policy.Context{}, false},
		{`resource in Tenant::"platform"`, ann, site, policy.Context{}, true},
		{`resource in Tenant::"acme"`, ann, site, policy.Context{}, false},
		{`resource is Site && resource.spec.hosts.contains("b.test")`, ann, site, policy.Context{}, true},
		{`resource is Site && resource.spec.hosts.contains("b.test")`, ann, plain, policy.Context{}, false},
		{`resource is Site && resource.class == "production"`, ann, site, policy.Context{}, true},
		{`resource is Site && resource.class == "production"`, ann, plain, policy.Context{}, false},
		{`resource is User && resource in Role::"platform/r"`, ann, annRecord, policy.Context{}, true},
		{`resource is User && resource in Role::"platform/r"`, eve, annRecord, policy.Context{}, true},
		{`principal == resource`, ann, annRecord, policy.Context{}, true},
		{`principal == resource`, eve, annRecord, policy.Context{}, false},
		{`resource is User && resource.spec.email == "new@dun.test"`, ann, annRecord, policy.Context{}, true},
		{`context.mfa`, ann, site, policy.Context{MFA: true}, true},
		{`context.mfa`, ann, site, policy.Context{}, false},
		{`context.phase == "new" && context.door == "api"`, ann, site, policy.Context{Phase: "new", Door: "api"}, true},
		{`context.time < datetime("2026-11-01T13:00:00Z")`, ann, site, policy.Context{Time: noon}, true},
		{`context.time < datetime("2026-11-01T13:00:00Z")`, ann, site, policy.Context{Time: noon.Add(2 * time.Hour)}, false},
		{`context has source && context.source.isInRange(ip("192.0.2.0/24"))`, ann, site, policy.Context{Source: "192.0.2.9"}, true},
		{`context has source && context.source.isInRange(ip("192.0.2.0/24"))`, ann, site, policy.Context{Source: "::ffff:192.0.2.9"}, true},
		{`context has source && context.source.isInRange(ip("192.0.2.0/24"))`, ann, site, policy.Context{Source: "198.51.100.1"}, false},
		{`context has source && context.source.isLoopback()`, ann, site, policy.Context{Source: "::1"}, true},
		{`context has source`, ann, site, policy.Context{}, false},
		{`context has source`, ann, site, policy.Context{Source: "not an address"}, false},
		{`context has changeRequest && context.changeRequest == "cr1"`, ann, site, policy.Context{ChangeRequest: "cr1"}, true},
		{`context has changeRequest`, ann, site, policy.Context{}, false},
	} {
		t.Run(tt.when+" "+tt.who, func(t *testing.T) {
			text := `permit (principal, action, resource) when { ` + tt.when + ` };`
			kind, name, _ := strings.Cut(tt.who, " ")
			d := withPolicy(t, text).Decide(policy.Query{
				Principal: resource.Ref{Kind: kind, Tenant: "platform", Name: name}, Action: strings.ToLower(tt.on.Kind) + ".read", Object: tt.on, Context: tt.context,
			})
			if d.Allowed != tt.want || tt.want && !slices.Equal(d.Policies, []string{"platform/p"}) {
				t.Errorf("%+v", d)
			}
		})
	}
}

func TestForbidsFailClosed(t *testing.T) {
	reg, _ := setup(t)
	rule := func(n string) *resource.Object {
		return objects(t, reg, "kind: Exclusion\nmetadata: {tenant: platform, name: e}\nspec: {site: s, rule: "+n+"}\n")[0]
	}
	snap := withPolicy(t, `permit (principal in Role::"platform/r", action, resource);
forbid (principal, action == Action::"exclusion.read", resource) when { resource.spec.rule * 9223372036854775807 > 0 };
permit (principal, action == Action::"exclusion.read", resource) when { resource.spec.rule * 9223372036854775807 > 0 };`)
	ask := func(o *resource.Object) policy.Decision {
		return snap.Decide(policy.Query{Principal: resource.Ref{Kind: "User", Tenant: "platform", Name: "ann"}, Action: "exclusion.read", Object: o})
	}
	if d := ask(rule("942100")); d.Allowed || !slices.Equal(d.Policies, []string{"platform/p#2"}) {
		t.Errorf("a forbid that errs: %+v", d)
	}
	small := rule("942100")
	small.Spec.(*edge.ExclusionSpec).Rule = 0
	if d := ask(small); !d.Allowed || !slices.Equal(d.Policies, []string{"platform/p"}) {
		t.Errorf("a forbid that does not apply: %+v", d)
	}
}

func TestEveryForbidIsNamed(t *testing.T) {
	reg, _ := setup(t)
	site := objects(t, reg, "kind: Site\nmetadata: {tenant: platform, name: s, labels: {dun.dev/builtin: v1}}\nspec: {hosts: [a.test], origins: [{url: 'http://a'}]}\n")[0]
	snap := withPolicy(t, `permit (principal in Role::"platform/r", action, resource);
forbid (principal, action in Action::"write", resource is Site);
forbid (principal, action == Action::"site.delete", resource);`)
	d := snap.Decide(policy.Query{Principal: resource.Ref{Kind: "User", Tenant: "platform", Name: "ann"}, Action: "site.delete", Object: site})
	if d.Allowed || len(d.Policies) != 3 || !strings.HasPrefix(d.Policies[0], "platform/builtin-") || d.Policies[1] != "platform/p#2" || d.Policies[2] != "platform/p#3" {
		t.Errorf("%+v", d)
	}
	nobody := snap.Decide(policy.Query{Principal: resource.Ref{Kind: "User", Tenant: "platform", Name: "eve"}, Action: "site.read", Object: site})
	if nobody.Allowed || len(nobody.Policies) != 0 {
		t.Errorf("%+v", nobody)
	}
}

// A stored copy of a built-in policy shows it and is not in force: the text of
// this release is, once.
func TestAStoredBuiltinIsNotInForceTwice(t *testing.T) {
	reg, c := setup(t)
	snap, err := c.Compile(slices.Values(objects(t, reg, "kind: Policy\nmetadata: {tenant: platform, name: old, labels: {dun.dev/builtin: v0}}\nspec: {cedar: 'permit (principal, action, resource);'}\n")))
	if err != nil {
		t.Fatal(err)
	}
	site := objects(t, reg, "kind: Site\nmetadata: {tenant: platform, name: s}\nspec: {hosts: [a.test], origins: [{url: 'http://a'}]}\n")[0]
	if d := snap.Decide(policy.Query{Principal: resource.Ref{Kind: "User", Tenant: "platform", Name: "eve"}, Action: "site.read", Object: site}); d.Allowed {
		t.Errorf("%+v", d)
	}
}
