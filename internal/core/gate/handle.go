package gate

import (
	"slices"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
)

// Use is what a door knows of an act on data; what is not said permits nothing.
type Use struct {
	Purpose   string // what it is for, as the caller declares it
	Region    string // from where, or to where, it is done
	Recipient string // to whom data are shared
}

// Handle says whether somebody may do an act, as in "export", to the data that
// an asset stands for. Every door asks before data pass; a refusal is a leaf.
// A share needs a record of it, too, that has not ended.
// Errors: not_found for who may not read the asset; forbidden.
func (g *Gate) Handle(a identity.Actor, asset resource.Ref, act string, use Use) error {
	return g.handle(g.state.Load(), a, asset, act, use)
}

func (g *Gate) handle(s *state, a identity.Actor, ref resource.Ref, act string, use Use) error {
	if !slices.Contains(resource.DataActs(), act) {
		return fault.New(fault.Invalid, "%q is no act on data", "%q 不是数据处理操作", act)
	}
	k, err := s.reg.Kind(ref.Kind)
	if err != nil {
		return err
	}
	action := policy.DataAction(act)
	o := s.get(k.Name, ref.Tenant, ref.Name)
	if o == nil || !g.ask(s, a, o, readAction(k.Name), "old").Allowed {
		return g.hidden(a, resource.Ref{Kind: k.Name, Tenant: ref.Tenant, Name: ref.Name}, action)
	}
	c := g.context(a, "old")
	c.Purpose, c.Region, c.Recipient = use.Purpose, use.Region, use.Recipient
	d := s.snap.Decide(policy.Query{Principal: a.Principal, Action: action, Object: o, Context: c})
	if !d.Allowed {
		return g.forbidden(a, k, ref, action, d)
	}
	if act == "share" {
		return g.shared(s, a, o, use)
	}
	return nil
}

// held refuses what a record in force keeps from going.
func (s *state) held(o *resource.Object) error {
	var by *resource.Object
	for _, k := range s.reg.All() {
		if !k.Keeps() {
			continue
		}
		from := &resource.Object{Metadata: resource.Metadata{Tenant: o.Metadata.Tenant}}
		s.trees[k.Name].AscendGreaterOrEqual(from, func(x *resource.Object) bool {
			if h := k.Holds(x); h != nil && h.Selects(o) {
				by = x
			}
			return by == nil && x.Metadata.Tenant == o.Metadata.Tenant
		})
	}
	if by == nil {
		return nil
	}
	return fault.New(fault.Conflict, "%s is held by %s; it cannot go until that is lifted", "%s 受 %s 保全,解除前不能删除", key(o.Ref()), key(by.Ref()))
}

// holds reports whether anything in force may keep records of the kind. Their
// history stays as a whole then: which versions are meant can be told of
// records that are there alone.
func (s *state) holds(kind string) bool {
	found := false
	for _, k := range s.reg.All() {
		if !k.Keeps() {
			continue
		}
		s.trees[k.Name].Ascend(func(x *resource.Object) bool {
			h := k.Holds(x)
			found = h != nil && (len(h.Kinds) == 0 || slices.Contains(h.Kinds, kind))
			return !found
		})
		if found {
			return true
		}
	}
	return false
}
