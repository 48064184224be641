package gate

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/gate/internal/store"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
)

// Replay is what a change of policy would have decided otherwise.
type Replay struct {
	Moves     bool     // the changes move policy at all
	Decisions int      // that were made again
	Denied    []string // what was allowed, and would not be
	Allowed   []string // what was refused, and would not be
}

// ReplayPolicy makes the decisions since a time anew, at most so many of the
// newest, under policy as the changes would leave it. It writes nothing and
// holds nobody up.
func (g *Gate) ReplayPolicy(ctx context.Context, changes []Change, since time.Time, most int) (r Replay, err error) {
	s := g.state.Load()
	next, err := g.policyWith(s, changes)
	if err != nil || next == nil {
		return r, err
	}
	r.Moves = true
	ask := func(actor, kind, action, phase string, o *resource.Object) (before, after, ok bool) {
		p, err := principalOf(actor)
		if err != nil || p.Kind != "User" || o == nil {
			return false, false, false
		}
		q := policy.Query{Principal: p, Action: action, Object: o, Context: policy.Context{Phase: phase, Door: "api", MFA: true, Time: g.opt.Now()}}
		r.Decisions++
		return s.snap.Decide(q).Allowed, next.Decide(q).Allowed, true
	}
	from := uint64(0)
	if at := s.at.Revision; at > uint64(most) {
		from = at - uint64(most)
	}
	for ctx.Err() == nil {
		page, err := g.store.Changes(ctx, from, leafPage)
		if err != nil {
			return r, err
		}
		for i := range page {
			c := &page[i]
			from = c.Revision
			if c.Time < since.UnixMicro() || c.Data == nil {
				continue
			}
			o, err := g.opt.Registry.Load(c.Data)
			if err != nil {
				continue // of a kind that is gone
			}
			k, err := s.reg.Kind(c.Kind)
			if err != nil {
				continue
			}
			if before, after, ok := ask(c.Actor, c.Kind, actionName(k, c.Action), "new", o); ok && before && !after {
				r.Denied = append(r.Denied, fmt.Sprintf("%s: %s %s %s/%s", c.Actor, c.Action, c.Kind, c.Tenant, c.Name))
			}
		}
		if len(page) < leafPage {
			break
		}
	}
	return r, g.replayDenials(ctx, s, &r, ask, most)
}

// policyWith is the snapshot that the changes would lead to; nil = they move
// no policy.
func (g *Gate) policyWith(s *state, changes []Change) (*policy.Snapshot, error) {
	req := Request{Changes: changes}
	if err := g.checkRequest(&req); err != nil {
		return nil, err
	}
	snap, moves := s.snap, false
	for i := range req.Changes {
		c := &req.Changes[i]
		k, err := s.reg.Kind(c.Ref.Kind)
		if err != nil {
			return nil, err
		}
		if !k.Access() {
			continue
		}
		moves = true
		old := s.get(k.Name, c.Ref.Tenant, c.Ref.Name)
		if c.Op != Put && old == nil {
			return nil, notFound(c.Ref)
		}
		next, err := shape(k, c, old, resource.Moment{Time: g.opt.Now()})
		if err != nil {
			return nil, err
		}
		if snap, err = g.compiler.Update(snap, resource.Change{Ref: c.Ref, Object: next}); err != nil {
			return nil, err
		}
	}
	if !moves {
		return nil, nil
	}
	return snap, nil
}

// replayDenials does the same for what was refused, as far as the records are
// there.
func (g *Gate) replayDenials(ctx context.Context, s *state, r *Replay, ask func(actor, kind, action, phase string, o *resource.Object) (before, after, ok bool), most int) error {
	if g.denials == nil {
		return nil
	}
	head, err := g.denials.store.Head(ctx)
	if err != nil {
		return nil // nothing was refused yet
	}
	from := uint64(max(0, head.Size-int64(most)))
	leaves, err := g.denials.store.Leaves(ctx, from, most)
	if err != nil {
		return err
	}
	for i := range leaves {
		l := &leaves[i]
		kind, action, ok := deniedWhat(l)
		if !ok {
			continue
		}
		k, err := s.reg.Kind(kind)
		if err != nil {
			continue
		}
		o := s.get(kind, string(l.Tenant), string(l.Name))
		if before, after, ok := ask(string(l.Actor), kind, actionName(k, action), "old", o); ok && !before && after {
			r.Allowed = append(r.Allowed, fmt.Sprintf("%s: %s %s %s/%s", l.Actor, action, kind, l.Tenant, l.Name))
		}
	}
	return nil
}

func deniedWhat(l *store.Leaf) (kind, action string, ok bool) {
	leaf, err := audit.ParseLeaf(l.Body)
	return leaf.Kind, leaf.Action, err == nil && l.Salts != nil
}

func principalOf(actor string) (resource.Ref, error) {
	kind, rest, ok := strings.Cut(actor, " ")
	tenant, name, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return resource.Ref{}, fmt.Errorf("no principal: %q", actor)
	}
	return resource.Ref{Kind: kind, Tenant: tenant, Name: name}, nil
}
