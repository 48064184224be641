// Package approvals says which changes need the assent of others and whose,
// and carries out what was approved. It owns the change requests and the one
// loop that holds what is in force against what was approved. Who may assent is
// computed from owner, kind, label and role at the moment of the decision. It
// writes through the gate alone, as the service approvals, and decides nothing
// that policy decides: an approver gives only what he has himself.
package approvals

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/access"
)

// Rules is gate.Approvals. It has no state of its own.
type Rules struct {
	First resource.Ref // the user whom the first start made: a founder, too
}

var _ gate.Approvals = Rules{}

// minFounders is how many people a cell needs before one can ask another.
const minFounders = 2

// Kind implements gate.Approvals.
func (Rules) Kind() string { return "ChangeRequest" }

// Service implements gate.Approvals.
func (Rules) Service() resource.Ref { return identity.Service(access.ApprovalService).Principal }

// Founding implements gate.Approvals: a founder is a user of the platform whom
// the machine made, and nobody else.
func (r Rules) Founding(v gate.View) bool {
	n := 0
	v.Each("User", resource.Platform, func(o *resource.Object) bool {
		if r.made(o) && v.Live(o.Ref()) {
			n++
		}
		return n < minFounders
	})
	return n < minFounders
}

// made reports whether the machine made a user.
func (r Rules) made(o *resource.Object) bool {
	return o.Metadata.Labels[resource.LabelFounder] != "" || plain(o.Ref()) == r.First
}

// founder reports whether somebody is one.
func (r Rules) founder(v gate.View, p resource.Ref) (yes bool) {
	v.Each("User", resource.Platform, func(o *resource.Object) bool {
		yes = yes || plain(o.Ref()) == plain(p) && r.made(o)
		return !yes
	})
	return yes
}

// need is what one request needs.
type need struct {
	rules   []string
	steps   []access.RequestStep
	expires time.Duration
	people  []string
}

// People implements gate.Need.
func (n *need) People() []string { return n.people }

// Need implements gate.Approvals. What a service of the platform does is not
// asked about: it is a part of Dun and acts under a policy of its own. A
// tenant's is a program with a key, and asks as people do.
func (r Rules) Need(v gate.View, req *gate.Request, wanted []gate.Wanted) (gate.Need, error) {
	lowered, err := lowering(v, req, wanted)
	if err != nil {
		return nil, err
	}
	if p := req.Actor.Principal; p.Kind == "Service" && p.Tenant == resource.Platform {
		return nil, nil
	}
	n := &need{expires: access.DefaultExpiry}
	tenants := []string{resource.Platform}
	for _, w := range wanted {
		if t := w.Change.Ref.Tenant; !slices.Contains(tenants, t) {
			tenants = append(tenants, t)
		}
	}
	for _, tenant := range tenants {
		v.Each("ApprovalRule", tenant, func(o *resource.Object) bool {
			spec := o.Spec.(*access.ApprovalRuleSpec)
			if slices.ContainsFunc(wanted, func(w gate.Wanted) bool { return about(o, spec, w) }) {
				n.add(o, spec)
			}
			return true
		})
	}
	if lowered != "" {
		n.rules = append(n.rules, lowered)
		n.steps = append(n.steps, access.RequestStep{Rule: lowered, Step: access.ApprovalStep{Name: "second-person", Roles: []string{"operator", "security"}}})
	}
	switch {
	case !r.Founding(v) || req.Ask:
	case len(n.steps) == 0 || r.founder(v, req.Actor.Principal):
		return nil, nil
	default:
		// Nobody can be asked yet; so nobody but the founder does it alone.
		return nil, fault.New(fault.Forbidden, "this needs approval, and the cell has one founder only: he does it himself, or makes a second one (dun admin founder)", "此更改须经审批,而集群只有一位创始人:请由其本人执行,或创建第二位创始人(dun admin founder)")
	}
	if len(n.steps) == 0 {
		if !req.Ask {
			return nil, nil
		}
		n.steps = []access.RequestStep{{Rule: "platform/ask", Step: access.ApprovalStep{Name: "second-person", Roles: []string{"operator", "security"}}}}
	}
	n.people = names(v, n.steps[0], wanted)
	return n, nil
}

