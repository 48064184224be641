package verdicts

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/core/fault"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newSet(most int) (*Set, *clock.Fake) {
	c := clock.NewFake(start)
	return New(Options{Clock: c, Max: most, MaxLife: time.Hour}), c
}

func ban(key string, until time.Time) Verdict {
	return Verdict{Kind: "ban", Key: key, Until: until, Rule: "rate", Node: "n1"}
}

func put(t testing.TB, s *Set, vs ...Verdict) {
	t.Helper()
	for _, v := range vs {
		if err := s.Put(v); err != nil {
			t.Fatal(err)
		}
	}
}

func TestVerdictsHoldUntilTheirEnd(t *testing.T) {
	s, c := newSet(10)
	put(t, s, ban("a", start.Add(time.Minute)), ban("b", start.Add(2*time.Minute)), ban("old", start))
	if !s.Has("ban", "a") || s.Has("pass", "a") || s.Has("ban", "old") || s.Len() != 2 {
		t.Fatalf("holds %v", s.All())
	}
	c.Advance(time.Minute - time.Microsecond)
	if !s.Has("ban", "a") {
		t.Error("ended early")
	}
	c.Advance(time.Microsecond)
	if s.Has("ban", "a") || !s.Has("ban", "b") || s.Len() != 1 {
		t.Errorf("after a minute: %v", s.All())
	}
	put(t, s, ban("c", start.Add(time.Hour)))
	if len(s.held) != 2 || len(s.queue) != 2 {
		t.Error("what ended still takes room")
	}
	if got := s.All(); len(got) != 2 || got[0] != ban("b", start.Add(2*time.Minute)) || got[1].Key != "c" {
		t.Errorf("all are %v", got)
	}
}

func TestLifeIsBounded(t *testing.T) {
	s, c := newSet(10)
	put(t, s, ban("a", start.AddDate(1_000_000, 0, 0)))
	if got := s.All()[0].Until; !got.Equal(start.Add(time.Hour)) {
		t.Errorf("lives until %v", got)
	}
	c.Advance(time.Hour)
	if s.Has("ban", "a") {
		t.Error("lives longer than MaxLife")
	}
}

func TestTheLaterEndWinsThenTheSmallerNode(t *testing.T) {
	s, _ := newSet(10)
	late := ban("a", start.Add(2*time.Minute))
	late.Node = "n2"
	put(t, s, late, ban("a", start.Add(time.Minute)))
	if s.All()[0] != late {
		t.Errorf("kept %v", s.All()[0])
	}
	put(t, s, ban("a", late.Until))
	if got := s.All(); len(got) != 1 || got[0].Node != "n1" {
		t.Errorf("kept %v", got)
	}
	put(t, s, late)
	if s.All()[0].Node != "n1" {
		t.Error("the larger node won")
	}
}

func TestAFullSetLetsTheSoonestEndGo(t *testing.T) {
	s, _ := newSet(3)
	for i := range 5 {
		put(t, s, ban(fmt.Sprint(i), start.Add(time.Duration(i+1)*time.Minute)))
	}
	put(t, s, ban("short", start.Add(time.Second)))
	if s.Len() != 3 || s.Has("ban", "1") || s.Has("ban", "short") || !s.Has("ban", "2") || s.Evicted() != 3 {
		t.Errorf("holds %v, evicted %d", s.All(), s.Evicted())
	}
	// A longer life moves one back in the queue.
	put(t, s, ban("2", start.Add(30*time.Minute)), ban("6", start.Add(10*time.Minute)))
	if !s.Has("ban", "2") || s.Has("ban", "3") {
		t.Errorf("holds %v", s.All())
	}
}

func TestAWallThatGoesBackMakesNoBanLonger(t *testing.T) {
	s, c := newSet(10)
	put(t, s, ban("a", start.Add(10*time.Minute)))
	c.Jump(-30 * time.Minute)
	c.Advance(10 * time.Minute)
	if s.Has("ban", "a") || s.Len() != 0 {
		t.Error("the ban grew longer with the jump")
	}
	message := appendEntry([]byte(headEntries), newEntry(ban("a", start.Add(10*time.Minute)), start.Add(10*time.Minute).UnixMicro()))
	if n, err := s.Merge(message); n != 0 || err != nil || s.Has("ban", "a") {
		t.Errorf("a peer brought it back to life: %d %v", n, err)
	}
	put(t, s, ban("a", c.Now().Add(time.Minute)))
	if !s.Has("ban", "a") {
		t.Error("a new ban for the same key does not hold")
	}
}

