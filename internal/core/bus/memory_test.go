package bus

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/dun-sec/dun/internal/core/fault"
)

func subscribe(t *testing.T, b Bus, ctx context.Context, topic string) *Subscription {
	t.Helper()
	s, err := b.Subscribe(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func publish(t *testing.T, b Bus, topic, msg string) {
	t.Helper()
	if err := b.Publish(topic, []byte(msg)); err != nil {
		t.Fatal(err)
	}
}

func TestAMessageReachesAllOfItsTopic(t *testing.T) {
	m := NewMemory(Options{})
	publish(t, m, "a", "before")
	s1, s2 := subscribe(t, m, t.Context(), "a"), subscribe(t, m, t.Context(), "a")
	other := subscribe(t, m, t.Context(), "b")
	buf := []byte("one")
	if err := m.Publish("a", buf); err != nil {
		t.Fatal(err)
	}
	copy(buf, "xxx") // the publisher's buffer is its own again
	publish(t, m, "a", "two")
	for _, s := range []*Subscription{s1, s2} {
		if got := string(<-s.Messages()) + string(<-s.Messages()); got != "onetwo" || s.Dropped() != 0 {
			t.Errorf("got %q, dropped %d", got, s.Dropped())
		}
	}
	if len(other.Messages()) != 0 {
		t.Error("a message of another topic arrived")
	}
}

func TestAFullQueueLosesAndCountsAndNobodyWaits(t *testing.T) {
	m := NewMemory(Options{Queue: 3})
	slow, quick := subscribe(t, m, t.Context(), "a"), subscribe(t, m, t.Context(), "a")
	for i := range 10 {
		publish(t, m, "a", fmt.Sprint(i)) // would hang here if it waited
		if got := string(<-quick.Messages()); got != fmt.Sprint(i) {
			t.Errorf("got %q", got)
		}
	}
	if slow.Dropped() != 7 || len(slow.Messages()) != 3 || quick.Dropped() != 0 {
		t.Errorf("slow lost %d, quick %d", slow.Dropped(), quick.Dropped())
	}
}

func TestASubscriptionEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(Options{})
		ctx, cancel := context.WithCancel(t.Context())
		s, stays := subscribe(t, m, ctx, "a"), subscribe(t, m, t.Context(), "a")
		only := subscribe(t, m, ctx, "b")
		publish(t, m, "a", "waits")
		cancel()
		synctest.Wait()
		publish(t, m, "a", "late")
		publish(t, m, "b", "late")
		if got, open := <-s.Messages(); !open || string(got) != "waits" {
			t.Errorf("what waited is lost: %q", got)
		}
		if _, open := <-s.Messages(); open {
			t.Error("got a message after the end")
		}
		if _, open := <-only.Messages(); open {
			t.Error("got a message after the end")
		}
		if len(stays.Messages()) != 2 || len(m.topics) != 1 || len(m.topics["a"]) != 1 {
			t.Errorf("another subscriber has %d messages; topics %v", len(stays.Messages()), m.topics)
		}
		ended := subscribe(t, m, ctx, "c")
		synctest.Wait()
		if _, open := <-ended.Messages(); open || len(m.topics) != 1 {
			t.Error("a context that has ended still listens")
		}
	})
}

func TestEverythingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(Options{Message: 4, Topics: 2, Subscribers: 2})
		ctx, cancel := context.WithCancel(t.Context())
		s := subscribe(t, m, ctx, "a")
		subscribe(t, m, ctx, "a")
		subscribe(t, m, ctx, "b")
		long := strings.Repeat("x", MaxTopic+1)
		for _, topic := range []string{"", long} {
			if _, err := m.Subscribe(ctx, topic); !fault.Is(err, fault.Invalid) {
				t.Errorf("topic %q: %v", topic, err)
			}
			if err := m.Publish(topic, nil); !fault.Is(err, fault.Invalid) {
				t.Errorf("topic %q: %v", topic, err)
			}
		}
		if err := m.Publish("a", []byte("12345")); !fault.Is(err, fault.Invalid) || len(s.Messages()) != 0 {
			t.Errorf("too long a message: %v", err)
		}
		publish(t, m, "a", "1234")
		for _, topic := range []string{"a", "c"} {
			if _, err := m.Subscribe(ctx, topic); !fault.Is(err, fault.Exhausted) {
				t.Errorf("one too many of %q: %v", topic, err)
			}
		}
		for i := range 100 {
			publish(t, m, fmt.Sprint("nobody", i), "")
		}
		if len(m.topics) != 2 {
			t.Errorf("publishing made %d topics", len(m.topics))
		}
		cancel()
		synctest.Wait()
		subscribe(t, m, t.Context(), "c") // there is room again
	})
}

// TestManyPublishWhileOthersComeAndGo is for the race detector: every message
// of a publisher arrives in order or is counted.
func TestManyPublishWhileOthersComeAndGo(t *testing.T) {
	const publishers, each = 4, 500
	m := NewMemory(Options{Queue: 8, Subscribers: 100})
	ctx, cancel := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	for range 3 {
		s := subscribe(t, m, ctx, "a")
		readers.Go(func() {
			var last [publishers]uint32
			got := 0
			for msg := range s.Messages() {
				who, n := msg[0], binary.BigEndian.Uint32(msg[1:])
				if n <= last[who] {
					t.Errorf("message %d of %d after %d", n, who, last[who])
				}
				last[who] = n
				got++
			}
			if uint64(got)+s.Dropped() != publishers*each {
				t.Errorf("got %d, lost %d", got, s.Dropped())
			}
		})
	}
	for w := range publishers {
		writers.Go(func() {
			for i := range each {
				msg := binary.BigEndian.AppendUint32([]byte{byte(w)}, uint32(i+1))
				if err := m.Publish("a", msg); err != nil {
					t.Error(err)
				}
				clear(msg)
			}
		})
		writers.Go(func() {
			for range 50 {
				ctx, cancel := context.WithCancel(ctx)
				s, err := m.Subscribe(ctx, "a")
				cancel()
				if err != nil {
					t.Error(err)
					return
				}
				for msg := range s.Messages() {
					if bytes.Equal(msg, make([]byte, 5)) {
						t.Error("a message changed after it was published")
					}
				}
			}
		})
	}
	writers.Wait()
	cancel()
	readers.Wait()
}
