package gate

import (
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// MayAct reads a record for somebody who wants to carry out a verb on it, and
// says beforehand whether he may. The verb itself is authorised once more when
// it is carried out.
func (g *Gate) MayAct(a identity.Actor, ref resource.Ref, verb string) (*resource.Object, error) {
	s := g.state.Load()
	k, err := s.reg.Kind(ref.Kind)
	if err == nil {
		err = inPerson(a, k)
	}
	if err != nil {
		return nil, err
	}
	if _, err := k.FindVerb(verb); err != nil {
		return nil, err
	}
	o := s.get(k.Name, ref.Tenant, ref.Name)
	if o == nil || !g.ask(s, a, o, readAction(k.Name), "old").Allowed {
		return nil, g.hidden(a, resource.Ref{Kind: k.Name, Tenant: ref.Tenant, Name: ref.Name}, verb)
	}
	if d := g.ask(s, a, o, actionName(k, verb), "old"); !d.Allowed {
		return nil, g.forbidden(a, k, ref, verb, d)
	}
	return o, nil
}
