// Package thresholds reports in the status of protected addresses what the
// detection centre learned of them: the draft of thresholds that people review.
// It owns these statuses and nothing else. Whatever the traffic does, it writes
// at most once a minute for each record, and nothing that moved less than a
// tenth.
package thresholds

import (
	"context"
	"log/slog"
	"math"
	"reflect"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/kinds/shield"
)

const (
	first = 2 * time.Second // after the start
	each  = time.Minute
)

// Gate is what the controller asks of core/gate.
type Gate interface {
	List(context.Context, identity.Actor, gate.ListOptions) (gate.Page, error)
	SetStatus(context.Context, identity.Actor, resource.Ref, any) (*resource.Object, error)
}

// Options of a controller. Gate and Learned are needed.
type Options struct {
	Gate    Gate
	Learned func() map[resource.Ref]traffic.Learned
	Log     *slog.Logger
}

// Run reports until ctx ends.
func Run(ctx context.Context, opt Options) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	t := time.NewTimer(first)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := opt.report(ctx); err != nil && ctx.Err() == nil {
				opt.Log.Error("thresholds are not reported", "err", err)
			}
			t.Reset(each)
		}
	}
}

func (opt *Options) report(ctx context.Context) error {
	me, learned := identity.Service(shield.ThresholdOwner), opt.Learned()
	for after := ""; ; {
		p, err := opt.Gate.List(ctx, me, gate.ListOptions{Kind: "ProtectedAddress", Tenant: gate.AllTenants, Limit: 500, After: after})
		if err != nil {
			return err
		}
		for _, o := range p.Items {
			ref := o.Ref()
			l, ok := learned[resource.Ref{Kind: ref.Kind, Tenant: ref.Tenant, Name: ref.Name}]
			if !ok {
				continue
			}
			was, _ := o.Status.(*shield.ProtectedAddressStatus)
			next := status(l, was)
			if was != nil && reflect.DeepEqual(was, next) {
				continue
			}
			if _, err := opt.Gate.SetStatus(ctx, me, ref, next); err != nil && !fault.Is(err, fault.NotFound) {
				return err
			}
		}
		if after = p.Next; after == "" {
			return nil
		}
	}
}

// status is what to report after was. What moved little stays as it was said.
func status(l traffic.Learned, was *shield.ProtectedAddressStatus) *shield.ProtectedAddressStatus {
	said := map[string]shield.LearnedThreshold{}
	if was != nil {
		for _, t := range was.Thresholds {
			said[t.Vector] = t
		}
	}
	out := &shield.ProtectedAddressStatus{Hours: l.Hours}
	for _, u := range l.Vectors {
		old := said[u.Vector.String()]
		t := shield.LearnedThreshold{Vector: u.Vector.String(), Usual: steady(old.Usual, u.P95), Draft: steady(old.Draft, u.Draft), Source: u.Source}
		if t.InForce = int(math.Round(u.InForce)); u.Source == traffic.SourceLearned || u.Source == traffic.SourceFloor {
			t.InForce = t.Draft
		}
		out.Thresholds = append(out.Thresholds, t)
	}
	return out
}

// steady rounds up to two digits, and keeps what was said before while it is
// less than a tenth away.
func steady(was int, now float64) int {
	if w := float64(was); was > 0 && math.Abs(now-w) < w/10 {
		return was
	}
	if now < 1 {
		return 0
	}
	unit := math.Pow(10, max(0, math.Floor(math.Log10(now))-1))
	return int(math.Ceil(now/unit) * unit)
}
