package clock

import (
	"context"
	"time"
)

// Watch finds jumps of the wall between two looks. It belongs to one
// goroutine.
type Watch struct {
	c      Clock
	most   time.Duration
	wall   time.Time
	passed time.Duration
}

// NewWatch begins to watch. What the wall moves more or less than the time
// that passed, by more than most between two looks, is a jump. A clock that is
// steered slowly, as by NTP, makes none.
func NewWatch(c Clock, most time.Duration) *Watch {
	return &Watch{c: c, most: most, wall: c.Now(), passed: c.Passed()}
}

// Look says how far the wall jumped since the last look: above zero forward,
// below back, zero not at all. A machine that slept has jumped forward.
func (w *Watch) Look() time.Duration {
	wall, passed := w.c.Now(), w.c.Passed()
	by := wall.Sub(w.wall) - (passed - w.passed)
	w.wall, w.passed = wall, passed
	if by.Abs() <= w.most {
		return 0
	}
	return by
}

// Follow looks as often as every until ctx ends, and reports each jump.
func Follow(ctx context.Context, c Clock, every, most time.Duration, jumped func(by time.Duration)) {
	w := NewWatch(c, most)
	for {
		t := c.Timer(every)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C():
		}
		if by := w.Look(); by != 0 {
			jumped(by)
		}
	}
}
