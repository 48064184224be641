package bus

import (
	"bytes"
	"context"
	"sync"

	"github.com/dun-sec/dun/internal/core/fault"
)

// MaxTopic is the longest name of a topic in bytes.
const MaxTopic = 128

// Options bound a bus in memory; what is zero or less takes the default.
type Options struct {
	Queue       int // messages that wait for one subscriber; 256
	Message     int // bytes of a message; 64 KiB
	Topics      int // with a subscriber; 1024
	Subscribers int // of one topic; 64
}

// Memory is a Bus within one process. A topic exists while it has a subscriber.
type Memory struct {
	o Options

	mu     sync.RWMutex
	topics map[string]map[*Subscription]struct{}
}

// NewMemory is a bus without subscribers.
func NewMemory(o Options) *Memory {
	for at, def := range map[*int]int{&o.Queue: 256, &o.Message: 64 << 10, &o.Topics: 1024, &o.Subscribers: 64} {
		if *at <= 0 {
			*at = def
		}
	}
	return &Memory{o: o, topics: map[string]map[*Subscription]struct{}{}}
}

// Publish implements Bus.
func (m *Memory) Publish(topic string, msg []byte) error {
	if err := checkTopic(topic); err != nil {
		return err
	}
	if len(msg) > m.o.Message {
		return fault.New(fault.Invalid, "a message of %d bytes; at most %d are carried", "消息有 %d 字节，最多 %d 字节", len(msg), m.o.Message)
	}
	// The lock is held while the message is offered, so that no subscription
	// ends in between; an offer never waits, so neither does the lock.
	m.mu.RLock()
	defer m.mu.RUnlock()
	subscribers := m.topics[topic]
	if len(subscribers) == 0 {
		return nil
	}
	msg = bytes.Clone(msg)
	for s := range subscribers {
		s.offer(msg)
	}
	return nil
}

// Subscribe implements Bus.
func (m *Memory) Subscribe(ctx context.Context, topic string) (*Subscription, error) {
	if err := checkTopic(topic); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	subscribers := m.topics[topic]
	if subscribers == nil && len(m.topics) >= m.o.Topics {
		return nil, fault.New(fault.Exhausted, "the bus has %d topics already", "消息总线已有 %d 个主题", m.o.Topics)
	}
	if len(subscribers) >= m.o.Subscribers {
		return nil, fault.New(fault.Exhausted, "the topic has %d subscribers already", "该主题已有 %d 个订阅者", m.o.Subscribers)
	}
	if subscribers == nil {
		subscribers = map[*Subscription]struct{}{}
		m.topics[topic] = subscribers
	}
	s := &Subscription{messages: make(chan []byte, m.o.Queue)}
	subscribers[s] = struct{}{}
	context.AfterFunc(ctx, func() { m.end(topic, s) })
	return s, nil
}

// end takes s out before its channel closes: nobody offers to a closed one.
func (m *Memory) end(topic string, s *Subscription) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.topics[topic], s)
	if len(m.topics[topic]) == 0 {
		delete(m.topics, topic)
	}
	close(s.messages)
}

func checkTopic(topic string) error {
	if topic == "" || len(topic) > MaxTopic {
		return fault.New(fault.Invalid, "a topic has 1 to %d bytes", "主题长度须为 1 到 %d 字节", MaxTopic)
	}
	return nil
}