func TestAWallThatJumpsForwardAndBackUndoesNothing(t *testing.T) {
	s, c := newSet(10)
	put(t, s, ban("a", start.Add(10*time.Minute)))
	c.Jump(24 * time.Hour)
	if s.Has("ban", "a") {
		t.Error("holds after its end")
	}
	c.Jump(-24 * time.Hour)
	if !s.Has("ban", "a") {
		t.Error("is gone")
	}
}

func TestTheDeadDoNotCrowdOutTheLiving(t *testing.T) {
	s, c := newSet(3)
	for i := range 3 {
		put(t, s, ban(fmt.Sprint(i), start.Add(time.Hour)))
	}
	c.Jump(-1000 * time.Hour)
	c.Advance(time.Hour)
	put(t, s, ban("new", c.Now().Add(time.Minute)))
	if !s.Has("ban", "new") || s.Len() != 1 || s.Evicted() != 0 {
		t.Errorf("holds %v", s.All())
	}
}

func TestNamesAreBounded(t *testing.T) {
	s, _ := newSet(10)
	for _, change := range []func(*Verdict){
		func(v *Verdict) { v.Kind = "" },
		func(v *Verdict) { v.Key = "" },
		func(v *Verdict) { v.Rule = "" },
		func(v *Verdict) { v.Node = "" },
		func(v *Verdict) { v.Kind = strings.Repeat("k", MaxKind+1) },
		func(v *Verdict) { v.Key = strings.Repeat("k", MaxKey+1) },
		func(v *Verdict) { v.Rule = strings.Repeat("k", MaxRule+1) },
		func(v *Verdict) { v.Node = strings.Repeat("k", MaxNode+1) },
		func(v *Verdict) { v.Key = "\xff" },
	} {
		v := ban("a", start.Add(time.Minute))
		change(&v)
		if err := s.Put(v); !fault.Is(err, fault.Invalid) || s.Len() != 0 {
			t.Errorf("%+v: %v", v, err)
		}
	}
	put(t, s, ban(strings.Repeat("k", MaxKey), start.Add(time.Minute)))
}

func TestOptionsComeIntoRange(t *testing.T) {
	s := New(Options{Max: LimitMax + 1, MaxLife: LimitMaxLife + 1})
	if s.max != LimitMax || s.maxLife != LimitMaxLife {
		t.Error(s.max, s.maxLife)
	}
	if s = New(Options{Max: -1}); s.max != DefaultMax || s.maxLife != DefaultMaxLife {
		t.Error(s.max, s.maxLife)
	}
}

func TestManyUseOneSet(t *testing.T) {
	c := clock.NewFake(start)
	a, b := New(Options{Clock: c, Max: 200, MaxLife: time.Hour}), New(Options{Clock: c, Max: 200, MaxLife: time.Hour})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 300 {
				v := ban(fmt.Sprint(w, i%90), start.Add(time.Duration(1+i)*time.Second))
				_ = a.Put(v)
				a.Has("ban", v.Key)
				c.Advance(time.Millisecond)
				if i%50 == 0 {
					r, _ := b.Differ(a.Digest())
					if m, err := a.Entries(r); err == nil {
						_, _ = b.Merge(m)
					}
					_ = b.Restore(a.Snapshot())
					a.All()
					a.Len()
				}
			}
		})
	}
	wg.Wait()
	if len(a.held) != len(a.queue) || len(a.queue) > 200 {
		t.Errorf("holds %d, queues %d", len(a.held), len(a.queue))
	}
	for i, e := range a.queue {
		if e.index != i || a.held[e.name] != e {
			t.Fatalf("entry %d is out of place", i)
		}
	}
}

func BenchmarkHas(b *testing.B) {
	s := New(Options{})
	for i := range 100_000 {
		put(b, s, ban(fmt.Sprint(i), time.Now().Add(time.Hour)))
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.Has("ban", "77777")
		}
	})
}

func BenchmarkDigest(b *testing.B) {
	s := New(Options{})
	for i := range 100_000 {
		put(b, s, ban(fmt.Sprint(i), time.Now().Add(time.Hour)))
	}
	for b.Loop() {
		s.Digest()
	}
}
