package main

import (
	"fmt"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/access"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// The mix: of twenty policies twelve name a kind and an action and a role, four
// are a tenant's own, three name a principal, and one forbids to anybody in
// front of a label. Every second one has a condition.
//
// A cell with more policies has more teams: it has one role for each forty
// policies, one tenant for each twenty, and a label for each forbid. The one
// who asks has the role of the first ten in every cell, so that what applies to
// him is the same and only what does not apply grows.
func mixed(n int) []*resource.Object {
	kinds := []string{"site", "exclusion", "ban", "user", "role"}
	verbs := []string{"read", "create", "update", "delete"}
	roles, tenants := 1+n/40, 1+n/20
	var out []*resource.Object
	for i := range n {
		kind, verb, role := kinds[i/len(verbs)%len(kinds)], verbs[i%len(verbs)], 0
		if i >= 10 {
			role = 1 + i/20%roles
		}
		when := ";"
		if i%2 == 0 {
			when = ` when { context.mfa || resource.class == "test" };`
		}
		tenant, text := "platform", ""
		switch at := i % 20; {
		case at < 12:
			text = fmt.Sprintf(`permit (principal in Role::"platform/r%d", action == Action::"%s.%s", resource)%s`, role, kind, verb, when)
		case at < 16:
			tenant = fmt.Sprintf("t%d", i/20%tenants)
			text = fmt.Sprintf(`permit (principal in Role::"%s/r", action in Action::"read", resource)%s`, tenant, when)
		case at < 19:
			text = fmt.Sprintf(`permit (principal == User::"platform/u%d", action == Action::"site.update", resource is Site)`, i)
			if i%2 == 0 {
				text += ` when { resource.spec.hosts.contains("a.test") }`
			}
			text += ";"
		default:
			text = fmt.Sprintf(`forbid (principal, action in Action::"write", resource) when { resource.hasTag("frozen-%d")`, i)
			if i%40 == 19 {
				text += ` && context.phase == "new"`
			}
			text += " };"
		}
		out = append(out, policyRecord(tenant, fmt.Sprintf("p%d", i), text))
	}
	return append(out, binding("mine", "r0", "u77"))
}

// oneAction files all policies under one kind and action, each for a role.
func oneAction(n int) []*resource.Object {
	var out []*resource.Object
	for i := range n {
		when := ";"
		if i%2 == 0 {
			when = ` when { context.mfa || resource.class == "test" };`
		}
		out = append(out, policyRecord("platform", fmt.Sprintf("p%d", i), fmt.Sprintf(`permit (principal in Role::"platform/r%d", action == Action::"site.update", resource is Site)%s`, i%(1+n/40), when)))
	}
	return append(out, binding("mine", "r0", "u77"))
}

// valued holds forbids to anybody, each in front of a value.
func valued(n int) []*resource.Object { return forbids(n, `resource.class == "c%d"`) }

// unfiled is the worst that can be written: nothing to file any of them under.
func unfiled(n int) []*resource.Object { return forbids(n, `context.request == "c%d"`) }

func forbids(n int, when string) []*resource.Object {
	var out []*resource.Object
	for i := range n {
		out = append(out, policyRecord("platform", fmt.Sprintf("p%d", i), "forbid (principal, action, resource) when { "+fmt.Sprintf(when, i)+" };"))
	}
	return append(out, binding("mine", "r0", "u77"))
}

func policyRecord(tenant, name, text string) *resource.Object {
	return &resource.Object{Kind: "Policy", Version: 1, Metadata: resource.Metadata{Tenant: tenant, Name: name}, Spec: &access.PolicySpec{Cedar: text}}
}

func user(name, display string) *resource.Object {
	return &resource.Object{Kind: "User", Version: 1, Metadata: resource.Metadata{Tenant: "platform", Name: name}, Spec: &access.UserSpec{DisplayName: display, Email: name + "@dun.test"}}
}

func binding(name, role, user string) *resource.Object {
	return &resource.Object{Kind: "RoleBinding", Version: 1, Metadata: resource.Metadata{Tenant: "platform", Name: name}, Spec: &access.RoleBindingSpec{Role: role, Subjects: []access.Subject{{Kind: "User", Name: user}}}}
}

func site(tenant string) *resource.Object {
	return &resource.Object{
		Kind: "Site", Version: 1, Metadata: resource.Metadata{Tenant: tenant, Name: "shop", Labels: map[string]string{"env": "prod", "team": "web"}},
		Spec: &edge.SiteSpec{Hosts: []string{"a.test", "b.test"}},
	}
}
