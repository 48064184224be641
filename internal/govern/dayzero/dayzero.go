// Package dayzero makes a new cell usable: on the first start it writes the
// tenant platform, the operator and his role, and with each release it brings
// the read-only records of the built-in policies up to date. It acts through
// the gate as the service dayzero, under a policy of its own; what people have
// changed or deleted since it leaves alone.
package dayzero

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/access"
	"github.com/dun-sec/dun/internal/kinds/data"
	"github.com/dun-sec/dun/internal/kinds/system"
)

// Operator is the first user of a cell.
var Operator = resource.Ref{Kind: "User", Tenant: resource.Platform, Name: "operator"}

// Gate is what dayzero needs of the gate.
type Gate interface {
	Get(context.Context, identity.Actor, resource.Ref) (*resource.Object, error)
	Apply(context.Context, gate.Request) ([]gate.Result, error)
}

// Run brings the cell up to this release. It is safe to run at each start.
func Run(ctx context.Context, g Gate, release string) error {
	me := identity.Service(gate.Dayzero)
	_, err := g.Get(ctx, me, resource.Ref{Kind: "Tenant", Tenant: resource.Platform, Name: resource.Platform})
	first := fault.Is(err, fault.NotFound)
	if err != nil && !first {
		return fmt.Errorf("look for the first start: %w", err)
	}
	var want []*resource.Object
	if first {
		want = firstRecords(release)
	}
	standing, err := builtins(release)
	if err != nil {
		return err
	}
	var changes []gate.Change
	for _, o := range append(want, standing...) {
		c, err := change(ctx, g, me, o)
		if err != nil {
			return err
		}
		if c != nil {
			changes = append(changes, *c)
		}
	}
	if len(changes) == 0 {
		return nil
	}
	reason := "release " + release
	if first {
		reason = "first start, " + reason
	}
	if _, err := g.Apply(ctx, gate.Request{Actor: me, Changes: changes, Reason: reason}); err != nil {
		return fmt.Errorf("write the built-in records: %w", err)
	}
	return nil
}

// change returns what brings the stored record to o; nil when it is there.
func change(ctx context.Context, g Gate, me identity.Actor, o *resource.Object) (*gate.Change, error) {
	c := &gate.Change{Op: gate.Put, Ref: resource.Ref{Kind: o.Kind, Tenant: o.Metadata.Tenant, Name: o.Metadata.Name}, Object: o}
	old, err := g.Get(ctx, me, c.Ref)
	if fault.Is(err, fault.NotFound) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", c.Ref, err)
	}
	if reflect.DeepEqual(old.Spec, o.Spec) || old.Metadata.Labels[resource.LabelBuiltin] == "" {
		return nil, nil // the last: somebody's own record that happens to have the name
	}
	c.Revision = old.Metadata.Revision
	return c, nil
}

func record(kind, name, builtin string, spec any) *resource.Object {
	o := &resource.Object{Kind: kind, Version: 1, Metadata: resource.Metadata{Tenant: resource.Platform, Name: name}, Spec: spec}
	if builtin != "" {
		o.Metadata.Labels = map[string]string{resource.LabelBuiltin: builtin}
	}
	return o
}

func firstRecords(release string) []*resource.Object {
	return []*resource.Object{
		record("Tenant", resource.Platform, release, &system.TenantSpec{Title: "Platform"}),
		record("User", Operator.Name, "", &access.UserSpec{DisplayName: "Operator"}),
		record("RoleBinding", "operators", "", &access.RoleBindingSpec{Role: "operator", Subjects: []access.Subject{{Kind: "User", Name: Operator.Name}}}),
	}
}

// builtins are the records that a release brings and keeps as they are.
func builtins(release string) ([]*resource.Object, error) {
	out := []*resource.Object{
		record("Role", "operator", release, &access.RoleSpec{Description: "Runs the cell"}),
		record("Role", "security", release, &access.RoleSpec{Description: "Runs the defence: sites, exclusions and bans; reads everything"}),
		record("Role", "auditor", release, &access.RoleSpec{Description: "Reads everything and changes nothing"}),
	}
	for name, s := range classes {
		out = append(out, record("DataClass", name, release, s))
	}
	for _, kind := range access.AccessKinds {
		short := strings.ToLower(strings.TrimSuffix(kind, "Access"))
		out = append(out, record("Role", short+"-approver", release, &access.RoleSpec{Description: "Assents to " + short + " access, and certifies it again"}),
			record("ApprovalRule", "builtin-"+short+"-access", release, &access.ApprovalRuleSpec{
				Description: "Who gets " + short + " access, and keeps it", Kinds: []string{kind}, Verbs: []string{"create", "update", "recertify"},
				Steps: []access.ApprovalStep{{Name: short + "-approver", Roles: []string{short + "-approver"}, EscalateTo: []string{"security"}}},
			}))
	}
	for name, s := range rules {
		out = append(out, record("ApprovalRule", name, release, s))
	}
	list, err := policy.Builtins()
	if err != nil {
		return nil, err
	}
	for _, b := range list {
		out = append(out, record("Policy", b.Name, release, &access.PolicySpec{Description: "Built in", Cedar: b.Text}))
	}
	return out, nil
}

