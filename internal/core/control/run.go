package control

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

const (
	minBackoff = time.Second
	maxBackoff = 5 * time.Minute
	lookAgain  = time.Second // how late a jump of the wall is noticed
)

// Run tells the handler of each timer that is due, until ctx ends; then it
// returns nil. One is told at a time, the earliest first, so a handler that
// has much to do starts it elsewhere. An error or a panic makes the timer come
// again after 1 s, 2 s, … 5 min; others are told meanwhile.
//
// What is due is what the wall says: a clock that jumps forward makes due what
// lies between, within a second, and one that jumps back makes nothing due
// that was told. The pause after a failure is time that passes, whatever the
// wall says.
func (t *Timers) Run(ctx context.Context, handler func(context.Context, Timer) error) error {
	t.mu.Lock()
	if t.running {
		t.mu.Unlock()
		return errors.New("run timers: they run already")
	}
	t.running = true
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		t.running = false
		t.mu.Unlock()
	}()
	for ctx.Err() == nil {
		if e := t.due(); e != nil {
			t.tell(ctx, e, handler)
			continue
		}
		t.wait(ctx)
	}
	return nil
}

// due is the timer to tell next; nil when none is due.
func (t *Timers) due() *entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, ok := t.waiting.Min(); ok && e.at <= t.opt.Clock.Now().UnixMicro() {
		return e
	}
	if e, ok := t.again.Min(); ok && e.next <= t.opt.Clock.Passed() {
		return e
	}
	return nil
}

// wait returns when something may be due. While no timer is set it costs
// nothing.
func (t *Timers) wait(ctx context.Context) {
	d, some := t.pause()
	if !some {
		select {
		case <-ctx.Done():
		case <-t.wake:
		}
		return
	}
	timer := t.opt.Clock.Timer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-t.wake:
	case <-timer.C():
	}
}

// pause is how long nothing will be due unless the wall jumps.
func (t *Timers) pause() (d time.Duration, some bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, ok := t.again.Min(); ok {
		d, some = e.next-t.opt.Clock.Passed(), true
	}
	if e, ok := t.waiting.Min(); ok {
		until := min(lookAgain, time.UnixMicro(e.at).Sub(t.opt.Clock.Now()))
		if !some || until < d {
			d = until
		}
		some = true
	}
	return d, some
}

func (t *Timers) tell(ctx context.Context, e *entry, handler func(context.Context, Timer) error) {
	var err error
	if !e.told {
		err = t.deliver(ctx, e, handler)
	}
	gone := errors.Is(err, sql.ErrNoRows) // replaced or cancelled meanwhile
	t.mu.Lock()
	defer t.mu.Unlock()
	if gone {
		t.forget(e)
		return
	}
	if err == nil {
		e.told = true
		if err = t.drop(context.WithoutCancel(ctx), e); err == nil { // what was done is done, also at the end
			return
		}
	}
	if t.byKey[e.key] != e {
		return
	}
	if ctx.Err() == nil {
		t.opt.Log.Warn("timer failed", "key", e.key, "attempt", e.attempt, "err", err)
	}
	t.waiting.Delete(e)
	t.again.Delete(e)
	e.next = t.opt.Clock.Passed() + backoff(e.attempt)
	t.again.ReplaceOrInsert(e)
}

// deliver asks the handler, and turns a panic of it into its error.
func (t *Timers) deliver(ctx context.Context, e *entry, handler func(context.Context, Timer) error) (err error) {
	payload, err := t.payload(ctx, e)
	if err != nil {
		return err
	}
	e.attempt++
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic in the handler of a timer: %v", r)
		}
	}()
	err = handler(ctx, Timer{Key: e.key, At: time.UnixMicro(e.at).UTC(), Payload: payload, Attempt: e.attempt})
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("the handler: %s", err.Error()) // his rows are not ours
	}
	return err
}
