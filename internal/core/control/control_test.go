package control_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/core/control"
	"github.com/dun-sec/dun/internal/core/db"
	"github.com/dun-sec/dun/internal/core/fault"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// bench is the timers of one data directory under a fake clock.
type bench struct {
	*control.Timers
	t     *testing.T
	clock *clock.Fake
	db    *db.SQLite
	told  chan control.Timer
	fail  func(control.Timer) error // nil = content
	stop  func()
}

func open(t *testing.T, dir string, f *clock.Fake) *bench {
	t.Helper()
	d, err := db.OpenSQLite(t.Context(), filepath.Join(dir, "meta.db"))
	if err != nil {
		t.Fatal(err)
	}
	timers, err := control.Open(t.Context(), control.Options{DB: d, Clock: f, Most: 50})
	if err != nil {
		t.Fatal(err)
	}
	return &bench{Timers: timers, t: t, clock: f, db: d, told: make(chan control.Timer, 100)}
}

func (b *bench) run() {
	ctx, cancel := context.WithCancel(b.t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- b.Run(ctx, func(_ context.Context, x control.Timer) error {
			var err error
			defer func() { b.told <- x }() // also when fail panics
			if b.fail != nil {
				err = b.fail(x)
			}
			return err
		})
	}()
	b.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Error(err)
		}
	}
}

func (b *bench) close() {
	if err := b.db.Close(); err != nil {
		b.t.Error(err)
	}
}

func (b *bench) set(key string, in time.Duration) {
	b.t.Helper()
	if err := b.Set(b.t.Context(), key, b.clock.Now().Add(in), []byte("of "+key)); err != nil {
		b.t.Fatal(err)
	}
}

// idle waits until Run waits, for its clock or for a new timer.
func (b *bench) idle() { synctest.Wait() }

// hears expects exactly these keys, in this order.
func (b *bench) hears(want ...string) {
	b.t.Helper()
	b.idle()
	for _, w := range want {
		if x := <-b.told; x.Key != w || string(x.Payload) != "of "+w {
			b.t.Fatalf("told %q %q, want %s", x.Key, x.Payload, w)
		}
	}
	if len(b.told) > 0 {
		b.t.Fatalf("told %v besides", <-b.told)
	}
}

// pass lets time go by in steps, so that Run looks as often as it wants to.
func (b *bench) pass(d time.Duration) {
	b.t.Helper()
	for ; d > 0; d -= time.Second {
		b.idle()
		b.clock.Advance(min(d, time.Second))
	}
}

func TestTimersAreToldInOrderAndOnce(t *testing.T) { synctest.Test(t, testTimersAreToldInOrderAndOnce) }

