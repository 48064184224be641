package certificates

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
	"github.com/dun-sec/dun/internal/govern/certificates/acme"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

const (
	ordersAtOnce = 16               // one at a time for each tenant, so that nobody's slow authority keeps others waiting
	firstPause   = 10 * time.Minute // after a failure, doubled by each more; a try proves by two challenges, and Let's Encrypt allows five failures an hour for a name
	longestPause = 12 * time.Hour   // between tries
	leastPause   = 10 * time.Minute // between two certificates, however short they live
)

// answer is what became of an order.
type answer struct {
	ref    resource.Ref // with UID
	issued acme.Issued
	stored secret.Ref // of the key
	err    error
	at     time.Time
	order  string // as of orderOf
}

// wanted says when a certificate is to be ordered next; ok = it is one that an
// authority gives.
func wanted(o *resource.Object, s *edge.CertificateStatus, now time.Time) (at time.Time, ok bool) {
	spec := o.Spec.(*edge.CertificateSpec)
	if spec.ACME == nil || o.Metadata.Deleting != nil {
		return time.Time{}, false
	}
	at = now
	state, _ := o.State.(*edge.CertificateState)
	if edge.Whole(o) && state.Order == orderOf(o) && s.NotBefore != nil {
		at = s.NotBefore.Add(s.NotAfter.Sub(*s.NotBefore) / 3 * 2)
	}
	if s.Next != nil && at.Before(*s.Next) && s.For == orderOf(o) {
		at = *s.Next
	}
	return at, true
}

// orderOf tells what is ordered apart, so that who changes it need not wait.
func orderOf(o *resource.Object) string {
	b, err := json.Marshal(o.Spec.(*edge.CertificateSpec).ACME)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:6])
}

// purposeOf is what the account of an authority is sealed for.
func purposeOf(a *edge.ACME) string {
	sum := sha256.Sum256([]byte(a.Directory + "\n" + strings.ToLower(a.Email)))
	return "acme-" + hex.EncodeToString(sum[:16])
}

func tenantRef(tenant string) resource.Ref {
	return resource.Ref{Kind: "Tenant", Tenant: resource.Platform, Name: tenant}
}

// order begins what is due, as far as there is room.
func (w *watch) order(ctx context.Context, o *resource.Object, now time.Time) {
	spec := o.Spec.(*edge.CertificateSpec).ACME
	ref := o.Ref()
	if w.opt.Dial == nil || w.opt.Challenges == nil || w.opt.Secrets == nil {
		return
	}
	if len(w.ordering) >= ordersAtOnce || w.ordering[o.Metadata.Tenant] {
		w.waiting = true // the end of another order looks again
		return
	}
	w.ordering[o.Metadata.Tenant] = true
	a := answer{ref: ref, order: orderOf(o)}
	names := make([]string, 0, len(spec.Names))
	for _, n := range spec.Names {
		names = append(names, strings.ToLower(n))
	}
	w.workers.Go(func() {
		a.issued, a.stored, a.err = w.get(ctx, ref, acme.Order{
			Tenant: ref.Tenant, Names: names, Directory: spec.Directory, CA: spec.CA, Email: spec.Email,
			Dial: w.opt.Dial(ref.Tenant), Challenges: w.opt.Challenges, Now: w.opt.Clock.Now,
		}, purposeOf(spec))
		a.at = w.opt.Clock.Now()
		select {
		case w.answers <- a:
		case <-ctx.Done():
		}
	})
}

