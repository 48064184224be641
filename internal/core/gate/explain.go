package gate

import (
	"context"
	"slices"
	"strings"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
)

// AccessQuestion asks whether somebody may do something to a record.
type AccessQuestion struct {
	Principal resource.Ref
	Action    string       // as in "site.update"
	Record    resource.Ref // a Tenant also for what is asked about it as a whole, as in "event.read"
}

// Explain says whether the principal of q may act, and why. Everybody may ask
// about himself; about others who may read the policies and the users of both
// tenants. A record that the actor may not read is not found. The answer about
// others is for a session without a second factor and without an address.
func (g *Gate) Explain(_ context.Context, a identity.Actor, q AccessQuestion) (policy.Explanation, error) {
	s := g.state.Load()
	k, err := s.reg.Kind(q.Record.Kind)
	if err != nil {
		return policy.Explanation{}, err
	}
	kind, verb, _ := strings.Cut(q.Action, ".")
	whole := k.Name == "Tenant" && kind != strings.ToLower(k.Name)
	if !known(k, kind, verb, whole) {
		return policy.Explanation{}, fault.New(fault.Invalid, "there is no action %q on a %s", "%[2]s 没有操作 %[1]q", q.Action, k.Name)
	}
	ask := policy.Query{Principal: q.Principal, Action: q.Action, Tenant: q.Record.Name, Context: policy.Context{Phase: "old", Door: a.Door, Time: g.opt.Now()}}
	if !whole {
		if ask.Object = s.get(k.Name, q.Record.Tenant, q.Record.Name); ask.Object == nil && verb == policy.Create {
			ask.Object, ask.Context.Phase = standIn(k, q.Record), "new"
		}
		if ask.Object == nil || !g.ask(s, a, ask.Object, readAction(k.Name), ask.Context.Phase).Allowed {
			return policy.Explanation{}, notFound(resource.Ref{Kind: k.Name, Tenant: q.Record.Tenant, Name: q.Record.Name})
		}
	}
	if key(q.Principal) == key(a.Principal) {
		ask.Context = g.context(a, ask.Context.Phase)
	} else if err := g.mayAskAbout(s, a, q.Principal.Tenant, q.tenant(whole)); err != nil {
		return policy.Explanation{}, err
	}
	return s.snap.Explain(ask, a.Principal), nil
}

func (q *AccessQuestion) tenant(whole bool) string {
	if whole {
		return q.Record.Name
	}
	return q.Record.Tenant
}

// known reports whether records of the kind, or tenants as a whole, have the
// action.
func known(k *resource.Kind, kind, verb string, whole bool) bool {
	if whole {
		return slices.Contains(policy.TenantActions(), kind+"."+verb)
	}
	if k.Name == policy.AssetKind && slices.Contains(resource.DataActs(), verb) && policy.DataAction(verb) == kind+"."+verb {
		return true
	}
	return kind == strings.ToLower(k.Name) && slices.Contains(policy.Actions(k), verb)
}

// standIn is a record of which nothing but its name is known.
func standIn(k *resource.Kind, r resource.Ref) *resource.Object {
	return &resource.Object{Kind: k.Name, Version: k.Version, Metadata: resource.Metadata{Tenant: r.Tenant, Name: r.Name}, Spec: k.NewSpec()}
}

// mayAskAbout asks for what an answer about somebody else shows: who has which
// role, and what the policies say.
func (g *Gate) mayAskAbout(s *state, a identity.Actor, tenants ...string) error {
	for _, tenant := range tenants {
		for _, name := range []string{"User", "RoleBinding", "Policy"} {
			k, err := s.reg.Kind(name)
			if err != nil {
				return err
			}
			if !g.ask(s, a, standIn(k, resource.Ref{Tenant: tenant}), readAction(k.Name), "old").Allowed {
				g.deny(a, resource.Ref{Kind: k.Name, Tenant: tenant}, "explain", nil)
				return fault.New(fault.Forbidden, "%s may ask about himself only: about others may who reads the users, bindings and policies of tenant %s",
					"%s 只能查询自己的权限;查询他人需能读取租户 %s 的用户、绑定和策略", a, tenant)
			}
		}
	}
	return nil
}
