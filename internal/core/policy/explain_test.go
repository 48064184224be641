package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
)

func TestExplain(t *testing.T) {
	reg, c := setup(t)
	snap, err := c.Compile(slices.Values(objects(t, reg, cell+`---
kind: Policy
metadata: {tenant: platform, name: careful}
spec:
  cedar: |
    @description("Changes of users need a second factor")
    permit (principal in Role::"platform/operator", action == Action::"ban.update", resource is Ban);
    permit (principal == User::"platform/eve", action == Action::"user.update", resource is User)
    when { context.mfa == true && (resource.hasTag("env") && resource.getTag("env") == "test") } unless { context.door == "api" || resource.class == "secret-name" };
---
kind: Policy
metadata: {tenant: platform, name: stops}
spec:
  cedar: |
    forbid (principal, action == Action::"exclusion.update", resource) when { resource.spec.rule * 9223372036854775807 > 0 };
    forbid (principal, action == Action::"exclusion.delete", resource) unless { resource.hasTag("reason") };
---
kind: Policy
metadata: {tenant: globex, name: own}
spec:
  cedar: permit (principal in Role::"globex/admin", action == Action::"site.read", resource);
`)))
	if err != nil {
		t.Fatal(err)
	}
	record := func(kind, tenant, labels, spec string) *resource.Object {
		return objects(t, reg, "kind: "+kind+"\nmetadata: {tenant: "+tenant+", name: s, labels: {"+labels+"}}\nspec: {"+spec+"}\n")[0]
	}
	site, exclusion := "hosts: [a.test], origins: [{url: 'http://a'}]", "site: s, rule: 942100"
	user := func(tenant, name string) resource.Ref {
		return resource.Ref{Kind: "User", Tenant: tenant, Name: name}
	}
	for _, tt := range []struct {
		name    string
		who     resource.Ref
		action  string
		on      *resource.Object
		reader  string // tenant
		decided string // id effect, joined
		missing string // English, joined
	}{
		{"allowed", user("platform", "op"), "site.read", record("Site", "acme", "", site), "platform", "platform/builtin-operator permit", ""},
		{"disabled", user("platform", "gone"), "site.read", record("Site", "acme", "", site), "platform", "disabled forbid", "User platform/gone is disabled"},
		{"a role is missing", user("platform", "eve"), "site.delete", record("Site", "acme", "", site), "platform", "",
			`platform/builtin-operator: Role::"platform/operator" is not held by User platform/eve; platform/builtin-security#2: Role::"platform/security" is not held by User platform/eve`},
		{"conditions are false", user("platform", "eve"), "user.update", record("User", "platform", "", ""), "platform", "",
			`platform/careful#2: context.mfa == true is false; platform/careful#2: attribute labels.env is absent; platform/careful#2: context.door == "api" is true`},
		{"conditions are false, and not told in full", user("platform", "eve"), "user.update", record("User", "platform", "", ""), "acme", "",
			`platform/careful#2: a condition on context.mfa is false; platform/careful#2: attribute labels.env is absent; platform/careful#2: a condition on context.door is true`},
		{"a forbid", user("platform", "op"), "site.update", record("Site", "acme", "frozen: 'yes'", site), "platform", "platform/frozen forbid",
			`platform/frozen forbids while resource.hasTag("frozen") is true; platform/frozen forbids while resource.getTag("frozen") == "yes" is true`},
		{"a forbid for somebody of another tenant", user("acme", "ann"), "site.update", record("Site", "acme", "frozen: 'yes'", site), "acme", "platform/frozen forbid",
			`platform/frozen forbids while a condition on labels.frozen is true; platform/frozen forbids while a condition on labels.frozen is true`},
		{"a forbid that errs", user("platform", "op"), "exclusion.update", record("Exclusion", "acme", "", exclusion), "platform", "platform/stops forbid",
			`platform/stops: resource.spec.rule * 9223372036854775807 > 0 cannot be evaluated, so the policy forbids`},
		{"an absent label", user("platform", "op"), "exclusion.delete", record("Exclusion", "acme", "", exclusion), "platform", "platform/stops#2 forbid", `platform/stops#2: attribute labels.reason is absent`},
		{"the roles of another tenant are not named", user("acme", "ann"), "site.read", record("Site", "globex", "", site), "acme", "", "no policy permits site.read here"},
		{"a reader who may not read policies", user("platform", "eve"), "user.update", record("User", "platform", "", ""), "globex", "",
			`platform/careful#2: a condition on context.mfa is false; platform/careful#2: attribute labels.env is absent; platform/careful#2: a condition on context.door is true`},
		{"what a tenant's role may", user("acme", "stranger"), "site.update", record("Site", "acme", "", site), "acme", "", `acme/web: Role::"acme/operator" is not held by User acme/stranger`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := policy.Query{Principal: tt.who, Action: tt.action, Object: tt.on, Context: policy.Context{Phase: "old", Door: "api"}}
			x := snap.Explain(q, user(tt.reader, map[string]string{"platform": "op", "acme": "ann"}[tt.reader]))
			var decided, missing []string
			for _, d := range x.Decided {
				decided = append(decided, d.ID+" "+d.Effect)
				if (d.Text == "") != (d.ID == "disabled" || tt.reader != "platform") {
					t.Errorf("text %q", d.Text)
				}
			}
			for _, m := range x.Missing {
				missing = append(missing, m.En)
				if m.Zh == "" || m.Zh == m.En {
					t.Errorf("%+v", m)
				}
			}
			if got := strings.Join(decided, "; "); got != tt.decided {
				t.Errorf("decided %s", got)
			}
			if got := strings.Join(missing, "; "); got != tt.missing {
				t.Errorf("missing %s", got)
			}
			d := snap.Decide(q)
			if x.Allowed != d.Allowed || d.Allowed != (d.Missing() == nil) {
				t.Errorf("%+v and %+v", x, d)
			}
		})
	}
}

