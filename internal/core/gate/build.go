package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate/internal/store"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// build is one group while it grows. It lives in the writer alone.
type build struct {
	g       *Gate
	ctx     context.Context
	state   *state // the fork
	tree    *audit.Tree
	group   store.Group
	pending map[uint64][]byte // stored bytes of the group's own revisions
	replies map[string]int    // index into group.Replies by actor and key
	changes []resource.Change // for watchers
	access  bool              // policy moved: the group ends
}

func (g *Gate) begin(ctx context.Context) *build {
	s := g.state.Load().fork()
	b := &build{g: g, ctx: ctx, state: s, tree: g.tree.Clone(), pending: map[uint64][]byte{}, replies: map[string]int{}}
	b.group.FirstHash = tlog.StoredHashCount(b.tree.Size())
	return b
}

// next is the revision and time (µs) that the next change gets: time of a
// revision = max(now, last + 1 µs).
func (b *build) next() (uint64, int64) {
	return b.state.at.Revision + 1, max(b.g.opt.Now().UnixMicro(), b.state.time+1)
}

// apply decides all changes of a request on a fork of their own, so that a
// refused one leaves no trace, and then writes them.
func (b *build) apply(req *Request, early *plan) ([]Result, error) {
	if out, done, err := b.replay(req); done || err != nil {
		return out, err
	}
	work := b.state.fork()
	rev, at := b.next()
	var plans []*plan
	for i := range req.Changes {
		c := &req.Changes[i]
		p := early
		var err error
		if p.still(work, c) {
			err = b.refresh(work, req, p, rev, at)
		} else {
			p, err = b.g.decide(work, req, c, rev, at)
		}
		if err != nil {
			return nil, err
		}
		plans = append(plans, p)
		if p.unchanged {
			continue
		}
		if p.kind.Access() {
			if err := b.repolicy(work, p); err != nil {
				return nil, err
			}
		} else {
			work.perform(p)
		}
		p.rev, p.at = rev, at
		rev, at = rev+1, at+1
	}
	return b.record(work, req, plans)
}

// refresh completes a plan that was made beside the writer.
func (b *build) refresh(s *state, req *Request, p *plan, rev uint64, at int64) error {
	if p.unchanged || p.next == nil {
		return b.g.meaning(s, req, p, rev, at)
	}
	m := &p.next.Metadata
	m.Revision, m.Updated = rev, time.UnixMicro(at).UTC()
	if p.old == nil {
		m.Created = m.Updated
	}
	return placed(s, p)
}

// repolicy performs a change that moves policy and compiles what follows; a
// policy that cannot be compiled is refused here.
func (b *build) repolicy(s *state, p *plan) error {
	trial := s.fork()
	trial.perform(p)
	snap, err := b.g.compiler.Compile(trial.access())
	if err != nil {
		return err
	}
	s.perform(p)
	s.snap, b.access = snap, true
	return nil
}

func (s *state) perform(p *plan) {
	if p.next == nil {
		s.remove(p.old)
	} else {
		s.put(p.next)
	}
}

// record turns plans into rows and leaves.
func (b *build) record(work *state, req *Request, plans []*plan) ([]Result, error) {
	mark := b.mark()
	var out []Result
	reply := store.Reply{Actor: req.Actor.String(), Key: req.IdempotencyKey, Epoch: b.g.epoch, Hash: req.Hash[:]}
	for _, p := range plans {
		r, err := b.one(req, p)
		if err != nil {
			b.reset(mark)
			return nil, err
		}
		out = append(out, r)
		reply.Revisions = append(reply.Revisions, r.Revision)
	}
	work.at, work.time = b.state.at, b.state.time
	b.state = work
	if req.IdempotencyKey != "" {
		reply.Time = b.g.opt.Now().UnixMicro()
		b.replies[reply.Actor+"\x00"+reply.Key] = len(b.group.Replies)
		b.group.Replies = append(b.group.Replies, reply)
	}
	return out, nil
}

func (b *build) one(req *Request, p *plan) (Result, error) {
	if p.unchanged {
		return Result{Ref: p.old.Ref(), Object: p.old, Revision: p.old.Metadata.Revision, Unchanged: true}, nil
	}
	rev, at := p.rev, p.at
	c := store.Change{Revision: rev, Time: at, Action: p.action, Actor: req.Actor.String(), Request: req.Actor.Request, Seq: uint64(b.tree.Size())}
	subject := p.next
	var old, data []byte
	var oldRev uint64
	if p.next != nil {
		stored, err := p.next.Stored()
		if err != nil {
			return Result{}, err
		}
		data = stored
	} else {
		subject = p.old
	}
	c.Data = data
	c.Kind, c.Tenant, c.Name, c.UID = subject.Kind, subject.Metadata.Tenant, subject.Metadata.Name, subject.Metadata.UID
	if p.old != nil {
		oldRev = p.old.Metadata.Revision
		var err error
		if old, err = b.bytesAt(oldRev); err != nil {
			return Result{}, err
		}
	}
	newRev := rev
	if p.next == nil {
		newRev = 0
	}
	err := b.leaf(fact{
		class: audit.Change, kind: c.Kind, action: p.action, revision: rev, time: at, actor: req.Actor, tenant: c.Tenant, name: c.Name,
		reason: req.Reason, policies: p.policies, old: old, next: data, oldRev: oldRev, newRev: newRev,
	})
	if err != nil {
		return Result{}, err
	}
	b.group.Changes = append(b.group.Changes, c)
	b.state.at.Revision, b.state.time = rev, at
	b.pending[rev] = data
	b.changes = append(b.changes, resource.Change{Ref: subject.Ref(), Object: p.next, Revision: rev})
	return Result{Ref: subject.Ref(), Object: p.next, Revision: rev, Created: p.old == nil}, nil
}

