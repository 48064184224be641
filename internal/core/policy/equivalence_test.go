package policy_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"pgregory.net/rapid"

	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/access"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// naive decides as the words of the documentation say, with nothing shared
// with the real thing but cedar-go: it builds every entity and every policy
// anew for each question.
type naive struct {
	objects []*resource.Object
	builtin []policy.Builtin
}

func entity(kind, tenant, name string) cedar.EntityUID {
	return cedar.NewEntityUID(cedar.EntityType(kind), cedar.String(tenant+"/"+name))
}

func of(o *resource.Object) cedar.EntityUID {
	return entity(o.Kind, o.Metadata.Tenant, o.Metadata.Name)
}

// add puts the record into m with the attributes that policies may ask for.
func add(m cedar.EntityMap, o *resource.Object) {
	tags, spec := types.RecordMap{}, types.RecordMap{}
	for k, v := range o.Metadata.Labels {
		tags[cedar.String(k)] = cedar.String(v)
	}
	class := "production"
	if c := o.Metadata.Labels["dun.dev/class"]; c != "" {
		class = c
	}
	switch s := o.Spec.(type) {
	case *edge.SiteSpec:
		var hosts []cedar.Value
		for _, h := range s.Hosts {
			hosts = append(hosts, cedar.String(h))
		}
		spec["hosts"] = cedar.NewSet(hosts...)
	case *edge.ExclusionSpec:
		spec["site"], spec["rule"], spec["tag"], spec["route"], spec["argument"] = cedar.String(s.Site), cedar.Long(s.Rule), cedar.String(s.Tag), cedar.String(s.Route), cedar.String(s.Argument)
	case *access.UserSpec:
		spec["displayName"], spec["email"], spec["disabled"] = cedar.String(s.DisplayName), cedar.String(s.Email), cedar.Boolean(s.Disabled)
	}
	m[of(o)] = cedar.Entity{
		UID: of(o), Parents: cedar.NewEntityUIDSet(cedar.NewEntityUID("Tenant", cedar.String(o.Metadata.Tenant))),
		Attributes: cedar.NewRecord(types.RecordMap{
			"name": cedar.String(o.Metadata.Name), "tenant": cedar.String(o.Metadata.Tenant), "class": cedar.String(class), "spec": cedar.NewRecord(spec),
		}),
		Tags: cedar.NewRecord(tags),
	}
}

func (n naive) decide(t *rapid.T, q policy.Query) bool {
	m := cedar.EntityMap{}
	disabled := false
	for _, o := range n.objects {
		if u, ok := o.Spec.(*access.UserSpec); ok {
			add(m, o)
			disabled = disabled || u.Disabled && o.Metadata.Tenant == q.Principal.Tenant && o.Metadata.Name == q.Principal.Name && q.Principal.Kind == "User"
		}
	}
	add(m, q.Object)
	parent := func(u, p cedar.EntityUID) {
		e := m[u]
		e.UID, e.Parents = u, cedar.NewEntityUIDSet(append(e.Parents.Slice(), p)...)
		m[u] = e
	}
	for _, o := range n.objects {
		if b, ok := o.Spec.(*access.RoleBindingSpec); ok {
			for _, s := range b.Subjects {
				parent(entity(s.Kind, o.Metadata.Tenant, s.Name), entity("Role", o.Metadata.Tenant, b.Role))
			}
		}
	}
	action := cedar.NewEntityUID("Action", cedar.String(q.Action))
	group := "write"
	if strings.HasSuffix(q.Action, ".read") {
		group = "read"
	}
	parent(action, cedar.NewEntityUID("Action", cedar.String(group)))

	set := cedar.NewPolicySet()
	put := func(id, source string) {
		list, err := cedar.NewPolicyListFromBytes(id, []byte(source))
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range list {
			set.Add(cedar.PolicyID(fmt.Sprint(id, i)), p)
		}
	}
	for _, b := range n.builtin {
		put("builtin "+b.Name, b.Text)
	}
	for _, o := range n.objects {
		if p, ok := o.Spec.(*access.PolicySpec); ok && (o.Metadata.Tenant == "platform" || o.Metadata.Tenant == q.Object.Metadata.Tenant) {
			put(o.Metadata.Tenant+"/"+o.Metadata.Name, p.Cedar)
		}
	}
	context := types.RecordMap{
		"phase": cedar.String(q.Context.Phase), "door": cedar.String(q.Context.Door), "mfa": cedar.Boolean(q.Context.MFA),
		"time": cedar.NewDatetime(q.Context.Time), "request": cedar.String(q.Context.Request),
	}
	if q.Context.Source != "" {
		context["source"] = cedar.IPAddr(netip.PrefixFrom(netip.MustParseAddr(q.Context.Source), netip.MustParseAddr(q.Context.Source).BitLen()))
	}
	decision, diag := cedar.Authorize(set, m, cedar.Request{
		Principal: entity(q.Principal.Kind, q.Principal.Tenant, q.Principal.Name), Action: action, Resource: of(q.Object), Context: cedar.NewRecord(context),
	})
	for _, e := range diag.Errors {
		if set.Get(e.PolicyID).Effect() == cedar.Forbid {
			return false
		}
	}
	return decision == cedar.Allow && !disabled
}