// TestExplainConditions reads the nearest permit of a question condition by
// condition.
func TestExplainConditions(t *testing.T) {
	reg, _ := setup(t)
	site := objects(t, reg, "kind: Site\nmetadata: {tenant: platform, name: s, labels: {team: web}}\nspec: {hosts: [a.test], origins: [{url: 'http://a'}]}\n")[0]
	for when, want := range map[string]string{
		`when { context.mfa == true }`:                                        "context.mfa == true is false",
		`when { context.mfa }`:                                                "context.mfa is false",
		`when { !context.mfa && context.mfa }`:                                "context.mfa is false",
		`when { resource.hasTag("env") && resource.getTag("env") == "test" }`: "attribute labels.env is absent",
		`when { context has source && context.source.isLoopback() }`:          "attribute context.source is absent",
		`when { resource.hasTag("team") && resource.getTag("team") == "db" }`: `resource.getTag("team") == "db" is false`,
		`unless { context.door == "api" || context.mfa }`:                     `context.door == "api" is true`,
		`when { resource.name == "x" } unless { resource.hasTag("team") }`:    `resource.name == "x" is false; platform/p: resource.hasTag("team") is true`,
		`when { 9223372036854775807 + (if context.mfa then 0 else 1) > 0 }`:   "9223372036854775807 + (if context.mfa then 0 else 1) > 0 cannot be evaluated",
		`when { principal in [Role::"platform/operator"] }`:                   `principal in [Role::"platform/operator"] is false`,
	} {
		x := withPolicy(t, `permit (principal == User::"platform/ann", action == Action::"site.read", resource is Site) `+when+`;
permit (principal == User::"platform/reader", action == Action::"policy.read", resource);`).Explain(policy.Query{
			Principal: resource.Ref{Kind: "User", Tenant: "platform", Name: "ann"}, Action: "site.read", Object: site, Context: policy.Context{Door: "api"},
		}, resource.Ref{Kind: "User", Tenant: "platform", Name: "reader"})
		var got []string
		for _, m := range x.Missing {
			if strings.HasPrefix(m.En, "platform/p:") {
				got = append(got, m.En)
			}
		}
		if s := strings.Join(got, "; "); s != "platform/p: "+want {
			t.Errorf("%s: %s", when, s)
		}
	}
}
