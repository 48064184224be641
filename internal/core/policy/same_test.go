package policy_test

import (
	"slices"
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/access"
)

// TestSameFor moves one record at a time: whoever watches sites as ann starts
// over for what can touch his view, and for nothing else.
func TestSameFor(t *testing.T) {
	reg, c := setup(t)
	begin := objects(t, reg, cell)
	put := func(yaml string) resource.Change {
		o := objects(t, reg, yaml)[0]
		return resource.Change{Ref: o.Ref(), Object: o}
	}
	ann := resource.Ref{Kind: "User", Tenant: "acme", Name: "ann"}
	bob := "kind: User\nmetadata: {tenant: acme, name: bob}\nspec: {displayName: Bob}\n"
	bobs := "kind: RoleBinding\nmetadata: {tenant: acme, name: bobs}\nspec: {role: operator, subjects: [{kind: User, name: bob}]}\n"
	anns := "kind: RoleBinding\nmetadata: {tenant: acme, name: anns}\nspec: {role: web, subjects: [{kind: User, name: ann}]}\n"
	own := "kind: User\nmetadata: {tenant: acme, name: ann}\nspec: {displayName: Ann}\n"
	more := "kind: Policy\nmetadata: {tenant: globex, name: p}\nspec: {cedar: 'permit (principal, action == Action::\"site.read\", resource);'}\n"
	for _, tt := range []struct {
		name         string
		change       resource.Change
		sites, users bool // whether the view of these kinds stays
	}{
		{"another user", put(bob), true, true},
		{"a role of another user", put(bobs), true, false},
		{"his own record", put(own), false, false},
		{"his own roles", put(anns), false, false},
		{"his own record goes", resource.Change{Ref: ann}, false, false},
		{"a policy", put(more), false, false},
		{"what was not there goes", resource.Change{Ref: resource.Ref{Kind: "User", Tenant: "acme", Name: "nobody"}}, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			old, err := c.Compile(slices.Values(begin))
			if err != nil {
				t.Fatal(err)
			}
			next, err := c.Update(old, tt.change)
			if err != nil {
				t.Fatal(err)
			}
			if got := next.SameFor(old, ann, "Site"); got != tt.sites {
				t.Errorf("sites: %v", got)
			}
			if got := next.SameFor(old, ann, "Site", "User"); got != tt.users {
				t.Errorf("users: %v", got)
			}
			if next.SameFor(nil, ann, "Site") || !next.SameFor(next, ann, "User") || next.Same(old) {
				t.Error("nothing is the same as no snapshot, and each as itself")
			}
		})
	}

	// A policy that looks at a third person makes everybody's view his, too.
	for _, when := range []string{
		`User::"acme/bob" in Role::"acme/operator"`, `User::"acme/bob".spec.displayName == "Bob"`, `User::"acme/bob".hasTag("x")`, `{who: User::"acme/bob"}.who.name == "bob"`,
		`(if context.mfa then User::"acme/bob" else User::"acme/ann").name == "bob"`, `User::"acme/bob" has owner`, `User::"acme/bob" is User in Role::"acme/operator"`,
		`User::"acme/bob".hasTag("x") && User::"acme/bob".getTag("x") == "y"`,
	} {
		o := &resource.Object{Kind: "Policy", Version: 1, Metadata: resource.Metadata{Tenant: "platform", Name: "third"}, Spec: &access.PolicySpec{Cedar: "permit (principal, action, resource) when { " + when + " };"}}
		old, err := c.Compile(slices.Values(append([]*resource.Object{o}, begin...)))
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		next, err := c.Update(old, put(bob))
		if err != nil {
			t.Fatal(err)
		}
		if next.SameFor(old, ann, "Site") {
			t.Errorf("%s: a change of bob leaves ann's view", when)
		}
		gone, err := c.Update(next, resource.Change{Ref: o.Ref()})
		if err != nil {
			t.Fatal(err)
		}
		again, err := c.Update(gone, put(own))
		if err != nil {
			t.Fatal(err)
		}
		if gone.SameFor(next, ann, "Site") || !again.SameFor(gone, resource.Ref{Kind: "User", Tenant: "acme", Name: "bob"}, "Site") {
			t.Errorf("%s: the policy is gone and still counts", when)
		}
	}
}

// TestUpdateThatFails leaves the snapshot before it as it was.
func TestUpdateThatFails(t *testing.T) {
	reg, c := setup(t)
	old, err := c.Compile(slices.Values(objects(t, reg, cell)))
	if err != nil {
		t.Fatal(err)
	}
	user := objects(t, reg, "kind: RoleBinding\nmetadata: {tenant: platform, name: operators}\nspec: {role: operator, subjects: [{kind: User, name: eve}]}\n")[0]
	bad := &resource.Object{Kind: "Policy", Version: 1, Metadata: resource.Metadata{Tenant: "acme", Name: "web"}, Spec: &access.PolicySpec{Cedar: "permit ("}}
	if _, err := c.Update(old, resource.Change{Ref: user.Ref(), Object: user}, resource.Change{Ref: bad.Ref(), Object: bad}); !fault.Is(err, fault.Invalid) {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"op": true, "eve": false} {
		q := policy.Query{Principal: resource.Ref{Kind: "User", Tenant: "platform", Name: name}, Action: "event.read", Tenant: "acme"}
		if d := old.Decide(q); d.Allowed != want {
			t.Errorf("%s: %+v", name, d)
		}
	}
	ann := policy.Query{Principal: resource.Ref{Kind: "User", Tenant: "acme", Name: "ann"}, Action: "status.read", Tenant: "acme"}
	if d := old.Decide(ann); !d.Allowed {
		t.Errorf("the policy that was to be replaced is gone: %+v", d)
	}
}
