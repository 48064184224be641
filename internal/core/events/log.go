package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Options of a Log. Only Dir has no default.
type Options struct {
	Dir          string           // folder of the segments; made with mode 0700
	MaxBytes     int64            // of all segments with their indexes; default 2 GiB
	MaxAge       time.Duration    // default 30 days
	SegmentBytes int64            // a segment is sealed at this size; default 16 MiB, at most 1 GiB
	Queue        int              // events that wait for the disk; default 8192, about 4 KiB each
	Node         string           // node of the events that the log itself reports
	Now          func() time.Time // default time.Now
	Log          *slog.Logger     // default: nothing is logged
}

const (
	maxSegment    = 1<<30 + 4<<20 // bytes; one batch may go over SegmentBytes
	queuedBytes   = 4 << 10       // average room of one event in the queue
	batchEvents   = 256
	batchDelay    = 100 * time.Millisecond
	maintainEvery = time.Minute
)

func (o Options) withDefaults() (Options, error) {
	if o.MaxBytes < 0 || o.MaxAge < 0 || o.SegmentBytes < 0 || o.Queue < 0 || o.SegmentBytes > 1<<30 || o.Dir == "" {
		return o, errors.New("open events: an option is out of range")
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 2 << 30
	}
	if o.MaxAge == 0 {
		o.MaxAge = 30 * 24 * time.Hour
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 16 << 20
	}
	if o.Queue == 0 {
		o.Queue = 8192
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// Log is the events of this node. All methods may be called from any goroutine.
type Log struct {
	opt     Options
	queue   chan item
	waiting atomic.Int64  // about the bytes in queue
	dropped atomic.Uint64 // events lost
	written atomic.Uint64 // events on disk since Open
	removed atomic.Uint64 // segments removed by retention

	closing   chan struct{}
	done      chan struct{} // closed when the writer has ended
	closeOnce sync.Once
	closeErr  error // set before done is closed

	mu       sync.RWMutex
	segments []*segment // by number, guarded by mu; the last one may be active

	followMu  sync.Mutex
	followers map[*Follower]struct{} // guarded by followMu
}

// item is what the queue carries: an event, or a request to write everything.
type item struct {
	event   Event
	size    int64
	written chan error // not nil = flush
}

// Open recovers the segments of Dir and starts the writer. The caller makes
// sure that one process only uses Dir.
func Open(opt Options) (*Log, error) { return open(opt, createSegment) }

func open(opt Options, create func(path string) (segmentFile, error)) (*Log, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open events: %w", err)
	}
	l := &Log{
		opt: opt, queue: make(chan item, opt.Queue),
		closing: make(chan struct{}), done: make(chan struct{}),
		followers: make(map[*Follower]struct{}),
	}
	if l.segments, err = l.recover(); err != nil {
		return nil, fmt.Errorf("open events: %w", err)
	}
	w := &writer{log: l, create: create, next: 1}
	if n := len(l.segments); n > 0 {
		w.next = l.segments[n-1].number + 1
	}
	w.retain()
	go w.run()
	return l, nil
}

// Add takes an event and never blocks: when the queue is full the event is
// dropped and counted. What it takes is bounded, masked and searchable within
// a second. e is copied.
func (l *Log) Add(e Event) {
	select {
	case <-l.closing:
		l.dropped.Add(1)
		return
	default:
	}
	if len(l.queue) == cap(l.queue) { // a full queue costs the caller nothing
		l.dropped.Add(1)
		return
	}
	b, size := bound(e, l.opt.Now())
	if l.waiting.Add(size) > int64(l.opt.Queue)*queuedBytes {
		l.waiting.Add(-size)
		l.dropped.Add(1)
		return
	}
	select {
	case l.queue <- item{event: b, size: size}:
	default:
		l.waiting.Add(-size)
		l.dropped.Add(1)
	}
}

// Dropped counts the events lost since Open: no room in the queue, no room on
// the disk, or added after Close.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Written counts the events put on disk since Open.
func (l *Log) Written() uint64 { return l.written.Load() }

// Removed counts the segments removed by retention since Open.
func (l *Log) Removed() uint64 { return l.removed.Load() }

// Flush waits until everything added before is searchable. It fails when ctx
// ends, the log is closed, or the disk refused a part.
func (l *Log) Flush(ctx context.Context) error {
	written := make(chan error, 1)
	select {
	case l.queue <- item{written: written}:
	case <-l.done:
		return errors.New("flush events: the log is closed")
	case <-ctx.Done():
		return fmt.Errorf("flush events: %w", ctx.Err())
	}
	select {
	case err := <-written:
		return err
	case <-l.done:
		return errors.New("flush events: the log is closed")
	case <-ctx.Done():
		return fmt.Errorf("flush events: %w", ctx.Err())
	}
}

// Close writes what waits, seals the active segment and ends every follower.
// Search still works afterwards.
func (l *Log) Close() error {
	l.closeOnce.Do(func() { close(l.closing) })
	<-l.done
	return l.closeErr
}
