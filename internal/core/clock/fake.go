package clock

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// Fake is a clock that a test moves. All methods may be called from any
// goroutine.
type Fake struct {
	mu     sync.Mutex
	wall   time.Time
	passed time.Duration
	timers []*fakeTimer  // that wait
	moved  chan struct{} // closed when timers changes
}

// NewFake stands at wall, which becomes UTC.
func NewFake(wall time.Time) *Fake {
	return &Fake{wall: wall.Round(0).UTC(), moved: make(chan struct{})}
}

// Now implements Clock.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wall
}

// Passed implements Clock.
func (f *Fake) Passed() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.passed
}

// Timer implements Clock.
func (f *Fake) Timer(d time.Duration) Timer {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := &fakeTimer{f: f, at: f.passed + d, c: make(chan struct{})}
	if d <= 0 {
		close(t.c)
		return t
	}
	f.timers = append(f.timers, t)
	f.tell()
	return t
}

// Advance lets d pass, d not below zero: the wall moves with it, and what is
// due fires in its order.
func (f *Fake) Advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.passed += max(d, 0)
	f.wall = f.wall.Add(max(d, 0))
	slices.SortStableFunc(f.timers, func(a, b *fakeTimer) int { return cmp.Compare(a.at, b.at) })
	for len(f.timers) > 0 && f.timers[0].at <= f.passed {
		close(f.timers[0].c)
		f.timers = f.timers[1:]
	}
	f.tell()
}

// Jump moves the wall alone, forward or back, as an administrator does.
func (f *Fake) Jump(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wall = f.wall.Add(d)
}

// Waiting returns when n timers wait, so that a test moves the clock only when
// the other side has begun to wait.
func (f *Fake) Waiting(ctx context.Context, n int) error {
	for {
		f.mu.Lock()
		have, moved := len(f.timers), f.moved
		f.mu.Unlock()
		if have == n {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
		}
	}
}

// tell wakes whoever is in Waiting; mu is held.
func (f *Fake) tell() {
	close(f.moved)
	f.moved = make(chan struct{})
}

type fakeTimer struct {
	f  *Fake
	at time.Duration // of Passed
	c  chan struct{}
}

// C implements Timer.
func (t *fakeTimer) C() <-chan struct{} { return t.c }

// Stop implements Timer.
func (t *fakeTimer) Stop() {
	t.f.mu.Lock()
	defer t.f.mu.Unlock()
	if i := slices.Index(t.f.timers, t); i >= 0 {
		t.f.timers = slices.Delete(t.f.timers, i, i+1)
		t.f.tell()
	}
}
