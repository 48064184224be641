package verdicts

import (
	"bytes"
	"cmp"
	"container/heap"
	"crypto/sha256"
	"time"
)

// sweepEvery is how often a full set looks for dead entries before it lets a
// living one go, in time that passed: each look costs as much as the set is
// long, and an attacker can keep a set full.
const sweepEvery = time.Second

type name struct{ kind, key string }

// entry is a verdict as it is held. Nothing but index changes once it is in
// the set, so that readers need no lock to read it.
type entry struct {
	name
	rule, node string
	until      int64         // µs of Unix
	end        time.Duration // of Passed
	sum        [32]byte      // of all that peers share
	place      uint16        // in the digests; of the name alone
	index      int           // in the queue; under the lock
}

func newEntry(v Verdict, until int64) *entry {
	e := &entry{name: name{v.Kind, v.Key}, rule: v.Rule, node: v.Node, until: until}
	buf := make([]byte, 0, maxEntry)
	// The length of the kind keeps "a"+"bc" and "ab"+"c" apart.
	id := sha256.Sum256(append(append(append(buf, byte(len(e.kind))), e.kind...), e.key...))
	e.place = uint16(id[0])*parts + uint16(id[1])%parts
	e.sum = sha256.Sum256(appendEntry(buf, e))
	return e
}

func (e *entry) verdict() Verdict {
	return Verdict{Kind: e.kind, Key: e.key, Until: time.UnixMicro(e.until).UTC(), Rule: e.rule, Node: e.node}
}

// moment is what both sides of the clock say.
type moment struct {
	wall   int64 // µs of Unix
	passed time.Duration
}

func (s *Set) moment() moment {
	return moment{s.clock.Now().UnixMicro(), s.clock.Passed()}
}

func (e *entry) lives(at moment) bool { return at.wall < e.until && at.passed < e.end }

// beats is a total order, so that all nodes keep the same one.
func (e *entry) beats(old *entry) bool {
	return cmp.Or(cmp.Compare(e.until, old.until), cmp.Compare(old.node, e.node), cmp.Compare(old.rule, e.rule)) > 0
}

// take puts e in, and reports whether it is in. Its until is at most MaxLife
// ahead. The lock is held.
func (s *Set) take(e *entry, at moment) bool {
	for len(s.queue) > 0 && s.queue[0].until <= at.wall {
		s.drop()
	}
	if e.until <= at.wall {
		return false
	}
	e.end = at.passed + time.Duration(e.until-at.wall)*time.Microsecond
	if old := s.held[e.name]; old != nil {
		// One whose time has passed on a wall that went back stays as a mark:
		// a peer that is a moment behind must not bring the same one to life.
		if old.lives(at) && !e.beats(old) || e.sum == old.sum {
			return false
		}
		e.index = old.index
		s.held[e.name], s.queue[e.index] = e, e
		heap.Fix(&s.queue, e.index)
		return true
	}
	if len(s.queue) >= s.max && at.passed-s.swept >= sweepEvery {
		s.sweep(at)
	}
	s.held[e.name] = e
	heap.Push(&s.queue, e)
	if len(s.queue) <= s.max {
		return true
	}
	s.evicted.Add(1)
	return s.drop() != e
}

// drop lets the first of the queue go.
func (s *Set) drop() *entry {
	e := heap.Pop(&s.queue).(*entry)
	delete(s.held, e.name)
	return e
}

// sweep lets all the dead go, marks too: the living need the room.
func (s *Set) sweep(at moment) {
	s.swept = at.passed
	kept := s.queue[:0]
	for _, e := range s.queue {
		if e.lives(at) {
			e.index = len(kept)
			kept = append(kept, e)
		} else {
			delete(s.held, e.name)
		}
	}
	clear(s.queue[len(kept):])
	s.queue = kept
	heap.Init(&s.queue)
}

// queue is a heap by end, then by sum: full sets that know the same verdicts
// let the same ones go.
type queue []*entry

// Len implements heap.Interface.
func (q queue) Len() int { return len(q) }

// Less implements heap.Interface.
func (q queue) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(q[i].until, q[j].until), bytes.Compare(q[i].sum[:], q[j].sum[:])) < 0
}

// Swap implements heap.Interface.
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	e := x.(*entry)
	e.index = len(*q)
	*q = append(*q, e)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return e
}
