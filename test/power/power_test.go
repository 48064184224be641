// Package power cuts the power under real cells while they write, start and
// stop, and counts what they had acknowledged. Unlike kill -9, a cut loses what
// a program forgot to sync (internal/lab/powercut).
package power

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/lab"
	"github.com/dun-sec/dun/internal/lab/powercut"
)

const writers = 8

// asRoot keeps the cell one process: the disk that loses what was not synced
// is a file system in user space, into which the kernel lets its mounter alone.
const asRoot = "user: root"

// cuts is the bar of the main job; make soak asks for more.
var cuts = flag.Int("cuts", 30, "how often the power is cut under one cell; new cells are cut a third as often")

// bench is what all rounds of a test share.
type bench struct {
	t           *testing.T
	dun, server string
	disk        string // the plain folder; the cell's directory is d in it
	ledger      *lab.Ledger
	pinned      *identity.Profile // of the first round that saw one
}

func newBench(t *testing.T) *bench {
	t.Helper()
	return &bench{
		t: t, dun: lab.Build(t, "github.com/dun-sec/dun/cmd/dun"), server: powercut.Build(t), disk: t.TempDir(), ledger: lab.NewLedger(),
	}
}

// moment is when the power goes.
type moment int

const (
	working  moment = iota // the cell is ready, writers write
	stopping               // the same, and it was told to stop
	starting               // at any time from the start of the process on
)

// cut starts the cell on the disk, cuts the power at the moment and leaves the
// disk as the cut left it. With starting, writers begin when the cell is ready,
// if it comes to that.
func (b *bench) cut(when moment, longest time.Duration, opt powercut.Options, name string) {
	b.t.Helper()
	m := powercut.Start(b.t, b.server, b.disk, opt)
	cell, err := lab.Launch(b.t, b.dun, filepath.Join(m.Dir(), "d"), asRoot)
	if err != nil {
		b.t.Fatal(err)
	}
	if when != starting {
		b.ready(cell, name)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if when == starting && cell.Ready() != nil {
			return // the power was gone before
		}
		for w := range writers {
			wg.Go(func() { b.ledger.Write(cell, fmt.Sprintf("%s-%d", name, w), stop) })
		}
	})
	<-time.After(rand.N(longest))
	if when == stopping {
		if err := cell.Process().Signal(os.Interrupt); err != nil {
			b.t.Error(err)
		}
		<-time.After(rand.N(40 * time.Millisecond))
	}
	seed := rand.Uint64()
	lost := m.Cut(seed, cell.Process())
	cell.Kill()
	close(stop)
	wg.Wait()
	b.t.Logf("%s: moment %d, options %+v, seed %d, lost %+v, %d acknowledged so far", name, when, opt, seed, lost, b.ledger.Total())
}

// ready waits for the cell and looks whether everything is as it must be.
func (b *bench) ready(cell *lab.Cell, name string) {
	b.t.Helper()
	if err := cell.Ready(); err != nil {
		b.t.Fatalf("%s: %v", name, err)
	}
	lost, err := b.ledger.Lost(cell)
	if err != nil {
		b.t.Fatalf("%s: %v", name, err)
	}
	for _, l := range lost {
		b.t.Errorf("%s: %s", name, l)
	}
	if b.pinned == nil {
		b.pinned = cell.Profile
	}
	if p := cell.Profile; p.Log != b.pinned.Log || p.CAPEM != b.pinned.CAPEM {
		b.t.Errorf("%s: the cell has another log key or authority than before", name)
	}
	for _, args := range [][]string{{"audit", "verify"}, {"status"}} {
		if out, exit := cell.Dun(args...); exit != 0 {
			b.t.Errorf("%s: dun %v: exit %d\n%s", name, args, exit, out)
		}
	}
	if b.t.Failed() {
		b.t.Fatalf("%s\n%s", name, cell.Output())
	}
}

// last starts the cell on the plain folder.
func (b *bench) last() {
	b.t.Helper()
	cell := lab.Up(b.t, b.dun, filepath.Join(b.disk, "d"), asRoot)
	b.ready(cell, "last")
	if code := cell.Stop(); code != 0 {
		b.t.Errorf("a clean stop ends with %d\n%s", code, cell.Output())
	}
}

// TestACutLosesNoAcknowledgedWrite carries one cell's disk from cut to cut.
func TestACutLosesNoAcknowledgedWrite(t *testing.T) {
	b := newBench(t)
	n := *cuts
	if testing.Short() {
		n = 6
	}
	for i := range n {
		name := fmt.Sprintf("c-%d", i)
		switch i % 6 {
		case 3:
			b.cut(stopping, 50*time.Millisecond, powercut.Options{}, name)
		case 5:
			b.cut(starting, 400*time.Millisecond, powercut.Options{}, name)
		default:
			b.cut(working, 200*time.Millisecond, powercut.Options{}, name)
		}
	}
	b.last()
	if b.ledger.Total() < n {
		t.Fatalf("only %d writes were acknowledged in %d cuts: the test proves nothing", b.ledger.Total(), n)
	}
	t.Logf("%d cuts, %d acknowledged writes, none lost", n, b.ledger.Total())
}

// firstChanges is about how many writes, syncs and changes of names a cell
// needs until it is ready for the first time.
const firstChanges = 200

// TestACutInTheFirstStart cuts while a cell makes its keys, its identity and
// its first records, every other time at a given change: most of them fall
// into a few milliseconds. What is left is a cell, or nothing yet; never a ruin.
func TestACutInTheFirstStart(t *testing.T) {
	b := newBench(t)
	for i := range max(*cuts/3, 1) {
		b.disk, b.ledger, b.pinned = t.TempDir(), lab.NewLedger(), nil
		opt := powercut.Options{}
		if i%2 == 0 {
			opt.After = 1 + rand.IntN(firstChanges)
		}
		b.cut(starting, 600*time.Millisecond, opt, fmt.Sprintf("f-%d", i))
		b.last()
	}
}

// TestADiskThatIgnoresSyncIsFound is what shows that the tests above can fail:
// the same cell, sound at first, on a disk that acknowledges syncs and does
// nothing.
func TestADiskThatIgnoresSyncIsFound(t *testing.T) {
	b := newBench(t)
	b.last()
	sound := b.disk
	if err := os.RemoveAll(filepath.Join(sound, "d", "run")); err != nil { // a socket is not copied
		t.Fatal(err)
	}
	for i := range 20 {
		b.disk, b.ledger = t.TempDir(), lab.NewLedger()
		if err := os.CopyFS(b.disk, os.DirFS(sound)); err != nil {
			t.Fatal(err)
		}
		b.cut(working, 200*time.Millisecond, powercut.Options{IgnoreSync: true}, fmt.Sprintf("l-%d", i))
		// What says at once that something is wrong is put back: the record store
		// itself has to show what was lost.
		for _, dir := range []string{"bootstrap", "keys", "tiles"} {
			to := filepath.Join(b.disk, "d", dir)
			if err := errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(filepath.Join(sound, "d", dir)))); err != nil {
				t.Fatal(err)
			}
		}
		cell, err := lab.TryUp(t, b.dun, filepath.Join(b.disk, "d"), asRoot)
		if err != nil {
			t.Logf("the cell refuses to start on what is left: %v", err)
			cell.Kill()
			continue
		}
		lost, err := b.ledger.Lost(cell)
		cell.Kill()
		if len(lost) > 0 {
			t.Logf("%d of %d acknowledged writes are lost, as they must be (%v)", len(lost), b.ledger.Total(), err)
			return
		}
	}
	t.Error("syncs were ignored and no acknowledged write was lost: the tests of this package cannot fail")
}