// get carries an order out and seals what came of it. It runs beside Run.
func (w *watch) get(ctx context.Context, ref resource.Ref, o acme.Order, purpose string) (acme.Issued, secret.Ref, error) {
	old, kept, err := w.account(ctx, ref.Tenant, purpose)
	if err != nil {
		return acme.Issued{}, "", err
	}
	defer kept.Wipe()
	o.Account = kept.Reveal()
	out, err := acme.Get(ctx, o)
	if len(out.Account) > 0 && string(out.Account) != string(kept.Reveal()) {
		v := secret.New(out.Account)
		if _, perr := w.opt.Secrets.Put(ctx, w.actor, tenantRef(ref.Tenant), purpose, v); perr != nil {
			w.opt.Log.Warn("the account at an authority is not kept", "tenant", ref.Tenant, "err", perr)
		} else if old != "" {
			w.forget(ctx, old)
		}
		v.Wipe()
	}
	out.Account = nil
	if err != nil {
		return acme.Issued{}, "", err
	}
	v := secret.New(out.Key)
	defer v.Wipe()
	stored, err := w.opt.Secrets.Put(ctx, w.actor, ref, edge.KeyPurpose, v)
	return acme.Issued{Chain: out.Chain}, stored, err
}

// account opens the account of a tenant at an authority; "" = there is none.
func (w *watch) account(ctx context.Context, tenant, purpose string) (secret.Ref, secret.Value, error) {
	list, err := w.opt.Secrets.Owned(ctx, "Tenant")
	if err != nil {
		return "", secret.Value{}, err
	}
	for _, s := range list {
		if s.Owner == tenantRef(tenant) && s.Purpose == purpose {
			v, err := w.opt.Secrets.OpenOf(ctx, w.actor, s.Owner, s.Ref, purpose)
			return s.Ref, v, err
		}
	}
	return "", secret.Value{}, nil
}

// answered takes the end of an order in.
func (w *watch) answered(ctx context.Context, a answer) {
	delete(w.ordering, a.ref.Tenant)
	at := a.ref
	at.UID = ""
	o := w.all[at]
	if o == nil || o.Metadata.UID != a.ref.UID {
		w.gone = true // its key is swept
		w.sweep(ctx, w.opt.Clock.Now())
	} else {
		o = w.settle(ctx, o, a)
		w.all[at] = w.judge(ctx, o, w.opt.Clock.Now())
	}
	if w.waiting {
		w.look(ctx)
	}
}

// settle brings what was issued into the record, and says how it went.
func (w *watch) settle(ctx context.Context, o *resource.Object, a answer) *resource.Object {
	if a.err == nil {
		old, _ := o.State.(*edge.CertificateState)
		res, err := w.opt.Gate.Apply(ctx, gate.Request{Actor: w.actor, Reason: "issued by the authority", Changes: []gate.Change{{
			Op: gate.Act, Ref: a.ref, Verb: "issue", Revision: o.Metadata.Revision, Input: edge.IssueInput{Chain: a.issued.Chain, Key: string(a.stored), Order: a.order},
		}}})
		if err != nil {
			w.forget(ctx, a.stored)
			a.err = fmt.Errorf("keep what was issued: %w", err)
		} else {
			o = res[0].Object
			if old != nil && old.Key != "" {
				w.forget(ctx, secret.Ref(old.Key))
			}
		}
	}
	s, _ := statusOf(o, a.at)
	if old, _ := o.Status.(*edge.CertificateStatus); old != nil {
		s.Failures = old.Failures
	}
	asked := a.at.UTC()
	s.Asked, s.For = &asked, a.order
	next := asked.Add(leastPause)
	s.Failures, s.Trouble = s.Failures+1, ""
	if a.err == nil {
		s.Failures = 0
	} else {
		s.Trouble = clip(a.err.Error())
		next = asked.Add(pauseAfter(s.Failures))
		w.tell(o, map[string]string{"state": "refused", "reason": s.Trouble, "next": next.Format(time.RFC3339)})
	}
	s.Next = &next
	told, err := w.opt.Gate.SetStatus(ctx, w.actor, a.ref, s)
	if err != nil { // kept in memory, so that the authority is not asked again at once
		c := *o
		c.Status = s
		return &c
	}
	return told
}

func (w *watch) forget(ctx context.Context, ref secret.Ref) {
	if err := w.opt.Secrets.Delete(ctx, w.actor, ref); err != nil && ctx.Err() == nil {
		w.gone = true // the sweep will
	}
}

// pauseAfter is how long to wait after a number of failures in a row.
func pauseAfter(failures int) time.Duration {
	return min(longestPause, firstPause<<min(max(failures-1, 0), 16))
}
