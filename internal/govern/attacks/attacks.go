// Package attacks makes of many refused requests, and of what the detection
// centre tells of a flood, one record: an Attack with its start, its peak and
// its end. It owns these records and nothing else: it
// bans nobody and reads only events and its own kind. Whatever is sent, it
// makes at most one record a site at a time, of at most maxSites sites, and one
// status each of these in reportEvery.
package attacks

import (
	"context"
	"log/slog"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/kinds/shield"
)

// The rule of a burst.
const (
	window      = 10              // seconds that count together
	openAt      = 50              // refused requests in a window: an attack
	quiet       = time.Minute     // without any: it is over
	reportEvery = 5 * time.Second // statuses are written at most so often
	maxSites    = 1024            // that are counted at once
	maxSources  = 64              // of one site, the smallest gives way
	shown       = 10              // sources and request ids in a status
)

// Gate is what the controller asks of core/gate.
type Gate interface {
	Apply(context.Context, gate.Request) ([]gate.Result, error)
	Get(context.Context, identity.Actor, resource.Ref) (*resource.Object, error)
	List(context.Context, identity.Actor, gate.ListOptions) (gate.Page, error)
	SetStatus(context.Context, identity.Actor, resource.Ref, any) (*resource.Object, error)
}

// Options of a controller. Gate and Follow are needed.
type Options struct {
	Gate   Gate
	Follow func(context.Context, events.Query) (*events.Follower, error)
	Live   func() map[resource.Ref]traffic.Live // what goes to protected addresses now; nil = the detection centre's events alone tell
	// Recorded is told under which record an attack of a detection centre is; nil =
	// nobody asks.
	Recorded func(id string, record resource.Ref)
	Skip     string // a tenant whose traffic is no attack: that of the checks
	Now      func() time.Time
	Log      *slog.Logger
}

// Run follows the edge's events until ctx ends.
func Run(ctx context.Context, opt Options) error {
	requests, err := opt.follow(ctx, "edge")
	if err != nil {
		return err
	}
	floods, err := opt.follow(ctx, floodPart)
	if err != nil {
		return err
	}
	w := &watch{opt: opt, actor: identity.Service(shield.AttackOwner), bursts: map[key]*burst{}, floods: map[key]*flood{}}
	w.adopt(ctx)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case e, ok := <-requests:
			if !ok {
				return nil
			}
			w.count(e)
		case e, ok := <-floods:
			if !ok {
				return nil
			}
			w.hear(e)
		case <-tick.C:
			w.settle(ctx)
			w.settleFloods(ctx)
		}
	}
}

// follow hands on the events of a part until ctx ends.
func (opt *Options) follow(ctx context.Context, part string) (<-chan events.Event, error) {
	f, err := opt.Follow(ctx, events.Query{Part: part})
	if err != nil {
		return nil, err
	}
	in := make(chan events.Event)
	go func() {
		defer close(in)
		for e := range f.All() {
			select {
			case in <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	return in, nil
}

// key is a site, or a protected address.
type key struct{ tenant, site string }

// watch is the state of Run; its goroutine owns it.
type watch struct {
	opt    Options
	actor  identity.Actor
	bursts map[key]*burst
	floods map[key]*flood // by tenant and object; what was adopted: by tenant and stem
}

// adopt goes on with what an earlier process opened.
func (w *watch) adopt(ctx context.Context) {
	now := w.opt.Now()
	for after := ""; ; {
		p, err := w.opt.Gate.List(ctx, w.actor, gate.ListOptions{Kind: "Attack", Tenant: gate.AllTenants, Limit: 500, After: after})
		if err != nil {
			w.opt.Log.Error("attacks that were open are not taken up", "err", err)
			return
		}
		for _, o := range p.Items {
			st, _ := o.State.(*shield.AttackState)
			spec, ok := o.Spec.(*shield.AttackSpec)
			if ok && spec.Address != "" && (st == nil || st.End == nil) && len(w.floods) < maxFloods {
				w.adoptFlood(o, spec)
				continue
			}
			if !ok || spec.Site == "" || st != nil && st.End != nil || len(w.bursts) >= maxSites {
				continue
			}
			b := newBurst()
			b.record, b.last = o.Ref(), now
			if s, ok := o.Status.(*shield.AttackStatus); ok && s != nil {
				b.peak, b.total, b.requests = s.Peak, s.Count, s.Requests
				for _, x := range s.Sources {
					b.sources[x.Address] = x.Count
				}
			}
			w.bursts[key{o.Metadata.Tenant, spec.Site}] = b
		}
		if after = p.Next; after == "" {
			return
		}
	}
}

// count takes one event. What the edge summed into one counts as many.
func (w *watch) count(e events.Event) {
	if e.Action != "blocked" || e.Kind != "block" && e.Kind != "limit" || e.Tenant == w.opt.Skip || e.Attributes["site"] == "" {
		return
	}
	k := key{e.Tenant, e.Attributes["site"]}
	b := w.bursts[k]
	if b == nil {
		if len(w.bursts) >= maxSites {
			return
		}
		b = newBurst()
		w.bursts[k] = b
	}
	b.add(e, w.opt.Now())
}

// settle looks at every site once a second: who begins, goes on, is over.
func (w *watch) settle(ctx context.Context) {
	now := w.opt.Now()
	for k, b := range w.bursts {
		n := b.recent(now)
		b.peak = max(b.peak, n)
		var err error
		switch {
		case b.record.Name == "" && n >= openAt:
			err = w.open(ctx, k, b, now)
		case now.Sub(b.last) >= quiet:
			if b.record.Name != "" {
				err = w.end(ctx, b)
			}
			if err == nil {
				delete(w.bursts, k)
			}
		}
		if err == nil && b.record.Name != "" && b.changed && now.Sub(b.reported) >= reportEvery {
			err = w.report(ctx, b, now)
		}
		if err != nil && ctx.Err() == nil {
			w.opt.Log.Error("an attack is not recorded", "tenant", k.tenant, "name", k.site, "err", err)
		}
	}
}
