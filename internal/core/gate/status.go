package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate/internal/store"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
)

// SetStatus reports the status of a record: what may be lost and computed anew
// (design section 2). The kind's one owner alone may report it, and policy has
// to allow that too. It takes a revision, so that watchers see one order, but
// makes no leaf and no history and conflicts with nobody. What says nothing
// new costs nothing. A ref with a UID holds only for that record.
func (g *Gate) SetStatus(ctx context.Context, a identity.Actor, ref resource.Ref, status any) (*resource.Object, error) {
	k, err := g.opt.Registry.Kind(ref.Kind)
	if err != nil {
		return nil, err
	}
	n, err := node(status)
	if err != nil {
		return nil, err
	}
	if n == nil {
		return nil, fault.New(fault.Invalid, "status: is required", "status:为必填项")
	}
	next, err := k.DecodeStatus(n)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(next)
	if err != nil {
		return nil, fmt.Errorf("encode a status of %s: %w", ref, err)
	}
	if len(data) > resource.MaxObject {
		return nil, fault.New(fault.Invalid, "the status has %d bytes; at most %d are kept", "status 有 %d 字节,上限为 %d", len(data), resource.MaxObject)
	}
	var out *resource.Object
	m := &member{ctx: ctx, done: make(chan struct{})}
	m.run = func(b *build) (err error) {
		out, err = b.setStatus(a, k, ref, next, data)
		return err
	}
	if err := g.submit(ctx, m); err != nil {
		return nil, err
	}
	return g.shown(ctx, g.state.Load(), a, out), nil
}

func (b *build) setStatus(a identity.Actor, k *resource.Kind, ref resource.Ref, next any, data []byte) (*resource.Object, error) {
	g := b.g
	old := b.state.get(k.Name, ref.Tenant, ref.Name)
	if old == nil || ref.UID != "" && old.Metadata.UID != ref.UID {
		return nil, notFound(key(ref))
	}
	if !g.ask(b.state, a, old, readAction(k.Name), "old").Allowed {
		return nil, g.hidden(a, ref, policy.Status)
	}
	if d := g.ask(b.state, a, old, actionName(k, policy.Status), "old"); !d.Allowed || a.Principal != identity.Service(k.StatusOwner).Principal {
		return nil, g.forbidden(a, k, ref, policy.Status, d)
	}
	had, err := json.Marshal(old.Status)
	if err != nil || old.Status != nil && bytes.Equal(had, data) {
		return old, err
	}
	if err := b.weigh(len(data) - len(had)); err != nil {
		return nil, err
	}
	o := *old
	o.Status = next
	rev, at := b.next()
	o.Metadata.StatusRevision = rev
	b.state.put(&o) // nothing refuses from here on
	b.state.at.Revision, b.state.time = rev, at
	b.group.Statuses = append(b.group.Statuses, store.Status{
		Kind: k.Name, Tenant: o.Metadata.Tenant, Name: o.Metadata.Name, UID: o.Metadata.UID, Revision: rev, Data: data,
	})
	b.changes = append(b.changes, moved{resource.Change{Ref: o.Ref(), Object: &o, Revision: rev}, len(data)})
	return &o, nil
}

// coalesce keeps the last status of each record that the group leaves.
func (b *build) coalesce() []store.Status {
	list := b.group.Statuses
	last := map[resource.Ref]int{}
	for i, s := range list {
		last[resource.Ref{Kind: s.Kind, Tenant: s.Tenant, Name: s.Name}] = i
	}
	var out []store.Status
	for i, s := range list {
		o := b.state.get(s.Kind, s.Tenant, s.Name)
		if o != nil && o.Metadata.UID == s.UID && last[resource.Ref{Kind: s.Kind, Tenant: s.Tenant, Name: s.Name}] == i {
			out = append(out, s)
		}
	}
	return out
}

// loadStatuses puts the kept statuses to their records. One of a record that
// was made anew under the name is left out.
func (s *state) loadStatuses(list []store.Status) error {
	for _, x := range list {
		old := s.get(x.Kind, x.Tenant, x.Name)
		if old == nil || old.Metadata.UID != x.UID {
			continue
		}
		k, err := s.reg.Kind(x.Kind)
		if err != nil {
			return err
		}
		o := *old
		if o.Status, err = k.LoadStatus(x.Data); err != nil {
			return err
		}
		o.Metadata.StatusRevision = x.Revision
		s.weight += int64(len(x.Data))
		s.put(&o)
	}
	return nil
}
