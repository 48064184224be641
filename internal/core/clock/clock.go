// Package clock is the source of time of a cell. It keeps two things apart
// that time.Time mixes: what the wall says, which people and other machines
// share and which may jump, and how much time passed, which never does. It owns
// the detection of jumps; it never sets a clock and never decides what a jump
// means.
package clock

import "time"

// Clock tells and waits. All methods may be called from any goroutine.
type Clock interface {
	// Now is what the wall says, UTC, without a monotonic part: two of them may
	// lie further apart, or nearer, than the time that passed between them.
	Now() time.Time

	// Passed is the time that passed since some fixed moment. It never goes
	// back; it may stand still while the machine sleeps.
	Passed() time.Duration

	// Timer fires once when d has passed, whatever becomes of the wall. At or
	// below zero it fires at once.
	Timer(d time.Duration) Timer
}

// Timer is one that waits.
type Timer interface {
	C() <-chan struct{} // closed when it fires
	Stop()              // gives up waiting; harmless when it has fired
}

// System is the clock of the machine.
type System struct{ start time.Time }

// New is the clock of the machine.
func New() *System { return &System{start: time.Now()} }

// Now implements Clock.
func (s *System) Now() time.Time { return time.Now().Round(0).UTC() }

// Passed implements Clock.
func (s *System) Passed() time.Duration { return time.Since(s.start) }

// Timer implements Clock.
func (s *System) Timer(d time.Duration) Timer {
	c := make(chan struct{})
	return &systemTimer{c, time.AfterFunc(d, func() { close(c) })}
}

type systemTimer struct {
	c chan struct{}
	t *time.Timer
}

// C implements Timer.
func (t *systemTimer) C() <-chan struct{} { return t.c }

// Stop implements Timer.
func (t *systemTimer) Stop() { t.t.Stop() }