// classes are the classes of data of a release (controls 1-3, 1-4): production
// is the highest, and of production are the data of users, of the business and
// of the system.
var classes = map[string]*data.DataClassSpec{
	resource.HighestClass: production("Production", ""),
	"production-user":     production("Production: data of users", resource.HighestClass),
	"production-business": production("Production: data of the business", resource.HighestClass),
	"production-system":   production("Production: data of the system", resource.HighestClass),
	"internal":            {Title: "Internal", Level: 3, Handling: []string{"read", "process", "copy", "print", "delete"}, Assent: []string{"export", "share"}},
	"test":                {Title: "Test", Level: 2, Handling: []string{"read", "process", "copy", "print", "export", "delete"}, Assent: []string{"share"}},
	"public":              {Title: "Public", Level: 1, Handling: []string{"read", "process", "copy", "print", "export", "share", "delete"}},
}

func production(title, parent string) *data.DataClassSpec {
	return &data.DataClassSpec{Title: title, Level: resource.HighestLevel, Parent: parent, Handling: []string{"read", "process", "delete"}, Assent: []string{"copy", "export", "share"}}
}

// rules are the approval rules of a release. What changes who may do what is
// never one person's to change, as soon as there are two.
var rules = map[string]*access.ApprovalRuleSpec{
	"builtin-policy": {
		Description: "Policies, roles, bindings and approval rules", Classes: []string{"policy"},
		Steps: []access.ApprovalStep{{Name: "second-person", Roles: []string{"operator", "security"}}},
	},
	"builtin-release": {
		Description: "What goes live", Kinds: []string{"Release"}, Verbs: []string{"publish"},
		Steps: []access.ApprovalStep{{Name: "security", Roles: []string{"security"}}},
	},
	"builtin-types": {
		Description: "What may be done to a type of data", Tenants: "all", Kinds: []string{"DataType"}, Verbs: []string{"update", "delete"},
		Steps: []access.ApprovalStep{{Name: "second-person", Roles: []string{"operator", "security"}}},
	},
	"builtin-holds": {
		Description: "The end of a legal hold; placing one needs nobody", Tenants: "all", Kinds: []string{"LegalHold"}, Verbs: []string{"lift", "update", "delete"},
		Steps: []access.ApprovalStep{{Name: "second-person", Roles: []string{"operator", "security"}}},
	},
	"builtin-people": {
		Description: "Users, tenants and identity providers of the platform", Kinds: []string{"User", "Tenant", "IdentityProvider"},
		Steps: []access.ApprovalStep{{Name: "second-person", Roles: []string{"operator", "security"}}},
	},
}

func founder(name string) *resource.Object {
	o := record("User", name, "", &access.UserSpec{})
	o.Metadata.Labels = map[string]string{resource.LabelFounder: "true"}
	return o
}

// Found makes one more founder, who is made by nobody: the machine's owner
// asked for him. His role comes by a binding of his own.
func Found(ctx context.Context, g Gate, name string) (resource.Ref, error) {
	me := identity.Service(gate.Dayzero)
	user := resource.Ref{Kind: "User", Tenant: resource.Platform, Name: name}
	var changes []gate.Change
	old, err := g.Get(ctx, me, user)
	switch {
	case err == nil && old.Metadata.Labels[resource.LabelFounder] != "":
		return user, nil // a new link for him
	case err == nil:
		return user, fault.New(fault.Conflict, "there is a user %s already, whom somebody made; take another name with --name", "用户 %s 已存在且由他人创建;请用 --name 另取名称", name)
	case !fault.Is(err, fault.NotFound):
		return user, err
	}
	for _, o := range []*resource.Object{
		founder(name),
		record("RoleBinding", "founder-"+name, "", &access.RoleBindingSpec{Role: "operator", Subjects: []access.Subject{{Kind: "User", Name: name}}}),
	} {
		changes = append(changes, gate.Change{Op: gate.Put, Ref: o.Ref(), Object: o})
	}
	_, err = g.Apply(ctx, gate.Request{Actor: me, Changes: changes, Reason: "founder, made on the machine"})
	return user, err
}
