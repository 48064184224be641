package certificates

import (
	"context"
	"time"

	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

const (
	sweepEvery = day
	sweepAfter = time.Hour // younger ones may be on the way into a record
	waitsFor   = 40 * day  // of a record that is there: a change that waits for approval may name them
)

// Secrets is what the controller asks of core/secret.
type Secrets interface {
	Owned(ctx context.Context, kind string) ([]secret.Owned, error)
	Put(ctx context.Context, a identity.Actor, owner resource.Ref, purpose string, v secret.Value) (secret.Ref, error)
	OpenOf(ctx context.Context, a identity.Actor, owner resource.Ref, ref secret.Ref, purpose string) (secret.Value, error)
	Delete(ctx context.Context, a identity.Actor, ref secret.Ref) error
}

// sweep forgets the keys that no record names: of certificates that went, and
// of deposits that were cut short.
func (w *watch) sweep(ctx context.Context, now time.Time) {
	if w.opt.Secrets == nil || !w.gone && now.Sub(w.swept).Abs() < sweepEvery {
		return
	}
	w.gone, w.swept = false, now
	list, err := w.opt.Secrets.Owned(ctx, "Certificate")
	if err != nil {
		w.opt.Log.Warn("the keys of certificates are not looked through", "err", err)
		return
	}
	for _, s := range list {
		there, named := w.owner(s)
		if named || there && now.Before(s.Created.Add(waitsFor)) {
			continue
		}
		if at := s.Created.Add(sweepAfter); now.Before(at) {
			w.gone = true
			w.soon(at)
			continue
		}
		if err := w.opt.Secrets.Delete(ctx, w.actor, s.Ref); err != nil && ctx.Err() == nil {
			w.opt.Log.Warn("the key of a certificate that is gone stays sealed", "tenant", s.Owner.Tenant, "name", s.Owner.Name, "err", err)
		}
	}
}

// owner reports whether the record that owns the secret is there, and whether it
// names it.
func (w *watch) owner(s secret.Owned) (there, named bool) {
	o := w.all[resource.Ref{Kind: "Certificate", Tenant: s.Owner.Tenant, Name: s.Owner.Name}]
	if o == nil || o.Metadata.UID != s.Owner.UID {
		return false, false
	}
	state, _ := o.State.(*edge.CertificateState)
	return true, state != nil && state.Key == string(s.Ref)
}