const world = cell + `---
kind: User
metadata: {tenant: acme, name: bob, labels: {team: web}}
spec: {email: bob@acme.test}
---
kind: User
metadata: {tenant: acme, name: off}
spec: {disabled: true}
---
kind: RoleBinding
metadata: {tenant: acme, name: web}
spec: {role: web, subjects: [{kind: User, name: bob}, {kind: Service, name: bot}, {kind: User, name: ghost}, {kind: User, name: off}]}
---
kind: RoleBinding
metadata: {tenant: platform, name: auditors}
spec: {role: auditor, subjects: [{kind: User, name: op}, {kind: Node, name: n1}]}
---
kind: Policy
metadata: {tenant: acme, name: teams}
spec:
  cedar: |
    permit (principal is User, action in [Action::"read", Action::"write"], resource is Site)
    when { principal.hasTag("team") && resource.hasTag("team") && principal.getTag("team") == resource.getTag("team") };
    permit (principal, action in Action::"read", resource is User) when { principal == resource };
    forbid (principal, action == Action::"site.update", resource) when { resource.spec.hosts.contains("locked.test") };
---
kind: Policy
metadata: {tenant: acme, name: errs}
spec:
  cedar: |
    permit (principal in Role::"acme/web", action in [Action::"exclusion.read", Action::"exclusion.create"], resource) when { resource.spec.rule * 9223372036854775807 >= 0 };
    permit (principal in Role::"acme/web", action in [Action::"exclusion.read", Action::"exclusion.create"], resource);
    forbid (principal, action == Action::"exclusion.create", resource) when { resource.spec.rule + 9223372036854775807 > 5 };
---
kind: Policy
metadata: {tenant: platform, name: doors}
spec:
  cedar: |
    forbid (principal, action in Action::"write", resource) when { context has source && !context.source.isLoopback() && !context.mfa };
    forbid (principal, action in Action::"write", resource is User) when { resource in Role::"platform/operator" && context.phase == "new" };
    permit (principal in Role::"platform/auditor", action in Action::"read", resource);
    permit (principal in Tenant::"acme", action == Action::"user.read", resource in Tenant::"acme");
---
kind: Policy
metadata: {tenant: platform, name: classes}
spec:
  cedar: 'permit (principal == Node::"platform/n1", action == Action::"site.read", resource) when { resource.class != "production" };'
`

func TestDecisionsAreCedars(t *testing.T) {
	reg, c := setup(t)
	list := objects(t, reg, world)
	snap, err := c.Compile(slices.Values(list))
	if err != nil {
		t.Fatal(err)
	}
	builtins, err := policy.Builtins()
	if err != nil {
		t.Fatal(err)
	}
	n := naive{list, builtins}
	principals := []resource.Ref{{Kind: "Service", Tenant: "platform", Name: "edge"}, {Kind: "Service", Tenant: "platform", Name: "dayzero"}, {Kind: "Service", Tenant: "acme", Name: "bot"}, {Kind: "Node", Tenant: "platform", Name: "n1"}}
	for _, name := range []string{"platform/op", "platform/gone", "acme/ann", "acme/bob", "acme/off", "acme/ghost", "platform/bob", "acme/nobody"} {
		tenant, user, _ := strings.Cut(name, "/")
		principals = append(principals, resource.Ref{Kind: "User", Tenant: tenant, Name: user})
	}
	seen := map[bool]int{}
	ask := func(t *rapid.T) {
		tenant := rapid.SampledFrom([]string{"acme", "platform", "other"}).Draw(t, "tenant")
		labels := map[string]string{}
		for k, values := range map[string][]string{"team": {"web", "db"}, "frozen": {"yes", "no"}, "dun.dev/class": {"test", "production"}, "dun.dev/builtin": {"v1"}} {
			if v := rapid.SampledFrom(append(values, "", "", "")).Draw(t, k); v != "" {
				labels[k] = v
			}
		}
		o := &resource.Object{Version: 1, Metadata: resource.Metadata{Tenant: tenant, Name: rapid.SampledFrom([]string{"op", "ann", "bob", "x"}).Draw(t, "name"), Labels: labels}}
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 0:
			o.Kind, o.Spec = "Site", &edge.SiteSpec{Hosts: rapid.SampledFrom([][]string{{"a.test"}, {"locked.test", "b.test"}}).Draw(t, "hosts")}
		case 1:
			o.Kind, o.Spec = "Exclusion", &edge.ExclusionSpec{Rule: rapid.SampledFrom([]int{0, 2, 942100}).Draw(t, "rule"), Site: "s"}
		case 2:
			o.Kind, o.Spec = "User", &access.UserSpec{Email: "x@acme.test", Disabled: rapid.Bool().Draw(t, "disabled")}
		}
		q := policy.Query{
			Principal: rapid.SampledFrom(principals).Draw(t, "principal"), Object: o,
			Action: strings.ToLower(o.Kind) + "." + rapid.SampledFrom([]string{"read", "create", "update", "delete"}).Draw(t, "verb"),
			Context: policy.Context{
				Phase: rapid.SampledFrom([]string{"old", "new"}).Draw(t, "phase"), Door: "api", MFA: rapid.Bool().Draw(t, "mfa"), Time: time.UnixMilli(1e12),
				Source: rapid.SampledFrom([]string{"", "127.0.0.1", "::1", "192.0.2.1"}).Draw(t, "source"),
			},
		}
		got, want := snap.Decide(q), n.decide(t, q)
		seen[want]++
		if got.Allowed != want {
			t.Fatalf("allowed %v by %v, naively %v", got.Allowed, got.Policies, want)
		}
		if got.Allowed && len(got.Policies) == 0 {
			t.Fatal("allowed without a policy")
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		for range 30 {
			ask(t)
		}
	})
	if seen[true] == 0 || seen[false] == 0 {
		t.Errorf("the questions are one-sided: %v", seen)
	}
}