func testTimersAreToldInOrderAndOnce(t *testing.T) {
	b := open(t, t.TempDir(), clock.NewFake(noon))
	defer b.close()
	b.run()
	defer func() { b.stop() }()
	b.set("last", time.Hour)
	b.set("b", 3*time.Second)
	b.set("a", 2*time.Second)
	b.set("gone", 2*time.Second)
	b.set("moved", 2*time.Second)
	b.set("moved", 5*time.Second)
	if err := b.Cancel(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	if err := b.Cancel(t.Context(), "never"); err != nil {
		t.Fatal(err)
	}
	b.pass(time.Second)
	b.idle()
	b.hears()
	b.pass(2 * time.Second)
	b.hears("a", "b")
	b.pass(2 * time.Second)
	b.hears("moved")
	b.set("at once", -time.Hour)
	b.hears("at once")
	if b.pass(time.Second); b.Len() != 1 {
		t.Errorf("%d timers are left, want the last", b.Len())
	}
}

func TestClockJumps(t *testing.T) { synctest.Test(t, testClockJumps) }

func testClockJumps(t *testing.T) {
	b := open(t, t.TempDir(), clock.NewFake(noon))
	defer b.close()
	b.run()
	defer func() { b.stop() }()
	b.set("hour", time.Hour)
	b.set("day", 24*time.Hour)
	b.idle()
	b.clock.Jump(2 * time.Hour) // forward: what lies between is due
	b.pass(time.Second)
	b.hears("hour")
	b.idle()
	b.clock.Jump(-3 * time.Hour) // back: what was told is not told again
	b.pass(2 * time.Second)
	b.idle()
	b.hears()
	b.clock.Jump(48 * time.Hour)
	b.pass(time.Second)
	b.hears("day")
}

func TestFailuresComeAgainAndHinderNobody(t *testing.T) {
	synctest.Test(t, testFailuresComeAgainAndHinderNobody)
}

func testFailuresComeAgainAndHinderNobody(t *testing.T) {
	b := open(t, t.TempDir(), clock.NewFake(noon))
	defer b.close()
	content := false
	b.fail = func(x control.Timer) error {
		switch {
		case content || x.Key == "good" || x.Key == "keep":
			return nil
		case x.Key == "panics":
			panic("of a handler")
		}
		return errors.New("not now")
	}
	b.set("panics", 0)
	b.set("fails", 0)
	b.set("good", 0)
	b.set("keep", 1000*time.Hour) // so that there is always something to wait for
	b.run()
	defer func() { b.stop() }()
	b.hears("panics", "fails", "good")
	b.pass(time.Second) // 1 s after the first failure
	b.hears("panics", "fails")
	b.idle()
	b.clock.Jump(-24 * time.Hour) // a pause is time that passes
	b.pass(time.Second)
	b.idle()
	b.hears()
	b.pass(time.Second) // 2 s after the second
	b.hears("panics", "fails")
	b.idle()
	content = true // Run waits: nobody reads it now
	b.pass(4 * time.Second)
	b.hears("panics", "fails")
	b.idle()
	if b.Len() != 1 {
		t.Errorf("%d timers are left", b.Len())
	}
}

func TestATimerSetWhileItIsToldIsToldAgain(t *testing.T) {
	synctest.Test(t, testATimerSetWhileItIsToldIsToldAgain)
}

func testATimerSetWhileItIsToldIsToldAgain(t *testing.T) {
	b := open(t, t.TempDir(), clock.NewFake(noon))
	defer b.close()
	b.fail = func(x control.Timer) error {
		if x.At == noon {
			return errors.Join(b.Set(t.Context(), "a", noon.Add(time.Minute), []byte("of a")), b.Set(t.Context(), "b", noon.Add(time.Minute), []byte("of b")), b.Cancel(t.Context(), "b"))
		}
		return nil
	}
	b.set("a", 0)
	b.run()
	defer func() { b.stop() }()
	b.hears("a")
	b.pass(time.Minute)
	b.hears("a")
}

// A program that dies between the handler and the end of the row tells again;
// late ones come at once, in order.
func TestTimersSurviveADeath(t *testing.T) { synctest.Test(t, testTimersSurviveADeath) }

func testTimersSurviveADeath(t *testing.T) {
	dir, f := t.TempDir(), clock.NewFake(noon)
	b := open(t, dir, f)
	defer b.close()
	b.set("c", 3*time.Hour)
	b.set("b", 2*time.Hour)
	b.set("a", time.Hour)
	b.set("later", 300*time.Hour)
	died := t.TempDir()
	b.fail = func(x control.Timer) error {
		if x.Key == "a" { // what the disk holds while the handler works
			for _, name := range []string{"meta.db", "meta.db-wal"} {
				data, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(died, name), data, 0o600); err != nil {
					return err
				}
			}
		}
		return nil
	}
	f.Jump(time.Hour)
	b.run()
	b.hears("a")
	b.stop()
	if b.Len() != 3 {
		t.Errorf("%d timers are left of four", b.Len())
	}

	f.Jump(48 * time.Hour)
	after := open(t, died, f)
	defer after.close()
	after.run()
	after.hears("a", "b", "c")
	after.idle()
	after.stop()

	same := open(t, dir, f) // the one that ended well does not tell a again
	defer same.close()
	same.run()
	same.hears("b", "c")
	same.idle()
	same.stop()
}

func TestAHandlerStoppedInTheMiddleIsToldAgain(t *testing.T) {
	synctest.Test(t, testAHandlerStoppedInTheMiddleIsToldAgain)
}

