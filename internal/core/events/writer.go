package events

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/dun-sec/dun/internal/core/file"
)

// writer is the goroutine that owns the active segment. Its fields belong to
// that goroutine alone; what others read is in Log, under Log.mu.
type writer struct {
	log     *Log
	create  func(path string) (segmentFile, error)
	next    uint64 // number of the next segment
	active  *segment
	file    segmentFile // of active
	pending []Event
	told    uint64    // drops that a written event of kind "drops" tells of
	warned  time.Time // last complaint about the disk
}

// batch is what one write call puts on disk.
type batch struct {
	buf    []byte
	events []Event
	sizes  []int  // of each frame
	drops  uint64 // told by its first event; 0 = it has no such event
}

func (w *writer) run() {
	defer close(w.log.done)
	delay := time.NewTimer(batchDelay)
	delay.Stop()
	defer delay.Stop()
	maintain := time.NewTicker(maintainEvery)
	defer maintain.Stop()
	for {
		select {
		case it := <-w.log.queue:
			if it.written != nil {
				it.written <- w.write()
				continue
			}
			w.take(it)
			switch len(w.pending) {
			case 1:
				delay.Reset(batchDelay)
			case batchEvents:
				w.complain(w.write())
			}
		case <-delay.C:
			w.complain(w.write())
		case <-maintain.C:
			w.complain(w.write())
			w.maintain()
		case <-w.log.closing:
			w.log.closeErr = w.drain()
			return
		}
	}
}

func (w *writer) take(it item) {
	w.log.waiting.Add(-it.size)
	w.pending = append(w.pending, it.event)
}

// drain writes what is still queued and seals the active segment.
func (w *writer) drain() error {
	var failed error
	for {
		select {
		case it := <-w.log.queue:
			if it.written != nil {
				it.written <- w.write()
				continue
			}
			if w.take(it); len(w.pending) >= batchEvents {
				failed = errors.Join(failed, w.write())
			}
			continue
		default:
		}
		return errors.Join(failed, w.write(), w.seal())
	}
}

// write puts the pending events on disk, in as many segments as they need, and
// then shows them to searches and followers.
func (w *writer) write() error {
	var b batch
	if dropped := w.log.dropped.Load(); dropped > w.told {
		b.drops = dropped - w.told
		w.pending = append([]Event{w.dropsEvent(b.drops)}, w.pending...)
	}
	var failed error
	for i := range w.pending {
		e := &w.pending[i]
		raw, err := finish(e)
		if err != nil { // no event that bound made can fail to encode
			w.log.dropped.Add(1)
			failed = errors.Join(failed, err)
			continue
		}
		full := w.size() + int64(len(b.buf)+frameHead+len(raw))
		if full > w.log.opt.SegmentBytes && full > int64(frameHead+len(raw)) {
			failed = errors.Join(failed, w.commit(&b), w.seal())
			w.retain()
		}
		b.buf = appendFrame(b.buf, raw)
		b.events = append(b.events, *e)
		b.sizes = append(b.sizes, frameHead+len(raw))
	}
	failed = errors.Join(failed, w.commit(&b))
	clear(w.pending) // let go of the strings
	w.pending = w.pending[:0]
	return failed
}

func (w *writer) size() int64 {
	if w.active == nil {
		return 0
	}
	return w.active.x.end // only this goroutine changes it
}

// commit writes the batch with one call and empties it. When that fails, the
// events are dropped and counted, and the part that was written is cut off.
func (w *writer) commit(b *batch) error {
	if len(b.events) == 0 {
		return nil
	}
	err := w.writeActive(b.buf)
	if err != nil {
		lost := uint64(len(b.events))
		if b.drops > 0 {
			lost-- // the tale of the drops is told again later
		}
		w.log.dropped.Add(lost)
	} else {
		w.told += b.drops
		w.log.written.Add(uint64(len(b.events)))
		w.log.mu.Lock()
		for i := range b.events {
			w.active.x.add(&b.events[i], b.sizes[i])
		}
		w.active.bytes = w.active.x.end
		w.log.mu.Unlock()
		w.log.publish(b.events)
	}
	*b = batch{}
	return err
}

func (w *writer) writeActive(buf []byte) error {
	if w.active == nil {
		start := w.log.opt.Now().UnixMilli()
		s := &segment{path: segmentPath(w.log.opt.Dir, max(start, 0), w.next), number: w.next, start: max(start, 0), x: newIndex()}
		w.next++
		file, err := w.create(s.path)
		if err != nil {
			return fmt.Errorf("create segment: %w", err)
		}
		w.active, w.file = s, file
		w.log.mu.Lock()
		w.log.segments = append(w.log.segments, s)
		w.log.mu.Unlock()
	}
	if _, err := w.file.WriteAt(buf, w.size()); err != nil {
		return errors.Join(fmt.Errorf("write events: %w", err), w.file.Truncate(w.size()))
	}
	return nil
}

// seal ends the active segment and writes its index; without room for the
// index it stays in memory, and maintain tries again.
func (w *writer) seal() error {
	if w.active == nil {
		return nil
	}
	s := w.active
	// Sync, since an index that outlives its segment's bytes would be rebuilt
	// from less than was there; the name too, without which the bytes are lost.
	err := errors.Join(w.file.Truncate(s.x.end), w.file.Sync(), w.file.Close(), file.SyncDir(w.log.opt.Dir))
	w.active, w.file = nil, nil
	if err != nil {
		return fmt.Errorf("seal segment: %w", err)
	}
	return w.index(s)
}

// index moves the index of a sealed segment from memory to disk.
func (w *writer) index(s *segment) error {
	y, err := writeIndex(s.path, s.x)
	if err != nil {
		return err
	}
	w.log.mu.Lock()
	s.sealedWith(y)
	w.log.mu.Unlock()
	return nil
}

func (w *writer) dropsEvent(n uint64) Event {
	e, _ := bound(Event{
		Node: w.log.opt.Node, Part: "events", Kind: "drops", Tenant: "platform",
		Attributes: map[string]string{"count": strconv.FormatUint(n, 10)},
	}, w.log.opt.Now())
	return e
}

// complain logs a failure of the disk, at most once a minute.
func (w *writer) complain(err error) {
	now := w.log.opt.Now()
	if err == nil || !w.warned.IsZero() && now.Sub(w.warned) < time.Minute {
		return
	}
	w.warned = now
	w.log.opt.Log.Error("events: the disk refuses, events may be lost", "name", filepath.Base(w.log.opt.Dir), "err", err)
}
