package gate

import (
	"errors"
	"fmt"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate/internal/store"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
)

// replay answers from memory of an idempotency key.
func (b *build) replay(req *Request) (out []Result, done bool, err error) {
	if req.IdempotencyKey == "" {
		return nil, false, nil
	}
	actor := req.Actor.String()
	var r store.Reply
	if i, ok := b.replies[actor+"\x00"+req.IdempotencyKey]; ok {
		r = b.group.Replies[i]
	} else if r, err = b.g.store.Reply(b.ctx, actor, req.IdempotencyKey); errors.Is(err, store.ErrNotFound) {
		return nil, false, nil
	} else if err != nil {
		return nil, false, err
	}
	age := b.g.opt.Now().Sub(time.UnixMicro(r.Time))
	if r.Epoch != b.g.epoch || age > replyLife {
		return nil, false, nil
	}
	if string(r.Hash) != string(req.Hash[:]) {
		return nil, false, fault.New(fault.Invalid, "this Idempotency-Key was used for another request", "该 Idempotency-Key 已用于另一个请求")
	}
	for _, o := range r.Results {
		res, err := b.remembered(req.Actor, o)
		if err != nil {
			return nil, false, err
		}
		out = append(out, res)
	}
	return out, true, nil
}

// remembered makes an answer anew. Who may no longer read the record gets
// what he would get without the key.
func (b *build) remembered(a identity.Actor, o store.Outcome) (Result, error) {
	rev := o.Revision
	var c store.Change
	for i := range b.group.Changes {
		if b.group.Changes[i].Revision == rev {
			c = b.group.Changes[i]
		}
	}
	if c.Revision == 0 {
		var err error
		if c, err = b.g.store.Change(b.ctx, rev); err != nil {
			return Result{}, fmt.Errorf("read a remembered reply: %w", err)
		}
	}
	r := Result{
		Ref: resource.Ref{Kind: c.Kind, Tenant: c.Tenant, Name: c.Name, UID: c.UID}, Revision: rev,
		Created: c.Action == policy.Create && !o.Unchanged, Unchanged: o.Unchanged, Replayed: true,
	}
	if c.Data == nil {
		return r, nil
	}
	var err error
	if r.Object, err = b.g.opt.Registry.Load(c.Data); err != nil {
		return Result{}, err
	}
	if !b.g.ask(b.state, a, r.Object, readAction(c.Kind), "old").Allowed {
		return Result{}, b.g.hidden(a, r.Ref, policy.Read)
	}
	return r, nil
}