func (n *need) add(o *resource.Object, spec *access.ApprovalRuleSpec) {
	name := o.Metadata.Tenant + "/" + o.Metadata.Name
	n.rules = append(n.rules, name)
	for _, s := range spec.Steps {
		n.steps = append(n.steps, access.RequestStep{Rule: name, Step: s})
	}
	if e := time.Duration(spec.Expires); e > 0 {
		n.expires = min(n.expires, e)
	}
}

// about reports whether a rule is about a change.
func about(rule *resource.Object, s *access.ApprovalRuleSpec, w gate.Wanted) bool {
	if t := w.Change.Ref.Tenant; t != rule.Metadata.Tenant && s.Tenants != "all" {
		return false
	}
	if len(s.Classes) > 0 && !slices.Contains(s.Classes, string(w.Kind.ApprovalClass)) {
		return false
	}
	if len(s.Kinds) > 0 && !slices.Contains(s.Kinds, w.Kind.Name) || len(s.Verbs) > 0 && !slices.Contains(s.Verbs, w.Action) {
		return false
	}
	return labelled(s.Labels, w.Old) || labelled(s.Labels, w.Next)
}

func labelled(want map[string]string, o *resource.Object) bool {
	if len(want) == 0 {
		return true
	}
	if o == nil {
		return false
	}
	for k, v := range want {
		if o.Metadata.Labels[k] != v {
			return false
		}
	}
	return true
}

// ruleTenant is the tenant whose roles and users a step names.
func ruleTenant(s access.RequestStep) string {
	t, _, _ := strings.Cut(s.Rule, "/")
	return t
}

// mayIn reports whether somebody may assent in a step, as rules and roles say
// now; waited is how long the step waits.
func mayIn(v gate.View, s access.RequestStep, p resource.Ref, owners []resource.Ref, waited time.Duration) bool {
	tenant := ruleTenant(s)
	if p.Kind != "User" || !v.Live(p) {
		return false
	}
	if p.Tenant == tenant && slices.Contains(s.Step.Users, p.Name) || s.Step.Owner && slices.Contains(owners, plain(p)) {
		return true
	}
	roles := s.Step.Roles
	if len(s.Step.EscalateTo) > 0 && waited >= cmp.Or(time.Duration(s.Step.After), access.DefaultEscalate) {
		roles = append(slices.Clone(roles), s.Step.EscalateTo...)
	}
	return len(bindings(v, p, tenant, roles)) > 0
}

// bindings lists the records by which somebody holds one of the roles.
func bindings(v gate.View, p resource.Ref, tenant string, roles []string) []*resource.Object {
	var out []*resource.Object
	if p.Tenant != tenant || len(roles) == 0 {
		return nil
	}
	for _, kind := range []string{"RoleBinding", "ApplicationAccess"} {
		v.Each(kind, tenant, func(o *resource.Object) bool {
			for _, g := range v.Grants(o) {
				if g.Principal == plain(p) && slices.Contains(roles, g.Role.Name) {
					out = append(out, o)
					break
				}
			}
			return true
		})
	}
	return out
}

func plain(r resource.Ref) resource.Ref {
	return resource.Ref{Kind: r.Kind, Tenant: r.Tenant, Name: r.Name}
}

// maxNames is how many of those who may assent are named to who waits.
const maxNames = 10

// names says whom the first step waits for.
func names(v gate.View, s access.RequestStep, wanted []gate.Wanted) []string {
	var out []string
	for _, u := range s.Step.Users {
		out = append(out, ruleTenant(s)+"/"+u)
	}
	for _, r := range s.Step.Roles {
		out = append(out, "role "+ruleTenant(s)+"/"+r)
	}
	if s.Step.Owner {
		for _, w := range wanted {
			if w.Old != nil && w.Old.Metadata.Owner != nil {
				out = append(out, w.Old.Metadata.Owner.Tenant+"/"+w.Old.Metadata.Owner.Name)
			}
		}
	}
	return out[:min(len(out), maxNames)]
}
