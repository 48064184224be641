package gate_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/gate/internal/store"
	"github.com/dun-sec/dun/internal/govern/dayzero"
)

// How the disk behaves.
const (
	works       int32 = iota
	full              // the commit fails before it reaches the disk
	interrupted       // the commit reaches the disk and its answer does not come
)

// disk is the real store with a disk that can fail.
type disk struct {
	store.Store
	mode *atomic.Int32
}

func (d disk) Commit(ctx context.Context, g *store.Group) error {
	mode := d.mode.Load()
	if mode == full {
		return errors.New("database or disk is full (13)")
	}
	err := d.Store.Commit(ctx, g)
	if mode == interrupted && err == nil {
		err = errors.New("disk I/O error (10)")
	}
	return err
}

func withDisk(mode *atomic.Int32) func(*cell) {
	return func(c *cell) { c.wrap = func(s store.Store) store.Store { return disk{s, mode} } }
}

func TestAFullDiskChangesNothing(t *testing.T) {
	var mode atomic.Int32
	c := newCell(t, withDisk(&mode))
	r := c.must(shop)
	m := c.watch(t, operator, nil, "Site")
	m.next()
	at, size := c.At(), c.LogSize()
	mode.Store(full)
	errs := make([]error, 4)
	c.Together(
		func() { _, errs[0] = c.put(operator, site("platform", "b", "", "b.test")) },
		func() {
			_, errs[1] = c.patch(operator, r, map[string]any{"spec": map[string]any{"hosts": []any{"c.test"}}})
		},
		func() { _, _, errs[2] = c.OpenSession(t.Context(), operator, dayzero.Operator, "") },
		func() { _, errs[3] = c.keyed(operator, "k", "x", c.change(site("platform", "d", "", "d.test"))) },
	)
	for i, err := range errs {
		if !fault.Is(err, fault.Unavailable) {
			t.Errorf("caller %d: %v", i, err)
		}
		if e := fault.Of(err); strings.Contains(e.Detail.En, "disk") {
			t.Errorf("the caller is told internals: %q", e.Detail.En)
		}
	}
	o, err := c.Get(t.Context(), operator, r.Ref)
	if err != nil || o.Metadata.Revision != r.Revision || c.At() != at || c.LogSize() != size {
		t.Errorf("memory moved: %+v at %v, %d leaves, %v", o, c.At(), c.LogSize(), err)
	}
	if got := c.names(operator, gate.ListOptions{Kind: "Site", Tenant: "platform"}); len(got) != 1 {
		t.Errorf("%v", got)
	}
	c.check() // reading goes on

	mode.Store(works)
	next := c.must(site("platform", "b", "", "b.test"))
	if next.Revision != at.Revision+1 {
		t.Errorf("revision %d after %v", next.Revision, at)
	}
	if out, err := c.keyed(operator, "k", "x", c.change(site("platform", "d", "", "d.test"))); err != nil || out[0].Replayed {
		t.Errorf("%+v %v", out, err)
	}
	if m.until(c.At().Revision); fmt.Sprint(m.log) != "[reset +platform/shop +platform/b +platform/d]" {
		t.Errorf("watcher: %v", m.log)
	}
	c.check()
	c.reopen()
	c.check()
}

func TestACommitWhoseAnswerWasLostIsTakenAsWhatItIs(t *testing.T) {
	var mode atomic.Int32
	c := newCell(t, withDisk(&mode))
	mode.Store(interrupted)
	r, err := c.put(operator, shop)
	if err != nil {
		t.Fatal(err)
	}
	mode.Store(works)
	if r2 := c.must(site("platform", "b", "", "b.test")); r2.Revision != r.Revision+1 {
		t.Errorf("revision %d after %d", r2.Revision, r.Revision)
	}
	c.check()
	c.reopen()
	c.check()
}

// panicking makes the store panic when it looks for a reply.
type panicking struct{ store.Store }

