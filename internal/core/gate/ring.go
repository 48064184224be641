package gate

import (
	"context"
	"maps"
	"slices"
	"sort"
	"sync"

	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
)

// ring keeps the last changes for watchers, bounded in number and in bytes.
// There is no queue for each watcher: who falls behind lists again, and nobody
// waits for him.
type ring struct {
	mu    sync.Mutex
	most  int     // changes
	room  int     // bytes of what they hold
	list  []moved // revisions ascending; those below start are given up
	start int
	held  int           // bytes of list[start:]
	floor uint64        // changes up to here are given up
	head  uint64        // newest revision
	wake  chan struct{} // closed at each publish
}

// moved is one change and its size in the ring, in bytes as stored.
type moved struct {
	resource.Change
	size int
}

func newRing(most, room int) *ring {
	return &ring{most: most, room: room, wake: make(chan struct{})}
}

func (r *ring) reset(head uint64) { r.floor, r.head = head, head }

// publish makes a group visible: visible runs while no reader can see half.
func (r *ring) publish(changes []moved, head uint64, visible func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range changes {
		r.list = append(r.list, c)
		r.held += c.size
	}
	for len(r.list)-r.start > r.most || r.held > r.room && r.start < len(r.list) {
		old := &r.list[r.start]
		r.floor, r.held = old.Revision, r.held-old.size
		*old = moved{}
		r.start++
	}
	if r.start > 1024 && r.start > len(r.list)/2 {
		n := copy(r.list, r.list[r.start:])
		clear(r.list[n:])
		r.list, r.start = r.list[:n], 0
	}
	r.head = head
	visible()
	close(r.wake)
	r.wake = make(chan struct{})
}

// after returns up to limit changes above rev, how far they reach, and what
// to wait for; ok is false when some are gone.
func (r *ring) after(rev uint64, limit int) (out []resource.Change, at uint64, wake <-chan struct{}, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rev < r.floor {
		return nil, 0, nil, false
	}
	live := r.list[r.start:]
	lo := sort.Search(len(live), func(i int) bool { return live[i].Revision > rev })
	for i := lo; i < len(live) && len(out) < limit; i++ {
		out = append(out, live[i].Change)
	}
	at = r.head
	if lo+len(out) < len(live) {
		at = out[len(out)-1].Revision
	}
	return out, at, r.wake, true
}

const feedBatch = 1000

// feed is one watcher. It belongs to one goroutine.
type feed struct {
	g     *Gate
	actor identity.Actor
	kinds map[string]bool
	keep  func(*resource.Object) bool
	at    uint64
	snap  *policy.Snapshot
	seen  map[resource.Ref]bool // delivered and not yet deleted; UID left out
	ready bool

	resumed bool // began at a position: what was delivered before it is not in seen
}

// Watch returns a feed of the kinds: first the records that the actor may
// read, then what moves. When policy moves the feed starts over, so that no
// record is judged by what was in force when it was first shown.
func (g *Gate) Watch(actor identity.Actor, kinds []string, keep func(*resource.Object) bool) (resource.Feed, error) {
	f := &feed{g: g, actor: actor, kinds: map[string]bool{}, keep: keep}
	for _, name := range kinds {
		k, err := g.opt.Registry.Find(name)
		if err != nil {
			return nil, err
		}
		f.kinds[k.Name] = true
	}
	return f, nil
}

// Next implements resource.Feed.
func (f *feed) Next(ctx context.Context) (resource.Batch, error) {
	for {
		s := f.g.state.Load()
		if !f.ready || !f.judge(s) {
			return f.restart(ctx, s), nil
		}
		changes, at, moved, ok := f.g.ring.after(f.at, feedBatch)
		if !ok {
			f.ready = false
			continue
		}
		if at > f.at {
			// The state that is published with these changes may carry a new policy.
			if now := f.g.state.Load(); !f.judge(now) {
				f.ready = false
				continue
			}
			shown, err := f.filter(ctx, s, changes)
			if err != nil { // the same changes come again
				return resource.Batch{At: resource.Position{Epoch: s.at.Epoch, Revision: f.at}}, err
			}
			f.at = at
			return resource.Batch{Changes: shown, At: resource.Position{Epoch: s.at.Epoch, Revision: at}, Synced: at == f.g.At().Revision}, nil
		}
		f.g.watchers.Add(1)
		select {
		case <-ctx.Done():
		case <-moved:
		}
		f.g.watchers.Add(-1)
		if ctx.Err() != nil {
			return resource.Batch{At: resource.Position{Epoch: s.at.Epoch, Revision: f.at}}, ctx.Err()
		}
	}
}

// judge reports whether what was shown still may be: nothing moved that
// decides what this watcher sees.
func (f *feed) judge(s *state) bool {
	if !s.snap.SameFor(f.snap, f.actor.Principal, slices.Collect(maps.Keys(f.kinds))...) {
		return false
	}
	f.snap = s.snap
	return true
}

func (f *feed) restart(ctx context.Context, s *state) resource.Batch {
	f.snap, f.at, f.ready, f.resumed, f.seen = s.snap, s.at.Revision, true, false, map[resource.Ref]bool{}
	b := resource.Batch{Reset: true, At: s.at, Synced: true}
	for _, k := range s.reg.All() {
		if !f.kinds[k.Name] {
			continue
		}
		s.trees[k.Name].Ascend(func(o *resource.Object) bool {
			if f.shows(s, o) {
				f.seen[key(o.Ref())] = true
				b.Changes = append(b.Changes, resource.Change{Ref: o.Ref(), Object: f.g.shown(ctx, s, f.actor, o), Revision: o.Metadata.Revision})
			}
			return true
		})
	}
	return b
}

func key(r resource.Ref) resource.Ref { r.UID = ""; return r }

func (f *feed) shows(s *state, o *resource.Object) bool {
	return (f.keep == nil || f.keep(o)) && f.g.ask(s, f.actor, o, readAction(o.Kind), "old").Allowed
}

// filter keeps what the watcher may see; what leaves his view arrives as a
// deletion, and what he never saw does not arrive at all.
func (f *feed) filter(ctx context.Context, s *state, changes []resource.Change) ([]resource.Change, error) {
	var out []resource.Change
	for _, c := range changes {
		if !f.kinds[c.Ref.Kind] {
			continue
		}
		if c.Object != nil && f.shows(s, c.Object) {
			f.seen[key(c.Ref)] = true
			c.Object = f.g.shown(ctx, s, f.actor, c.Object)
			out = append(out, c)
			continue
		}
		had := f.seen[key(c.Ref)]
		if !had {
			var err error
			if had, err = f.had(ctx, s, c); err != nil {
				return nil, err
			}
		}
		if had {
			delete(f.seen, key(c.Ref))
			out = append(out, resource.Change{Ref: c.Ref, Revision: c.Revision})
		}
	}
	return out, nil
}
