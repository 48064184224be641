package gate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/gate/internal/store"
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
	changes []moved           // for watchers
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

// apply decides all changes of a request, so that a refused one leaves no
// trace, and then writes them.
func (b *build) apply(req *Request, early *plan) ([]Result, error) {
	if out, done, err := b.replay(req); done || err != nil {
		return out, err
	}
	if len(req.Changes) == 1 {
		if k, err := b.state.reg.Kind(req.Changes[0].Ref.Kind); err == nil && !k.Access() {
			return b.applyOne(req, early)
		}
	}
	return b.applyAll(req, early)
}

// plan decides one change in s.
func (b *build) plan(s *state, req *Request, i int, early *plan, rev uint64, at int64) (*plan, error) {
	c := &req.Changes[i]
	p, err := early, error(nil)
	if p.still(s, c) {
		err = b.refresh(s, req, p, rev, at)
	} else {
		p, err = b.g.decide(s, req, c, rev, at)
	}
	if err != nil {
		return nil, Numbered(err, i, len(req.Changes))
	}
	p.rev, p.at = rev, at
	return p, nil
}

// applyOne is applyAll for what most requests are, one change that moves no
// policy: it is done in place and undone when it is refused, since a fork costs
// more than the change.
func (b *build) applyOne(req *Request, early *plan) (out []Result, err error) {
	rev, at := b.next()
	p, err := b.plan(b.state, req, 0, early, rev, at)
	if err != nil {
		return nil, err
	}
	plans := []*plan{p}
	if err := b.assent(b.view(), req, plans); err != nil {
		return nil, err
	}
	if !p.unchanged {
		done := false
		defer func() { // also when it panics
			if !done {
				b.state.undo(p)
			}
		}()
		b.state.perform(p)
		if err := b.g.related(b.state, req.Actor, plans); err != nil {
			return nil, err
		}
		out, err = b.record(b.state, req, plans)
		done = err == nil
		return out, err
	}
	return b.record(b.state, req, plans)
}

// applyAll decides on a fork.
func (b *build) applyAll(req *Request, early *plan) ([]Result, error) {
	work := b.state.fork()
	rev, at := b.next()
	var plans []*plan
	access := false
	for i := range req.Changes {
		p, err := b.plan(work, req, i, early, rev, at)
		if err != nil {
			return nil, err
		}
		plans = append(plans, p)
		if p.unchanged {
			continue
		}
		if p.kind.Access() {
			access = true
			if err := b.repolicy(work, p); err != nil {
				return nil, Numbered(err, i, len(req.Changes))
			}
			work.ruled = rev
		} else {
			work.perform(p)
		}
		rev, at = rev+1, at+1
	}
	if err := b.g.related(work, req.Actor, plans); err != nil {
		return nil, err
	}
	if err := b.g.contains(b.state, work, req.Actor, plans, true); err != nil {
		return nil, err
	}
	if err := b.assent(b.view(), req, plans); err != nil {
		return nil, err
	}
	if err := b.g.contains(b.state, work, req.Actor, plans, false); err != nil {
		return nil, err
	}
	out, err := b.record(work, req, plans)
	b.access = b.access || err == nil && access
	return out, err
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
// policy that cannot be compiled is refused here, and s is thrown away.
func (b *build) repolicy(s *state, p *plan) error {
	s.perform(p)
	subject := p.next
	if subject == nil {
		subject = p.old
	}
	snap, err := b.g.compiler.Update(s.snap, resource.Change{Ref: subject.Ref(), Object: p.next})
	if err != nil {
		return err
	}
	s.snap = snap
	return nil
}

func (s *state) perform(p *plan) {
	if p.next == nil {
		s.remove(p.old)
	} else {
		s.put(p.next)
	}
}

// undo takes back what perform did.
func (s *state) undo(p *plan) {
	if p.old == nil {
		s.remove(p.next)
	} else {
		s.put(p.old)
	}
}

// record turns plans into rows and leaves.
func (b *build) record(work *state, req *Request, plans []*plan) ([]Result, error) {
	var out []Result
	reply := store.Reply{Actor: req.Actor.String(), Key: req.IdempotencyKey, Epoch: b.g.epoch, Hash: req.Hash[:]}
	for _, p := range plans {
		r, err := b.one(req, p)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
		reply.Results = append(reply.Results, store.Outcome{Revision: r.Revision, Unchanged: r.Unchanged})
	}
	work.at, work.time, work.weight = b.state.at, b.state.time, b.state.weight
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
	if err := b.weigh(len(data) - len(old)); err != nil {
		return Result{}, err
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
	if p.kind.Access() && (p.next == nil || p.kind.Disabled(p.next)) {
		b.signOut(subject.Ref())
	}
	b.group.Changes = append(b.group.Changes, c)
	b.state.at.Revision, b.state.time = rev, at
	b.pending[rev] = data
	b.changes = append(b.changes, moved{resource.Change{Ref: subject.Ref(), Object: p.next, Revision: rev}, len(data)})
	return Result{Ref: subject.Ref(), Object: p.next, Revision: rev, Created: p.old == nil}, nil
}

// moved reports whether the group gave out a revision: it is never given again,
// even when the status that took it went with its record.
func (b *build) moved() bool { return b.state.at.Revision != b.g.At().Revision }

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

// mark and reset undo what a refused member appended.
type mark struct {
	group store.Group // slices only grow: their lengths say how far
	watch int
	tree  *audit.Tree
	state *state
	at    resource.Position
	time  int64

	weight int64
}

func (b *build) mark() mark {
	return mark{b.group, len(b.changes), b.tree.Clone(), b.state, b.state.at, b.state.time, b.state.weight}
}

func (b *build) reset(m mark) {
	for key, i := range b.replies {
		if i >= len(m.group.Replies) {
			delete(b.replies, key)
		}
	}
	b.group, b.changes, b.tree = m.group, b.changes[:m.watch], m.tree
	b.state, b.state.at, b.state.time, b.state.weight = m.state, m.at, m.time, m.weight
}

// now is the time of a leaf that changes no record; it takes its place in the
// cell's one order of times.
func (b *build) now() int64 {
	b.state.time = max(b.g.opt.Now().UnixMicro(), b.state.time+1)
	return b.state.time
}
