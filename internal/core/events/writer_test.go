package events

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestEventsAreSearchableWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := mustOpen(t, Options{Dir: t.TempDir(), Now: time.Now})
		l.Add(sample(0))
		<-time.After(batchDelay + time.Millisecond)
		synctest.Wait()
		same(t, "all", all(t, l, Query{}), []string{"e0"})
		mustClose(t, l)
	})
}

func TestRetentionByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l := mustOpen(t, Options{Dir: dir, Now: time.Now, MaxAge: 10 * 24 * time.Hour})
		day := func(n int) {
			<-time.After(24 * time.Hour)
			l.Add(Event{ID: fmt.Sprintf("day%d", n)})
			mustFlush(t, l)
		}
		for n := range 15 {
			day(n)
		}
		<-time.After(12 * time.Hour)
		synctest.Wait()
		got := all(t, l, Query{})
		if len(got) < 10 || len(got) > 11 || got[len(got)-1] != "day14" {
			t.Errorf("kept %v", got)
		}
		<-time.After(12 * 24 * time.Hour) // nothing happens on a quiet node: it forgets all the same
		synctest.Wait()
		same(t, "quiet", all(t, l, Query{}), nil)
		if left, _ := os.ReadDir(dir); len(left) != 0 || l.Removed() != 15 {
			t.Errorf("left %v, removed %d", left, l.Removed())
		}
		mustClose(t, l)
	})
}

func TestRetentionByBytesKeepsTheActiveSegment(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Options{Dir: dir, SegmentBytes: 10_000, MaxBytes: 50_000})
	_, after := func() ([]Event, string) { fill(t, l, 0, 30); return mustSearch(t, l, Query{Limit: 3}) }()
	fill(t, l, 30, 500)
	got := all(t, l, Query{})
	same(t, "the newest are kept", got, names(500-len(got), 500, nil))
	same(t, "a cursor into what was removed", all(t, l, Query{After: after}), got)
	var total int64
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if total > 60_000 || len(got) < 50 || l.Removed() == 0 {
		t.Errorf("%d bytes, %d events, %d segments removed", total, len(got), l.Removed())
	}
	mustClose(t, l)
	l = mustOpen(t, Options{Dir: t.TempDir(), MaxBytes: 1})
	fill(t, l, 0, 20)
	same(t, "active only", all(t, l, Query{}), names(0, 20, nil))
}

// disk is a segment file whose room can run out.
type disk struct {
	segmentFile
	room *atomic.Int64

	// not nil: a write says that it began, and waits for the gate
	entered, gate chan struct{}
}

var errFull = errors.New("no room")

func (d disk) WriteAt(p []byte, at int64) (int, error) {
	if d.gate != nil {
		select {
		case d.entered <- struct{}{}:
		default:
		}
		<-d.gate
	}
	if room := d.room.Load(); int64(len(p)) > room {
		n, _ := d.segmentFile.WriteAt(p[:max(room, 0)], at)
		return n, errFull
	}
	return d.segmentFile.WriteAt(p, at)
}

func openOnDisk(t *testing.T, opt Options, d disk) *Log {
	t.Helper()
	if opt.Now == nil {
		opt.Now = func() time.Time { return noon }
	}
	l, err := open(opt, func(path string) (segmentFile, error) {
		f, err := createSegment(path)
		return disk{f, d.room, d.entered, d.gate}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func newRoom(n int64) *atomic.Int64 {
	var room atomic.Int64
	room.Store(n)
	return &room
}

func TestFullDiskDropsAndResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		dir := t.TempDir()
		room := newRoom(1 << 20)
		l := openOnDisk(t, Options{Dir: dir, Now: time.Now, Log: j.logger(), Node: "n1"}, disk{room: room})
		l.Add(sample(0))
		mustFlush(t, l)
		room.Store(100)
		for n := 1; n < 20; n++ { // ten seconds
			l.Add(sample(n))
			<-time.After(500 * time.Millisecond)
		}
		synctest.Wait()
		if l.Dropped() != 19 || j.count("level=ERROR") != 1 {
			t.Errorf("dropped %d, said %s", l.Dropped(), j.buf.String())
		}
		if err := l.Flush(t.Context()); !errors.Is(err, errFull) { // the tale of the drops does not fit either
			t.Errorf("flush on a full disk: %v", err)
		}
		room.Store(1 << 20)
		l.Add(sample(20))
		mustFlush(t, l)
		got, _ := mustSearch(t, l, Query{})
		if len(got) != 3 || got[0].ID != "e0" || got[1].Kind != "drops" || got[1].Part != "events" || got[1].Node != "n1" ||
			got[1].Attributes["count"] != "19" || got[2].ID != "e20" || l.Dropped() != 19 {
			t.Errorf("dropped %d, found %+v", l.Dropped(), got)
		}
		mustClose(t, l)
		l = mustOpen(t, Options{Dir: dir})
		if got := all(t, l, Query{}); len(got) != 3 {
			t.Errorf("after a restart: %v", got)
		}
		mustClose(t, l)
	})
}

