package events

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync/atomic"
)

// followBuffer is the number of events that a follower may be behind.
const followBuffer = 256

// Follower receives events as they become searchable.
type Follower struct {
	ctx     context.Context // ends the subscription, as its owner asked
	log     *Log
	filter  *filter
	events  chan Event
	dropped atomic.Uint64
}

// Follow subscribes to events that are added from now on, until ctx ends or
// the log is closed. Only the tenants, kind, part, request, action and object
// of q count. The subscription begins before Follow returns, so that a search
// after it misses nothing (an event may be in both: compare ids). A follower
// that is more than 256 events behind loses events and never slows the writer.
func (l *Log) Follow(ctx context.Context, q Query) (*Follower, error) {
	f, err := newFilter(Query{Tenants: q.Tenants, Kind: q.Kind, Part: q.Part, Request: q.Request, Action: q.Action, Object: q.Object, Keep: q.Keep})
	if err != nil {
		return nil, err
	}
	s := &Follower{ctx: ctx, log: l, filter: f, events: make(chan Event, followBuffer)}
	l.followMu.Lock()
	l.followers[s] = struct{}{}
	l.followMu.Unlock()
	context.AfterFunc(ctx, func() {
		l.followMu.Lock()
		delete(l.followers, s)
		l.followMu.Unlock()
	})
	return s, nil
}

// All yields the events in order, until the context of Follow ends or the log
// is closed and everything was yielded. Use it from one goroutine.
func (s *Follower) All() iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for s.ctx.Err() == nil {
			select {
			case e := <-s.events:
				if !yield(e) {
					return
				}
				continue
			default:
			}
			// Nothing waits: only now may the end of the log end the sequence.
			select {
			case e := <-s.events:
				if !yield(e) {
					return
				}
			case <-s.ctx.Done():
				return
			case <-s.log.done:
				if len(s.events) == 0 {
					return
				}
			}
		}
	}
}

// Dropped counts the events that this follower lost because it was slow.
func (s *Follower) Dropped() uint64 { return s.dropped.Load() }

// publish hands written events to the followers. Each gets a copy of its own.
func (l *Log) publish(events []Event) {
	l.followMu.Lock()
	defer l.followMu.Unlock()
	for s := range l.followers {
		for i := range events {
			if !s.filter.match(&events[i]) {
				continue
			}
			e := events[i]
			e.Rules, e.Attributes = slices.Clone(e.Rules), maps.Clone(e.Attributes)
			select {
			case s.events <- e:
			default:
				s.dropped.Add(1)
			}
		}
	}
}
