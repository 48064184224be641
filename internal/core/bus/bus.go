// Package bus carries messages from parts of Dun to whoever listens just now.
// It owns the bound on what waits for each subscriber. It is never the truth of
// anything: a message may be lost, is kept nowhere and proves nothing. What
// must arrive is a record, an event or bytes; a message says at most that it is
// worth looking there. No publisher ever waits for a subscriber.
package bus

import (
	"context"
	"sync/atomic"
)

// Bus joins publishers and subscribers by topic. All methods may be called
// from any goroutine.
type Bus interface {
	// Publish gives a copy of msg to all who are subscribed to topic now, and
	// never waits. A subscriber whose queue is full loses it. A topic or a
	// message that is too long is invalid and reaches nobody.
	Publish(topic string, msg []byte) error

	// Subscribe listens to topic until ctx ends. It has begun when it returns:
	// what is published after it arrives or is counted. A topic that is empty
	// or too long is invalid; too many topics or subscribers are exhausted.
	Subscribe(ctx context.Context, topic string) (*Subscription, error)
}

// Subscription receives the messages of one topic, those of one publisher in
// their order.
type Subscription struct {
	messages chan []byte
	dropped  atomic.Uint64
}

// Messages yields what was published; it is closed when the context of
// Subscribe has ended, after what still waited. Other subscribers read the
// same bytes: nobody changes them.
func (s *Subscription) Messages() <-chan []byte { return s.messages }

// Dropped counts the messages that this subscriber lost because its queue was
// full. Whoever sees it grow reads the truth anew.
func (s *Subscription) Dropped() uint64 { return s.dropped.Load() }

// offer never waits.
func (s *Subscription) offer(msg []byte) {
	select {
	case s.messages <- msg:
	default:
		s.dropped.Add(1)
	}
}