// bytesAt reads the exact bytes of a revision: the group's own or the store's.
func (b *build) bytesAt(rev uint64) ([]byte, error) {
	if data, ok := b.pending[rev]; ok {
		return data, nil
	}
	c, err := b.g.store.Change(b.ctx, rev)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("the history of revision %d is gone", rev)
	}
	return c.Data, err
}

// fact is what one leaf says.
type fact struct {
	class          audit.Class
	kind, action   string
	revision       uint64
	time           int64
	actor          identity.Actor
	tenant, name   string
	reason         string
	policies       []string
	old, next      []byte
	oldRev, newRev uint64
}

// leafContext is the context field of a leaf (formats.md, Leaf).
type leafContext struct {
	Request       string   `json:"request"`
	ChangeRequest string   `json:"changeRequest"`
	Policies      []string `json:"policies"`
	Source        string   `json:"source"`
	Door          string   `json:"door"`
	Node          string   `json:"node"`
	Epoch         string   `json:"epoch"`
	Founding      bool     `json:"founding"`
}

func (b *build) leaf(f fact) error {
	c := leafContext{
		Request: f.actor.Request, Policies: f.policies, Source: f.actor.Source, Door: f.actor.Door,
		Node: b.g.opt.Node, Epoch: b.g.epoch, Founding: b.g.founding.Load(),
	}
	context, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode a leaf's context: %w", err)
	}
	v := audit.Values{
		audit.FieldTenant: []byte(f.tenant), audit.FieldActor: []byte(f.actor.String()), audit.FieldName: present(f.name),
		audit.FieldOld: f.old, audit.FieldNew: f.next, audit.FieldReason: present(f.reason), audit.FieldContext: context,
	}
	salts := audit.NewSalts()
	leaf := audit.Leaf{
		Seq: uint64(b.tree.Size()), Revision: f.revision, Time: time.UnixMicro(f.time).UTC(), Class: f.class,
		Kind: f.kind, Action: f.action, Commitments: audit.CommitAll(salts, v),
	}
	body, err := leaf.MarshalBinary()
	if err != nil {
		return fmt.Errorf("encode a leaf: %w", err)
	}
	b.group.Leaves = append(b.group.Leaves, store.Leaf{
		Seq: leaf.Seq, Body: body, Salts: joinSalts(salts), Tenant: v[audit.FieldTenant], Actor: v[audit.FieldActor], Name: v[audit.FieldName],
		Old: f.oldRev, New: f.newRev, Reason: v[audit.FieldReason], Context: context,
	})
	b.group.Hashes = append(b.group.Hashes, b.tree.Append(audit.LeafHash(body))...)
	return nil
}

func present(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

func joinSalts(s audit.Salts) []byte {
	out := make([]byte, 0, audit.Fields*audit.SaltSize)
	for _, x := range s {
		out = append(out, x...)
	}
	return out
}

// mark and reset undo what a refused member appended.
type mark struct {
	changes, leaves, hashes, watch int
	tree                           *audit.Tree
	at                             resource.Position
	time                           int64
}

func (b *build) mark() mark {
	return mark{len(b.group.Changes), len(b.group.Leaves), len(b.group.Hashes), len(b.changes), b.tree.Clone(), b.state.at, b.state.time}
}

func (b *build) reset(m mark) {
	b.group.Changes, b.group.Leaves, b.group.Hashes = b.group.Changes[:m.changes], b.group.Leaves[:m.leaves], b.group.Hashes[:m.hashes]
	b.changes, b.tree, b.state.at, b.state.time = b.changes[:m.watch], m.tree, m.at, m.time
}

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
	for _, rev := range r.Revisions {
		res, err := b.remembered(rev)
		if err != nil {
			return nil, false, err
		}
		out = append(out, res)
	}
	return out, true, nil
}

func (b *build) remembered(rev uint64) (Result, error) {
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
	r := Result{Ref: resource.Ref{Kind: c.Kind, Tenant: c.Tenant, Name: c.Name, UID: c.UID}, Revision: rev, Replayed: true, Created: strings.EqualFold(c.Action, "create")}
	if c.Data == nil {
		return r, nil
	}
	o, err := b.g.opt.Registry.Load(c.Data)
	r.Object = o
	return r, err
}
