package events

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
)

func TestFollowerGetsWhatItAskedFor(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir()})
	fill(t, l, 0, 3)
	s, err := l.Follow(t.Context(), Query{Tenants: []string{"acme"}, Action: "blocked"})
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := l.Follow(t.Context(), Query{Tenants: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, 3, 20)
	mustClose(t, l) // ends the sequences, after what was buffered
	same(t, "acme", ids(slices.Collect(s.All())), []string{"e6", "e12", "e18"})
	same(t, "nobody", ids(slices.Collect(nobody.All())), nil)
}

func TestSlowFollowerLosesAndNeverBlocks(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir()})
	slow, err := l.Follow(t.Context(), Query{})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, 0, 1000)
	if slow.Dropped() != 1000-followBuffer {
		t.Errorf("lost %d", slow.Dropped())
	}
	mustClose(t, l)
	same(t, "the first are kept", ids(slices.Collect(slow.All())), names(0, followBuffer, nil))
	same(t, "the log has all", all(t, l, Query{}), names(0, 1000, nil))
}

func TestFollowerEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := mustOpen(t, Options{Dir: t.TempDir()})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s, err := l.Follow(ctx, Query{})
		if err != nil {
			t.Fatal(err)
		}
		fill(t, l, 0, 5)
		var got []string
		for e := range s.All() {
			if got = append(got, e.ID); len(got) == 2 {
				cancel()
			}
		}
		same(t, "until the end", got, []string{"e0", "e1"})
		synctest.Wait()
		l.followMu.Lock()
		if len(l.followers) != 0 {
			t.Error("the subscription is kept")
		}
		l.followMu.Unlock()
		mustClose(t, l)
	})
}

func TestPagingDoesNotConcernAFollower(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir()})
	if _, err := l.Follow(t.Context(), Query{Limit: -1, After: "x"}); err != nil {
		t.Error(err)
	}
}

func TestFollowersDoNotShare(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir()})
	a, _ := l.Follow(t.Context(), Query{})
	b, _ := l.Follow(t.Context(), Query{})
	fill(t, l, 0, 1)
	mustClose(t, l)
	for e := range a.All() {
		e.Attributes["path"], e.Rules[0].Match = "changed", "changed"
	}
	for e := range b.All() {
		if e.Attributes["path"] != "/search" || e.Rules[0].Match != "1' OR 1=1--" {
			t.Errorf("got %+v", e)
		}
	}
}
