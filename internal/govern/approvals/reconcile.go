package approvals

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/access"
)

// Drift is one setting that is in force and was not approved.
type Drift struct {
	Source  string // who found it
	Setting string // as in "Policy platform/night"
	Why     string
}

// Source tells of one system whose settings are to be as they were approved.
// What later duties put in force elsewhere joins here by one line.
type Source struct {
	Name   string
	Rights bool // its settings say who may do what: control 5.2-8 holds while none drifts
	Drift  func(ctx context.Context) ([]Drift, error)
}

// reconcileEvery is how often what is in force is held against what was
// approved; control 5.2-8 allows five minutes.
const reconcileEvery = time.Minute

// Reconciler is the one loop that does it.
type Reconciler struct {
	opt     ReconcileOptions
	sources []Source

	mu    sync.Mutex
	found []Drift
	at    time.Time // of the last whole round
}

// ReconcileOptions of a Reconciler. Clock is needed.
type ReconcileOptions struct {
	Events interface{ Add(events.Event) }
	Clock  clock.Clock
	Log    *slog.Logger
}

// NewReconciler makes one.
func NewReconciler(opt ReconcileOptions, sources ...Source) *Reconciler {
	return &Reconciler{opt: opt, sources: sources}
}

// Run reconciles until ctx ends.
func (r *Reconciler) Run(ctx context.Context) {
	for {
		if _, err := r.Round(ctx); err != nil && ctx.Err() == nil {
			r.opt.Log.Error("what is in force is not held against what was approved", "err", err)
		}
		t := r.opt.Clock.Timer(reconcileEvery)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C():
		}
	}
}

// Round looks once at every source and tells of what is new.
func (r *Reconciler) Round(ctx context.Context) ([]Drift, error) {
	var all []Drift
	for _, s := range r.sources {
		d, err := s.Drift(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		all = append(all, d...)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	known := make(map[Drift]bool, len(r.found)) // tenants can make many
	for _, d := range r.found {
		known[d] = true
	}
	for _, d := range all {
		if !known[d] && r.opt.Events != nil {
			r.opt.Events.Add(events.Event{Tenant: resource.Platform, Part: "approvals", Kind: "drift", Action: "detected", Object: d.Setting, Attributes: map[string]string{"source": d.Source, "reason": d.Why}})
			r.opt.Log.Error("what is in force is not what was ordered and approved", "setting", d.Setting, "reason", d.Why)
		}
	}
	r.found, r.at = all, r.opt.Clock.Now()
	return slices.Clone(all), nil
}

// rights are those of a round that are about who may do what.
func (r *Reconciler) rights(all []Drift) []Drift {
	return slices.DeleteFunc(all, func(d Drift) bool {
		return !slices.ContainsFunc(r.sources, func(s Source) bool { return s.Rights && s.Name == d.Source })
	})
}

// Found is what the last round found, and when it was.
func (r *Reconciler) Found() ([]Drift, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.found), r.at
}

// Warrants is what Records asks of the gate.
type Warrants interface {
	Registry() *resource.Registry
	Warrants(ctx context.Context, kind string, each func(gate.Warrant)) error
}

// ruled are the kinds that the built-in rules are about.
var ruled = append([]string{"Policy", "Role", "RoleBinding", "ApprovalRule", "User", "Tenant", "IdentityProvider"}, access.AccessKinds...)

// Records is the source of the records that say who may do what: each was
// written by an approved request, by a service under its own policy, or while
// one person ran the cell, and is on the disk as its leaf tells.
func Records(g Warrants) Source {
	return Source{Name: "records", Rights: true, Drift: func(ctx context.Context) ([]Drift, error) {
		done := map[string]bool{}
		err := g.Warrants(ctx, "ChangeRequest", func(w gate.Warrant) {
			if w.Broken == "" && (stateOf(w.Object).Phase == access.PhaseDone || stateOf(w.Object).Phase == access.PhaseGlass) {
				done[w.Object.Metadata.Name] = true
			}
		})
		if err != nil {
			return nil, err
		}
		var out []Drift
		for _, kind := range ruled {
			err := g.Warrants(ctx, kind, func(w gate.Warrant) {
				if why := unwarranted(w, done); why != "" {
					out = append(out, Drift{"records", w.Object.Kind + " " + w.Object.Metadata.Tenant + "/" + w.Object.Metadata.Name, why})
				}
			})
			if err != nil {
				return nil, err
			}
		}
		return out, nil
	}}
}

// unwarranted says why a record has no business to be as it is; "" = it has.
func unwarranted(w gate.Warrant, done map[string]bool) string {
	p := w.Object.Metadata.Tenant
	switch {
	case w.Broken != "":
		return w.Broken
	case w.Founding || strings.HasPrefix(w.Actor, "Service platform/"):
		return ""
	case p != resource.Platform && w.Request == "":
		return "" // a tenant's own records go by the tenant's own rules
	case w.Request == "":
		return "no approved request wrote it"
	case !done[w.Request]:
		return "the request " + w.Request + " that wrote it was not approved, or its break-glass was not reviewed"
	}
	return ""
}
