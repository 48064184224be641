package approvals

import (
	"context"
	"log/slog"
	"time"

	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/access"
)

// Gate is what the controller asks of core/gate.
type Gate interface {
	Apply(context.Context, gate.Request) ([]gate.Result, error)
	Execute(context.Context, identity.Actor, resource.Ref, gate.Change) ([]gate.Result, error)
	SetStatus(context.Context, identity.Actor, resource.Ref, any) (*resource.Object, error)
	Watch(a identity.Actor, kinds []string, keep func(*resource.Object) bool) (resource.Feed, error)
	Registry() *resource.Registry
	ReplayPolicy(ctx context.Context, changes []gate.Change, since time.Time, most int) (gate.Replay, error)
}

// Options of the controller. Gate is needed.
type Options struct {
	Gate   Gate
	Events interface{ Add(events.Event) }
	Clock  clock.Clock
	Log    *slog.Logger
}

// Bounds of what a policy change is tried against.
const (
	replayDays = 30
	replayMost = 5000
	replayShow = 20
)

// longestSleep bounds how long a deadline may be noticed late.
const longestSleep = time.Minute

type watch struct {
	opt      Options
	actor    identity.Actor
	requests map[resource.Ref]*resource.Object
}

// Run carries out what is approved and ends what has expired, until ctx ends.
func Run(ctx context.Context, opt Options) error {
	w := &watch{opt: opt, actor: identity.Service(access.ApprovalService), requests: map[resource.Ref]*resource.Object{}}
	feed, err := opt.Gate.Watch(w.actor, []string{"ChangeRequest"}, nil)
	if err != nil {
		return err
	}
	for {
		next, cancel := context.WithTimeout(ctx, w.sleep())
		b, err := feed.Next(next)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			w.take(b)
		}
		w.round(ctx)
	}
}

func (w *watch) take(b resource.Batch) {
	if b.Reset {
		w.requests = map[resource.Ref]*resource.Object{}
	}
	for _, c := range b.Changes {
		key := plain(c.Ref)
		if c.Object == nil {
			delete(w.requests, key)
			continue
		}
		if p := stateOf(c.Object).Phase; p == access.PhaseOpen || p == access.PhaseApproved || p == access.PhaseGlass {
			w.requests[key] = c.Object
		} else {
			delete(w.requests, key)
		}
	}
}

// sleep is how long nothing is due.
func (w *watch) sleep() time.Duration {
	now, least := w.opt.Clock.Now(), longestSleep
	for _, o := range w.requests {
		spec := o.Spec.(*access.ChangeRequestSpec)
		for _, t := range []*time.Time{&spec.Expires, spec.NotBefore, spec.NotAfter} {
			if t != nil && t.After(now) {
				least = min(least, t.Sub(now))
			}
		}
	}
	return max(least, 10*time.Millisecond)
}

func (w *watch) round(ctx context.Context) {
	for key, o := range w.requests {
		if ctx.Err() != nil {
			return
		}
		if w.look(ctx, o) {
			delete(w.requests, key)
		}
	}
}

// look does what is due for one request; true = it is over.
func (w *watch) look(ctx context.Context, o *resource.Object) bool {
	spec, st, now := o.Spec.(*access.ChangeRequestSpec), stateOf(o), w.opt.Clock.Now()
	switch {
	case st.Phase == access.PhaseGlass && now.Before(spec.Expires):
		return false
	case st.Phase == access.PhaseGlass:
		return w.end(ctx, o, access.PhaseUnreviewed, "a change by break-glass was not reviewed within 24 hours")
	case st.Phase == access.PhaseOpen && !now.Before(spec.Expires):
		return w.end(ctx, o, access.PhaseExpired, "nobody decided in time")
	case st.Phase == access.PhaseOpen:
		w.replay(ctx, o)
		return false
	case spec.NotAfter != nil && now.After(*spec.NotAfter):
		return w.end(ctx, o, access.PhaseExpired, "its window closed before it was carried out")
	case spec.NotBefore != nil && now.Before(*spec.NotBefore):
		return false
	}
	done := gate.Change{Op: gate.Act, Verb: "end", Input: access.RequestEndInput{Phase: access.PhaseDone}}
	_, err := w.opt.Gate.Execute(ctx, w.actor, o.Ref(), done)
	if err == nil {
		w.tell(o, access.PhaseDone, "")
		return true
	}
	if ctx.Err() != nil || fault.Is(err, fault.Unavailable) {
		return false // tried again
	}
	return w.end(ctx, o, access.PhaseFailed, fault.Of(err).Detail.En)
}

func (w *watch) end(ctx context.Context, o *resource.Object, phase, why string) bool {
	_, err := w.opt.Gate.Apply(ctx, gate.Request{Actor: w.actor, Changes: []gate.Change{{
		Op: gate.Act, Ref: o.Ref(), Verb: "end", Revision: o.Metadata.Revision, Input: access.RequestEndInput{Phase: phase, Outcome: clip(why)},
	}}})
	if err != nil {
		if ctx.Err() == nil && !fault.Is(err, fault.Conflict) { // the last: it moved, and the watch tells how
			w.opt.Log.Error("a change request does not end", "tenant", o.Metadata.Tenant, "name", o.Metadata.Name, "err", err)
		}
		return false
	}
	if phase == access.PhaseFailed {
		why = "it could not be carried out; the request says why" // to who may read what it asks for
	}
	w.tell(o, phase, why)
	return true
}

func (w *watch) tell(o *resource.Object, phase, why string) {
	if w.opt.Events != nil {
		w.opt.Events.Add(events.Event{Tenant: o.Metadata.Tenant, Part: "approvals", Kind: "request", Action: phase, Object: "changerequest/" + o.Metadata.Name, Attributes: map[string]string{"reason": why}})
	}
}

func clip(s string) string {
	if len(s) > 1000 {
		return s[:1000]
	}
	return s
}

// replay makes the decisions of the last days anew under the policy as the
// request would leave it, once for each request that moves policy.
func (w *watch) replay(ctx context.Context, o *resource.Object) {
	if s, ok := o.Status.(*access.ChangeRequestStatus); ok && s != nil && s.Days > 0 {
		return
	}
	spec := o.Spec.(*access.ChangeRequestSpec)
	var changes []gate.Change
	for _, x := range spec.Changes {
		c, err := change(w.opt.Gate.Registry(), x)
		if err != nil {
			return
		}
		changes = append(changes, c)
	}
	r, err := w.opt.Gate.ReplayPolicy(ctx, changes, w.opt.Clock.Now().AddDate(0, 0, -replayDays), replayMost)
	if err != nil {
		if ctx.Err() == nil {
			w.opt.Log.Warn("a policy change is not tried against what was decided", "name", o.Metadata.Name, "err", err)
		}
		return
	}
	if !r.Moves {
		return
	}
	s := &access.ChangeRequestStatus{Replayed: r.Decisions, Days: replayDays, Different: len(r.Denied) + len(r.Allowed), Denied: shown(r.Denied), Allowed: shown(r.Allowed)}
	if done, err := w.opt.Gate.SetStatus(ctx, w.actor, o.Ref(), s); err == nil {
		w.requests[plain(o.Ref())] = done
	}
}

func shown(list []string) []string { return list[:min(len(list), replayShow)] }
