package clock_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dun-sec/dun/internal/core/clock"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func fired(t clock.Timer) bool {
	select {
	case <-t.C():
		return true
	default:
		return false
	}
}

func TestSystemClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		before := c.Now()
		if before.Location() != time.UTC || before != before.Round(0) {
			t.Errorf("the wall carries more than the wall: %#v", before)
		}
		long, short := c.Timer(time.Hour), c.Timer(time.Minute)
		<-short.C()
		if c.Passed() != time.Minute || c.Now().Sub(before) != time.Minute || fired(long) {
			t.Errorf("%s passed, the wall says %s", c.Passed(), c.Now())
		}
		long.Stop()
		short.Stop()
		<-c.Timer(0).C()
		<-c.Timer(-time.Second).C()
		<-c.Timer(2 * time.Hour).C()
		if fired(long) {
			t.Error("a stopped timer fired")
		}
		if by := clock.NewWatch(c, time.Second).Look(); by != 0 {
			t.Errorf("a steady clock jumped by %s", by)
		}
	})
}

func TestFakeFiresWhatIsDue(t *testing.T) {
	f := clock.NewFake(noon)
	a, b, c := f.Timer(time.Minute), f.Timer(time.Second), f.Timer(2*time.Second)
	if !fired(f.Timer(0)) {
		t.Error("a timer of nothing waits")
	}
	f.Jump(time.Hour)
	if fired(a) || fired(b) || f.Passed() != 0 || f.Now() != noon.Add(time.Hour) {
		t.Error("a jump is not time that passes")
	}
	f.Advance(time.Second - 1)
	if fired(b) {
		t.Error("fired too early")
	}
	c.Stop()
	c.Stop()
	f.Advance(time.Second + 1)
	if !fired(b) || fired(a) || fired(c) {
		t.Error("want the second timer and no other")
	}
	f.Jump(-2 * time.Hour)
	f.Advance(time.Minute)
	if !fired(a) || f.Now() != noon.Add(-time.Hour+time.Minute+2*time.Second) {
		t.Errorf("after a jump back: %s", f.Now())
	}
}

func TestWatchReportsJumps(t *testing.T) {
	f := clock.NewFake(noon)
	w := clock.NewWatch(f, 2*time.Second)
	for _, step := range []struct{ pass, jump, want time.Duration }{
		{time.Second, 0, 0},
		{time.Hour, 0, 0}, // long between two looks is no jump
		{time.Second, 2 * time.Second, 0},
		{time.Second, -2 * time.Second, 0},
		{time.Second, 2*time.Second + 1, 2*time.Second + 1},
		{time.Second, 0, 0}, // told once
		{time.Minute, -time.Hour, -time.Hour},
		{time.Second, time.Hour, time.Hour},
	} {
		f.Advance(step.pass)
		f.Jump(step.jump)
		if by := w.Look(); by != step.want {
			t.Errorf("%s passed and a jump by %s: says %s, want %s", step.pass, step.jump, by, step.want)
		}
	}
}

func TestFollowTellsOfEachJump(t *testing.T) {
	f := clock.NewFake(noon)
	ctx, stop := context.WithCancel(t.Context())
	jumps, ended := make(chan time.Duration, 4), make(chan struct{})
	go func() {
		defer close(ended)
		clock.Follow(ctx, f, time.Second, time.Second, func(by time.Duration) { jumps <- by })
	}()
	for _, by := range []time.Duration{time.Hour, 0, -3 * time.Hour} {
		if err := f.Waiting(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		f.Jump(by)
		f.Advance(time.Second)
	}
	if a, b := <-jumps, <-jumps; a != time.Hour || b != -3*time.Hour {
		t.Errorf("told of %s and %s", a, b)
	}
	stop()
	<-ended
	if err := f.Waiting(t.Context(), 0); err != nil {
		t.Errorf("a timer was left: %v", err)
	}
}