func TestFullQueueDropsAndTells(t *testing.T) {
	d := disk{room: newRoom(1 << 20), entered: make(chan struct{}, 1), gate: make(chan struct{})}
	l := openOnDisk(t, Options{Dir: t.TempDir(), Queue: 10}, d)
	l.Add(sample(0))
	flushed := make(chan error, 1)
	go func() { flushed <- l.Flush(t.Context()) }()
	<-d.entered // the writer hangs in its write, the queue is empty
	for n := 1; n <= 50; n++ {
		l.Add(sample(n))
	}
	if got := l.Dropped(); got != 40 {
		t.Errorf("dropped %d of 50", got)
	}
	close(d.gate)
	if err := <-flushed; err != nil {
		t.Error(err)
	}
	mustFlush(t, l)
	got, _ := mustSearch(t, l, Query{Kind: "drops"})
	if len(got) != 1 || got[0].Attributes["count"] != "40" || got[0].Tenant != "platform" {
		t.Errorf("drops: %+v", got)
	}
	same(t, "blocks", all(t, l, Query{Kind: "block"}), names(0, 11, nil))
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	gate := make(chan struct{})
	l := openOnDisk(t, Options{Dir: t.TempDir(), Queue: 100}, disk{room: newRoom(1 << 20), gate: gate})
	large := sample(0)
	for range maxRules {
		large.Rules = append(large.Rules, Rule{Match: string(make([]byte, 600)), Message: string(make([]byte, 600))})
	}
	for range 1000 {
		l.Add(large)
	}
	if got := l.waiting.Load(); got > 100*queuedBytes || l.Dropped() == 0 {
		t.Errorf("%d bytes wait, %d dropped", got, l.Dropped())
	}
	close(gate)
}

func TestFlushGivesUp(t *testing.T) {
	gate := make(chan struct{})
	l := openOnDisk(t, Options{Dir: t.TempDir()}, disk{room: newRoom(1 << 20), gate: gate})
	l.Add(sample(0))
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := l.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(gate)
	mustClose(t, l)
	if err := l.Flush(t.Context()); err == nil {
		t.Error("flushed a closed log")
	}
	l.Add(sample(1))
	if l.Dropped() != 1 {
		t.Errorf("dropped %d after close", l.Dropped())
	}
	same(t, "after close", all(t, l, Query{}), []string{"e0"})
}

func TestOpenRefusesBadOptions(t *testing.T) {
	for _, o := range []Options{{}, {Dir: "x", MaxBytes: -1}, {Dir: "x", MaxAge: -1}, {Dir: "x", Queue: -1}, {Dir: "x", SegmentBytes: -1}, {Dir: "x", SegmentBytes: 2 << 30}} {
		if _, err := Open(o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestManyGoroutines(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir(), SegmentBytes: 30_000, MaxBytes: 200_000})
	follower, err := l.Follow(t.Context(), Query{})
	if err != nil {
		t.Fatal(err)
	}
	var adders, readers sync.WaitGroup
	for g := range 4 {
		adders.Go(func() {
			for n := range 400 {
				l.Add(sample(g*400 + n))
			}
			if err := l.Flush(t.Context()); err != nil {
				t.Error(err)
			}
		})
		readers.Go(func() {
			for n := range 20 {
				q := Query{Limit: 50, NewestFirst: n%2 == 0, Tenants: []string{"acme"}}
				if _, _, err := l.Search(t.Context(), q); err != nil {
					t.Error(err)
				}
			}
		})
	}
	seen := 0
	readers.Go(func() {
		for range follower.All() {
			seen++
		}
	})
	adders.Wait()
	mustClose(t, l)
	readers.Wait()
	if total := seen + int(follower.Dropped()); total != 1600 {
		t.Errorf("the follower saw or lost %d of 1600", total)
	}
}