func (p panicking) Reply(ctx context.Context, actor, key string) (store.Reply, error) {
	if key == "panic" {
		panic("boom")
	}
	return p.Store.Reply(ctx, actor, key)
}

// unreadable makes one history row unreadable.
type unreadable struct {
	store.Store
	revision *atomic.Uint64
}

func (u unreadable) Change(ctx context.Context, revision uint64) (store.Change, error) {
	if revision == u.revision.Load() {
		return store.Change{}, errors.New("database disk image is malformed (11)")
	}
	return u.Store.Change(ctx, revision)
}

func TestOneMembersTroubleIsItsOwn(t *testing.T) {
	var revision atomic.Uint64
	c := newCell(t, func(c *cell) {
		c.wrap = func(s store.Store) store.Store { return panicking{unreadable{s, &revision}} }
	})
	a := c.must(shop)
	revision.Store(a.Revision)
	size := c.LogSize()
	errs := make([]error, 5)
	host := func(h string) map[string]any { return map[string]any{"spec": map[string]any{"hosts": []any{h}}} }
	c.Together(
		func() { _, errs[0] = c.put(operator, site("platform", "b", "", "b.test")) },
		func() { _, errs[1] = c.keyed(operator, "panic", "x", c.change(site("platform", "c", "", "c.test"))) },
		// The first change of this request is written before the second one fails.
		func() {
			_, errs[2] = c.do(operator, c.change(site("platform", "c", "", "c.test")),
				gate.Change{Op: gate.Patch, Ref: a.Ref, Revision: a.Revision, Patch: host("d.test")})
		},
		func() {
			_, errs[3] = c.do(operator, gate.Change{Op: gate.Patch, Ref: a.Ref, Revision: a.Revision, Patch: host("e.test")})
		},
		func() {
			_, errs[4] = c.do(operator, c.change(site("platform", "c", "", "c.test")), c.change(site("platform", "d", "", "d.test")))
		},
	)
	for i, want := range []fault.Code{"", fault.Internal, fault.Internal, fault.Internal, ""} {
		if (errs[i] == nil) != (want == "") || errs[i] != nil && fault.Of(errs[i]).Code != want {
			t.Errorf("member %d: %v", i, errs[i])
		}
	}
	if c.LogSize() != size+3 {
		t.Errorf("%d leaves", c.LogSize()-size)
	}
	revision.Store(0)
	c.check()
	c.reopen()
	c.check()
}

// told passes on each line of a log.
type told chan string

func (t told) Write(b []byte) (int, error) {
	select {
	case t <- string(b):
	default:
	}
	return len(b), nil
}

func TestACheckpointThatCouldNotBeWrittenIsTriedAgain(t *testing.T) {
	lines := make(told, 1)
	c := newCell(t, func(c *cell) {
		c.log = slog.New(slog.NewTextHandler(lines, &slog.HandlerOptions{Level: slog.LevelError}))
	})
	if _, err := c.Checkpoint(t.Context(), operator); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(c.file("checkpoint")); err != nil {
		t.Fatal(err)
	}
	// A folder in its place cannot be replaced by a file.
	if err := os.MkdirAll(c.file("checkpoint/full"), 0o700); err != nil {
		t.Fatal(err)
	}
	c.must(shop)
	if line := <-lines; !strings.Contains(line, "checkpoint not signed") {
		t.Error(line)
	}
	if err := os.RemoveAll(c.file("checkpoint")); err != nil {
		t.Fatal(err)
	}
	b, err := c.Checkpoint(t.Context(), operator)
	if err != nil {
		t.Fatal(err)
	}
	if head, err := audit.OpenCheckpoint(b, c.vkey); err != nil || head.Size != c.LogSize() {
		t.Errorf("%+v %v", head, err)
	}
	if onDisk, err := os.ReadFile(c.file("checkpoint")); err != nil || string(onDisk) != string(b) {
		t.Errorf("%s %v", onDisk, err)
	}
}
