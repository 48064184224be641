package gate

import (
	"slices"

	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
)

// Offers lists which of the verbs (as in "update") policy would allow the
// actor on the record as it is now, so that a face offers nothing that is
// refused. It is no promise: the change is decided when it comes. Nothing is
// noted as a denial, since nothing was attempted.
func (g *Gate) Offers(a identity.Actor, ref resource.Ref, verbs ...string) []string {
	s := g.state.Load()
	k, err := s.reg.Kind(ref.Kind)
	if err != nil {
		return nil
	}
	o := s.get(k.Name, ref.Tenant, ref.Name)
	if o == nil || !g.ask(s, a, o, readAction(k.Name), "old").Allowed {
		return nil
	}
	own := g.AsksAssent(k.Name) // made by the gate, and ended by verbs
	return slices.DeleteFunc(slices.Clone(verbs), func(v string) bool {
		if _, err := k.FindVerb(v); own && err != nil {
			return true
		}
		return !g.ask(s, a, o, actionName(k, v), "old").Allowed
	})
}

// CreateIn lists up to most tenants in which policy would allow the actor to
// create a record of the kind, as far as that can be said of a record that is
// still empty.
func (g *Gate) CreateIn(a identity.Actor, kind string, most int) []string {
	s := g.state.Load()
	k, err := s.reg.Kind(kind)
	if err != nil || g.AsksAssent(k.Name) {
		return nil
	}
	var out []string
	try := func(tenant string) {
		o := standIn(k, resource.Ref{Tenant: tenant, Name: "new"})
		if g.ask(s, a, o, actionName(k, policy.Create), "new").Allowed && g.ask(s, a, o, readAction(k.Name), "new").Allowed {
			out = append(out, tenant)
		}
	}
	try(resource.Platform)
	if k.Scope == resource.ScopePlatform {
		return out
	}
	s.trees["Tenant"].Ascend(func(o *resource.Object) bool {
		if o.Metadata.Name != resource.Platform {
			try(o.Metadata.Name)
		}
		return len(out) < most
	})
	return out
}

// MayAny reports whether policy allows the actor what is asked about a tenant
// as a whole. It is May for a face that only asks what to offer.
func (g *Gate) MayAny(a identity.Actor, action, tenant string) bool {
	return g.state.Load().snap.Decide(policy.Query{Principal: a.Principal, Action: action, Tenant: tenant, Context: g.context(a, "old")}).Allowed
}

// Try says of each change, taken alone, why it would be refused; nil = it would
// not, as far as policy, form and meaning go. It writes nothing. What is
// forbidden is noted as a denial, as if it had been tried.
func (g *Gate) Try(req Request) []error {
	s := g.state.Load()
	out := make([]error, len(req.Changes))
	for i := range req.Changes {
		_, out[i] = g.decide(s, &req, &req.Changes[i], s.at.Revision+1, s.time)
	}
	return out
}
