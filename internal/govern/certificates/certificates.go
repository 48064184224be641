// Package certificates watches over every Certificate: it says in the status how
// long the pair in force lives, tells by an event when it is about to end, gets
// and renews those that name an ACME authority, and forgets private keys whose
// record went. It owns the status of certificates and reads no other kind; what
// serves is the edge's. It never opens the key of a certificate.
package certificates

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/challenges"
	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/certificates/acme"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

const (
	part       = "certificates"
	lookAgain  = time.Hour   // at the latest: the wall may have jumped
	retryAfter = time.Minute // of what the gate did not take
)

// Gate is what the controller asks of core/gate.
type Gate interface {
	Apply(context.Context, gate.Request) ([]gate.Result, error)
	SetStatus(context.Context, identity.Actor, resource.Ref, any) (*resource.Object, error)
	Watch(identity.Actor, []string, func(*resource.Object) bool) (resource.Feed, error)
}

// Options of a controller. Gate, Events, Clock and Log are needed.
type Options struct {
	Gate    Gate
	Events  interface{ Add(events.Event) }
	Secrets Secrets // nil = none are forgotten, and none are made
	Clock   clock.Clock
	Log     *slog.Logger

	// Without these no authority is asked.
	Dial       func(tenant string) acme.DialFunc
	Challenges *challenges.Set
}

// Run watches until ctx ends, which returns nil, or the feed fails.
func Run(ctx context.Context, opt Options) error {
	w := &watch{
		opt: opt, actor: identity.Service(edge.CertificateOwner), all: map[resource.Ref]*resource.Object{},
		ordering: map[string]bool{}, answers: make(chan answer),
	}
	feed, err := opt.Gate.Watch(w.actor, []string{"Certificate"}, nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer w.workers.Wait()
	defer cancel()
	batches, failed := make(chan resource.Batch), make(chan error, 1)
	go func() {
		for {
			b, err := feed.Next(ctx)
			if err != nil {
				failed <- err
				return
			}
			select {
			case batches <- b:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		timer := opt.Clock.Timer(w.pause())
		select {
		case <-ctx.Done():
		case err = <-failed:
		case b := <-batches:
			w.take(ctx, b)
		case a := <-w.answers:
			w.answered(ctx, a)
		case <-timer.C():
			w.look(ctx)
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// watch is the state of Run; its goroutine owns it.
type watch struct {
	opt    Options
	actor  identity.Actor
	all    map[resource.Ref]*resource.Object // by ref without UID
	synced bool
	next   time.Time // when something changes by itself
	swept  time.Time // when the secrets were looked through
	gone   bool      // a record went since

	waiting  bool            // an order is due and finds no room
	ordering map[string]bool // tenants that an order is under way for
	answers  chan answer
	workers  sync.WaitGroup
}

// take brings what moved in.
func (w *watch) take(ctx context.Context, b resource.Batch) {
	had := w.synced && !b.Reset
	if b.Reset {
		clear(w.all)
		w.synced = false
	}
	moved := map[resource.Ref]bool{}
	for _, c := range b.Changes {
		ref := c.Ref
		ref.UID = ""
		if c.Object == nil {
			delete(w.all, ref)
			w.gone = true
		} else if old := w.all[ref]; old == nil || old.Metadata.UID != c.Object.Metadata.UID || at(c.Object) >= at(old) {
			w.all[ref] = c.Object
			moved[ref] = true
		}
	}
	w.synced = w.synced || b.Synced
	switch {
	case !w.synced:
	case !had:
		w.look(ctx)
	case len(b.Changes) > 0: // the others stand as they stood
		now := w.opt.Clock.Now()
		for ref := range moved {
			if o := w.all[ref]; o != nil {
				w.all[ref] = w.judge(ctx, o, now)
			}
		}
		w.sweep(ctx, now)
	}
}

// at is the newest change of a record; a status that was reported here is known
// before the feed brings what came before it.
func at(o *resource.Object) uint64 { return max(o.Metadata.Revision, o.Metadata.StatusRevision) }

// look says of every certificate how it stands.
func (w *watch) look(ctx context.Context) {
	if !w.synced {
		return
	}
	now := w.opt.Clock.Now()
	w.next, w.waiting = now.Add(lookAgain), false
	for ref, o := range w.all {
		w.all[ref] = w.judge(ctx, o, now)
	}
	w.sweep(ctx, now)
}

// soon makes sure that the next look is not after at.
func (w *watch) soon(at time.Time) {
	if at.Before(w.next) {
		w.next = at
	}
}

// pause is how long nothing changes by itself.
func (w *watch) pause() time.Duration {
	if !w.synced {
		return lookAgain
	}
	return max(w.next.Sub(w.opt.Clock.Now()), 0)
}

// judge reports one certificate, and warns where it is time to.
func (w *watch) judge(ctx context.Context, o *resource.Object, now time.Time) *resource.Object {
	old, _ := o.Status.(*edge.CertificateStatus)
	s, next := statusOf(o, now)
	if !next.IsZero() {
		w.soon(next)
	}
	if at, ok := wanted(o, s, now); ok {
		if now.Before(at) {
			w.soon(at)
		} else {
			w.order(ctx, o, now)
		}
	}
	if warns(old, s) { // before the status says so: rather told twice than never
		w.warn(o, s)
	}
	told, err := w.opt.Gate.SetStatus(ctx, w.actor, o.Ref(), s)
	if err != nil {
		if ctx.Err() == nil {
			w.opt.Log.Warn("a certificate's status is not reported", "tenant", o.Metadata.Tenant, "name", o.Metadata.Name, "err", err)
			w.soon(now.Add(retryAfter))
		}
		return o
	}
	return told
}
