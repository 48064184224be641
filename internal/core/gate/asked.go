package gate

import (
	"context"
	"errors"

	"github.com/dun-sec/dun/internal/core/gate/internal/store"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// AskedChange is one change that a request for assent asks for.
type AskedChange struct {
	Ref       resource.Ref
	Action    string
	Old, Next *resource.Object // nil = absent, or not to be seen
	Hidden    bool             // the actor may not read every record of the request
	Stale     bool             // the record has moved since: it will not be carried out
}

// AsksAssent reports whether records of the kind ask for assent.
func (g *Gate) AsksAssent(kind string) bool {
	return g.opt.Approvals != nil && g.opt.Approvals.Kind() == kind
}

// Asked shows what a record that asks for assent would change, against the
// revision that it was asked at, to whoever may read each record that it is
// about; to others it names them.
func (g *Gate) Asked(ctx context.Context, a identity.Actor, o *resource.Object) ([]AskedChange, error) {
	if !g.AsksAssent(o.Kind) {
		return nil, nil
	}
	s := g.state.Load()
	// What the actor was shown may be without its content: that in force has it.
	if live := s.get(o.Kind, o.Metadata.Tenant, o.Metadata.Name); live != nil && live.Metadata.UID == o.Metadata.UID {
		o = live
	}
	list, err := g.resolve(ctx, s, a, o)
	if err != nil {
		return nil, err
	}
	hidden := !readable(list, func(x *resource.Object) bool { return g.ask(s, a, x, readAction(x.Kind), "old").Allowed })
	out := make([]AskedChange, len(list))
	for i, w := range list {
		out[i] = AskedChange{Ref: w.change.Ref, Action: actionOf(w.change, w.old), Hidden: hidden}
		out[i].Stale = w.live == nil && w.change.Revision != 0 || w.live != nil && w.live.Metadata.Revision != w.change.Revision
		if !hidden {
			out[i].Old, out[i].Next = w.old, w.next
		}
	}
	return out, nil
}

// resolved is one change that is asked for, with the records that it is about.
type resolved struct {
	change          *Change
	old, next, live *resource.Object // as it was asked at, as it would be, as it is; nil = absent
	unknown         bool             // what it would make of the record cannot be told any more
}

// resolve finds the records that o asks to change.
func (g *Gate) resolve(ctx context.Context, s *state, a identity.Actor, o *resource.Object) ([]resolved, error) {
	changes, err := g.opt.Approvals.Changes(View{g, s, ctx}, o)
	if err != nil {
		return nil, err
	}
	req := Request{Changes: changes}
	if err := g.checkRequest(&req); err != nil {
		return nil, err
	}
	out := make([]resolved, len(req.Changes))
	for i := range req.Changes {
		c, w := &req.Changes[i], &out[i]
		k, err := s.reg.Kind(c.Ref.Kind)
		if err != nil {
			return nil, err
		}
		w.change, w.live = c, s.get(k.Name, c.Ref.Tenant, c.Ref.Name)
		if w.old, err = g.asAsked(ctx, c, w.live); err != nil {
			return nil, err
		}
		if w.old == nil && c.Op != Put { // its history is gone
			w.unknown = true
			continue
		}
		if w.next, err = shape(k, c, w.old, resource.Moment{Time: g.opt.Now(), Actor: a.Principal}); err != nil {
			// A verb that the state does not allow any more leaves the rest as it is.
			w.next, w.unknown = nil, c.Op != Act
		}
	}
	return out, nil
}

// readable reports whether somebody may read all of a request, where may says
// so of one record: the records of one request may lie in each other, so that
// one that he may not read keeps the others from him. What cannot be told
// cannot be judged.
func readable(list []resolved, may func(*resource.Object) bool) bool {
	for _, w := range list {
		if w.unknown {
			return false
		}
		for i, x := range []*resource.Object{w.old, w.next, w.live} {
			if x != nil && (i == 0 || x != w.old) && !may(x) {
				return false
			}
		}
	}
	return true
}

// asAsked is the record at the revision that a change was asked at.
func (g *Gate) asAsked(ctx context.Context, c *Change, live *resource.Object) (*resource.Object, error) {
	if c.Revision == 0 {
		return nil, nil
	}
	if live != nil && live.Metadata.Revision == c.Revision {
		return live, nil
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
