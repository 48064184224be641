package approvals

import (
	"context"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/access"
)

const (
	accessSleep = time.Second // how late an access may end
	accessAgain = 10 * time.Second
)

type sweeper struct {
	opt  Options
	me   identity.Actor
	held map[resource.Ref]*resource.Object
	try  time.Duration // of Passed, when something failed
}

// EndAccesses ends accesses (CodeAccess, ApplicationAccess, SystemAccess,
// NetworkAccess) when their term is over or nobody certified them again, until
// ctx ends. It asks nobody, since it only takes away.
func EndAccesses(ctx context.Context, opt Options) error {
	s := &sweeper{opt: opt, me: identity.Service(access.AccessService), held: map[resource.Ref]*resource.Object{}}
	feed, err := opt.Gate.Watch(s.me, access.AccessKinds, nil)
	if err != nil {
		return err
	}
	for {
		next, cancel := context.WithTimeout(ctx, accessSleep)
		b, err := feed.Next(next)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			s.take(b)
		}
		s.sweep(ctx)
	}
}

func (s *sweeper) take(b resource.Batch) {
	if b.Reset {
		clear(s.held)
	}
	for _, c := range b.Changes {
		key := resource.Ref{Kind: c.Ref.Kind, Tenant: c.Ref.Tenant, Name: c.Ref.Name}
		if s.held[key] = c.Object; c.Object == nil {
			delete(s.held, key)
		}
	}
}

func (s *sweeper) sweep(ctx context.Context) {
	if s.opt.Clock.Passed() < s.try {
		return
	}
	now := s.opt.Clock.Now()
	for _, o := range s.held {
		at, why := access.AccessEnds(o)
		if now.Before(at) {
			continue
		}
		_, err := s.opt.Gate.Apply(ctx, gate.Request{Actor: s.me, Reason: why, Changes: []gate.Change{{Op: gate.Delete, Ref: o.Ref(), Revision: o.Metadata.Revision}}})
		// A conflict: somebody changed it meanwhile, and the feed tells.
		if err != nil && !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.NotFound) && ctx.Err() == nil {
			s.opt.Log.Error("an access that is over is not ended", "access", o.Ref().String(), "err", err)
			s.try = s.opt.Clock.Passed() + accessAgain
		}
	}
}
