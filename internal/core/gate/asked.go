package gate

import (
	"context"
	"errors"

	"github.com/dun-sec/dun/internal/core/gate/internal/store"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
)

// AskedChange is one change that a request for assent asks for.
type AskedChange struct {
	Ref       resource.Ref
	Action    string
	Old, Next *resource.Object // nil = absent, or not to be seen
	Hidden    bool             // the actor may not read the record
	Stale     bool             // the record has moved since: it will not be carried out
}

// AsksAssent reports whether records of the kind ask for assent.
func (g *Gate) AsksAssent(kind string) bool {
	return g.opt.Approvals != nil && g.opt.Approvals.Kind() == kind
}

// Asked shows what a record that asks for assent would change, against the
// revision that it was asked at, as far as the actor may read it.
func (g *Gate) Asked(ctx context.Context, a identity.Actor, o *resource.Object) ([]AskedChange, error) {
	if !g.AsksAssent(o.Kind) {
		return nil, nil
	}
	s := g.state.Load()
	changes, err := g.opt.Approvals.Changes(View{g, s, ctx}, o)
	if err != nil {
		return nil, err
	}
	req := Request{Changes: changes}
	if err := g.checkRequest(&req); err != nil {
		return nil, err
	}
	var out []AskedChange
	for i := range req.Changes {
		c := &req.Changes[i]
		k, err := s.reg.Kind(c.Ref.Kind)
		if err != nil {
			return nil, err
		}
		x := AskedChange{Ref: c.Ref}
		live := s.get(k.Name, c.Ref.Tenant, c.Ref.Name)
		x.Stale = live == nil && c.Revision != 0 || live != nil && live.Metadata.Revision != c.Revision
		old, err := g.asAsked(ctx, c)
		if err != nil {
			return nil, err
		}
		x.Action = actionOf(c, old)
		next, err := shape(k, c, old, resource.Moment{Time: g.opt.Now(), Actor: a.Principal})
		if err != nil {
			next = nil // a verb that the state does not allow any more
		}
		for _, side := range []*resource.Object{old, next} {
			x.Hidden = x.Hidden || side != nil && !g.ask(s, a, side, actionName(k, policy.Read), "old").Allowed
		}
		if !x.Hidden {
			x.Old, x.Next = old, next
		}
		out = append(out, x)
	}
	return out, nil
}

// asAsked is the record at the revision that a change was asked at.
func (g *Gate) asAsked(ctx context.Context, c *Change) (*resource.Object, error) {
	if c.Revision == 0 {
		return nil, nil
	}
	row, err := g.store.Change(ctx, c.Revision)
	if errors.Is(err, store.ErrNotFound) || err == nil && row.Data == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return g.opt.Registry.Load(row.Data)
}
