package events

import (
	"os"
	"slices"
	"time"
)

// maintain is what has to happen even when nothing is added.
func (w *writer) maintain() {
	// Retention removes whole sealed segments: a quiet node must seal, too.
	if w.active != nil {
		age := time.Duration(w.log.opt.Now().UnixMilli()-w.active.start) * time.Millisecond
		if age >= min(24*time.Hour, w.log.opt.MaxAge/16) {
			w.complain(w.seal())
		}
	}
	for _, s := range w.log.list() {
		if s != w.active && s.x != nil { // only this goroutine sets x
			w.complain(w.index(s))
		}
	}
	w.retain()
}

// list is a copy of the segments, by number.
func (l *Log) list() []*segment {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return slices.Clone(l.segments)
}

// retain removes the oldest segments while they are too old or all of them
// together too large; never the active one. An age limit that only the data's
// own times decided could be defeated by a clock that once ran ahead, so the
// start of the next segment counts where there is one.
func (w *writer) retain() {
	list := w.log.list()
	var total int64
	for _, s := range list {
		total += s.bytes
	}
	oldest := w.log.opt.Now().Add(-w.log.opt.MaxAge).UnixMilli()
	for i, s := range list {
		ended := s.times().max / 1000
		if i+1 < len(list) {
			ended = min(ended, list[i+1].start)
		}
		if s == w.active || total <= w.log.opt.MaxBytes && ended >= oldest {
			return
		}
		if err := os.Remove(s.path); err != nil && !os.IsNotExist(err) {
			w.complain(err)
			return
		}
		os.Remove(indexPath(s.path)) // recovery removes one that is left over
		total -= s.bytes
		w.log.removed.Add(1)
		w.log.mu.Lock()
		w.log.segments = slices.DeleteFunc(w.log.segments, func(o *segment) bool { return o == s })
		w.log.mu.Unlock()
	}
}
