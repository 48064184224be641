package accesskeys

import (
	"context"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
	"github.com/dun-sec/dun/internal/kinds/access"
)

const (
	sweepEvery = time.Minute
	// tooYoung is how old a secret is before it is forgotten for want of a record
	// that names it: it is sealed before the record says so.
	tooYoung   = time.Minute
	lastWithin = 3 * time.Second // of telling uses at the end
)

// Run tells when keys were used and forgets secrets whose record went, once a
// minute, until ctx ends.
func (k *Keys) Run(ctx context.Context) {
	for ctx.Err() == nil {
		k.sweep(ctx)
		t := k.opt.Clock.Timer(sweepEvery)
		select {
		case <-ctx.Done():
		case <-t.C():
		}
		t.Stop()
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWithin)
	defer cancel()
	k.tell(end)
	k.ring.keep(k.opt.Clock, nil)
}

func (k *Keys) sweep(ctx context.Context) {
	k.tell(ctx)
	owned, err := k.opt.Secrets.Owned(ctx, "AccessKey")
	if err != nil {
		k.opt.Log.Error("the secrets of access keys are not looked through", "err", err)
		return
	}
	wanted := map[secret.Ref]bool{}
	for _, s := range owned {
		o, err := k.opt.Gate.Get(ctx, k.me, s.Owner)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return
		}
		if err == nil && o.Metadata.UID == s.Owner.UID && o.State.(*access.AccessKeyState).Secret == string(s.Ref) {
			wanted[s.Ref] = k.live(o)
			continue
		}
		if k.opt.Clock.Now().Sub(s.Created) < tooYoung {
			continue
		}
		if err := k.opt.Secrets.Delete(ctx, k.me, s.Ref); err != nil && !fault.Is(err, fault.NotFound) {
			k.opt.Log.Error("the secret of an access key that is gone stays", "err", err)
		}
	}
	k.ring.keep(k.opt.Clock, wanted)
}

// tell reports the last uses.
func (k *Keys) tell(ctx context.Context) {
	k.mu.Lock()
	uses := k.uses
	k.uses = map[resource.Ref]use{}
	k.mu.Unlock()
	for ref, u := range uses {
		at := u.at.Truncate(time.Minute)
		if _, err := k.opt.Gate.SetStatus(ctx, identity.Service(access.KeyService), ref, &access.AccessKeyStatus{Used: &at, Source: u.source}); err != nil && !fault.Is(err, fault.NotFound) {
			k.opt.Log.Error("the use of an access key is not told", "err", err)
		}
	}
}
