package gate

import (
	"context"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// WatchFrom is Watch for a watcher who has everything up to the position. Where
// the changes since then are no longer at hand, the position is of another
// epoch, or policy has moved since, the first batch is a Reset.
func (g *Gate) WatchFrom(actor identity.Actor, kinds []string, keep func(*resource.Object) bool, from resource.Position) (resource.Feed, error) {
	w, err := g.Watch(actor, kinds, keep)
	if err != nil {
		return nil, err
	}
	f, ok := w.(*feed)
	s := g.state.Load()
	if !ok || from.Epoch != s.at.Epoch || from.Revision > s.at.Revision || from.Revision < s.ruled {
		return w, nil
	}
	f.at, f.snap, f.seen, f.ready, f.resumed = from.Revision, s.snap, map[resource.Ref]bool{}, true, true
	return f, nil
}

// had reports whether a watcher who resumed had the record before c: he did
// when he might see what it was then.
func (f *feed) had(ctx context.Context, s *state, c resource.Change) (bool, error) {
	if !f.resumed {
		return false, nil
	}
	rows, err := f.g.store.History(ctx, c.Ref.Kind, c.Ref.Tenant, c.Ref.Name, c.Revision, 1)
	if err != nil || len(rows) == 0 || rows[0].Data == nil {
		return false, err
	}
	o, err := f.g.opt.Registry.Load(rows[0].Data)
	if err != nil {
		return false, err
	}
	return f.shows(s, o), nil
}

// GetAt returns a record as it was right after the revision, or at the time
// when revision is 0. It is shown to whoever might read it as it was then; what
// was hidden then looks as if it had not been there.
func (g *Gate) GetAt(ctx context.Context, a identity.Actor, ref resource.Ref, revision uint64, at time.Time) (*resource.Object, error) {
	if _, err := g.History(ctx, a, ref, 0, 1); err != nil {
		return nil, err
	}
	none := fault.New(fault.NotFound, "%s did not exist then", "%s 当时不存在", ref)
	s := g.state.Load()
	before := s.at.Revision + 1
	if revision > 0 && revision < s.at.Revision {
		before = revision + 1
	}
	for {
		rows, err := g.store.History(ctx, ref.Kind, ref.Tenant, ref.Name, before, DefaultPage+1)
		if err != nil {
			return nil, err
		}
		for i := range rows[:min(DefaultPage, len(rows))] {
			if revision == 0 && time.UnixMicro(rows[i].Time).After(at) {
				continue
			}
			shown, v, err := g.version(ctx, s, a, rows, i)
			switch {
			case err != nil:
				return nil, err
			case !shown:
				return nil, none
			case v.Object == nil:
				return nil, fault.New(fault.NotFound, "%s was deleted by then, at revision %d", "%s 当时已删除(修订 %d)", ref, rows[i].Revision)
			}
			return v.Object, nil
		}
		if len(rows) <= DefaultPage {
			return nil, none
		}
		before = rows[DefaultPage-1].Revision
	}
}