func testAHandlerStoppedInTheMiddleIsToldAgain(t *testing.T) {
	dir, f := t.TempDir(), clock.NewFake(noon)
	b := open(t, dir, f)
	defer b.close()
	b.set("a", 0)
	ctx, cancel := context.WithCancel(t.Context())
	if err := b.Run(ctx, func(ctx context.Context, _ control.Timer) error {
		cancel()
		return ctx.Err()
	}); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, f)
	defer again.close()
	again.run()
	again.hears("a")
	again.stop()
	if again.Len() != 0 {
		t.Error("what was told to the end came to stay")
	}
}

// What was done is done, also when the end comes meanwhile.
func TestAHandlerContentAtTheEndIsNotToldAgain(t *testing.T) {
	b := open(t, t.TempDir(), clock.NewFake(noon))
	defer b.close()
	b.set("a", 0)
	ctx, cancel := context.WithCancel(t.Context())
	if err := b.Run(ctx, func(context.Context, control.Timer) error { cancel(); return nil }); err != nil || b.Len() != 0 {
		t.Errorf("%d timers are left (%v)", b.Len(), err)
	}
}

func TestLimits(t *testing.T) {
	b := open(t, t.TempDir(), clock.NewFake(noon))
	defer b.close()
	ctx := t.Context()
	for what, c := range map[string]struct {
		key     string
		payload int
		at      time.Time
		bad     bool
	}{
		"longest key":       {strings.Repeat("k", control.MaxKey), 0, noon, false},
		"longer key":        {strings.Repeat("k", control.MaxKey+1), 0, noon, true},
		"no key":            {"", 0, noon, true},
		"largest payload":   {"k", control.MaxPayload, noon, false},
		"larger payload":    {"k", control.MaxPayload + 1, noon, true},
		"no time":           {"k", 0, time.Time{}, true},
		"beyond all things": {"k", 0, noon.AddDate(9000, 0, 0), true},
	} {
		if err := b.Set(ctx, c.key, c.at, make([]byte, c.payload)); fault.Is(err, fault.Invalid) != c.bad || (err != nil) != c.bad {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := b.Len(); i < 50; i++ {
		b.set(fmt.Sprint(i), time.Hour)
	}
	if err := b.Set(ctx, "more", noon, nil); !fault.Is(err, fault.Exhausted) {
		t.Errorf("one too many: %v", err)
	}
	b.set("49", 2*time.Hour) // to replace is no growth
	if err := b.Cancel(ctx, "49"); err != nil {
		t.Fatal(err)
	}
	b.set("more", time.Hour)
}

func TestTheDiskRefuses(t *testing.T) {
	b := open(t, t.TempDir(), clock.NewFake(noon))
	b.set("a", time.Hour)
	b.close()
	if err := b.Set(t.Context(), "b", noon, nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("set: %v", err)
	}
	if err := b.Cancel(t.Context(), "a"); !fault.Is(err, fault.Unavailable) || b.Len() != 1 {
		t.Errorf("cancel: %v; memory says what the disk does not", err)
	}
}

// A row that cannot be removed is not a reason to tell again.
func TestADoneTimerIsNotToldAgainForWantOfDisk(t *testing.T) {
	synctest.Test(t, testADoneTimerIsNotToldAgainForWantOfDisk)
}

func testADoneTimerIsNotToldAgainForWantOfDisk(t *testing.T) {
	b := open(t, t.TempDir(), clock.NewFake(noon))
	defer b.close()
	var order []string
	b.fail = func(x control.Timer) error { order = append(order, x.Key); return nil }
	b.set("a", 0)
	b.set("far", 1000*time.Hour)
	exec := func(q string) {
		t.Helper()
		if _, err := b.db.Writer.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	exec(`CREATE TRIGGER full BEFORE DELETE ON timers BEGIN SELECT RAISE(ABORT, 'full'); END`)
	b.run()
	b.hears("a")
	b.pass(2 * time.Second)
	b.idle()
	if b.Len() != 2 {
		t.Errorf("%d timers, want both while the row stands", b.Len())
	}
	exec(`DROP TRIGGER full`)
	b.pass(5 * time.Second)
	b.idle()
	if b.stop(); b.Len() != 1 || !slices.Equal(order, []string{"a"}) {
		t.Errorf("told %v, %d left", order, b.Len())
	}
}
