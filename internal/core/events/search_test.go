package events

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/id"
)

// forms runs a test on events that lie in the active segment only, in many
// sealed ones, and in sealed ones that were recovered without their indexes.
func forms(t *testing.T, count int, check func(t *testing.T, l *Log)) {
	for name, segmentBytes := range map[string]int64{"active": 0, "sealed": 20_000} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := mustOpen(t, Options{Dir: dir, SegmentBytes: segmentBytes})
			fill(t, l, 0, count)
			check(t, l)
			mustClose(t, l)
			t.Run("reopened", func(t *testing.T) { check(t, mustOpen(t, Options{Dir: dir})) })
		})
	}
}

func TestSearchFindsByEveryField(t *testing.T) {
	const count = 700
	requests := make(map[int]string)
	forms(t, count, func(t *testing.T, l *Log) {
		everything := all(t, l, Query{Limit: 1000})
		same(t, "all", everything, names(0, count, nil))
		for name, c := range map[string]struct {
			q    Query
			keep func(n int) bool
		}{
			"tenant":          {Query{Tenants: []string{"acme"}}, func(n int) bool { return n%3 == 0 }},
			"two tenants":     {Query{Tenants: []string{"acme", "globex"}}, func(n int) bool { return n%3 < 2 }},
			"no tenant":       {Query{Tenants: []string{}}, func(int) bool { return false }},
			"unknown tenant":  {Query{Tenants: []string{"nobody"}}, func(int) bool { return false }},
			"action":          {Query{Action: "detected"}, func(n int) bool { return n%2 == 1 }},
			"kind, part":      {Query{Kind: "block", Part: "edge"}, nil},
			"other kind":      {Query{Kind: "drops"}, func(int) bool { return false }},
			"object":          {Query{Object: "site/shop"}, nil},
			"other object":    {Query{Object: "site/sho"}, func(int) bool { return false }},
			"since":           {Query{Since: noon.Add(600 * time.Second)}, func(n int) bool { return n >= 600 }},
			"until":           {Query{Until: noon.Add(100 * time.Second)}, func(n int) bool { return n < 100 }},
			"since and until": {Query{Since: noon.Add(300 * time.Second), Until: noon.Add(301 * time.Second)}, func(n int) bool { return n == 300 }},
			"until, since":    {Query{Since: noon.Add(301 * time.Second), Until: noon.Add(300 * time.Second)}, func(int) bool { return false }},
		} {
			for _, limit := range []int{7, 1000} {
				c.q.Limit = limit
				c.q.NewestFirst = false
				want := names(0, count, c.keep)
				same(t, name, all(t, l, c.q), want)
				c.q.NewestFirst = true
				slices.Reverse(want)
				same(t, name+", newest first", all(t, l, c.q), want)
			}
		}
		found, _ := mustSearch(t, l, Query{Limit: 1000})
		for n := 0; n < count; n += 97 {
			requests[n] = found[n].Request
			got, next := mustSearch(t, l, Query{Request: requests[n]})
			if next != "" || len(got) != 1 || !reflect.DeepEqual(got[0], found[n]) {
				t.Errorf("request of %d: %v %q", n, ids(got), next)
			}
		}
		if got, _ := mustSearch(t, l, Query{Request: id.Request(noon, 9)}); len(got) != 0 {
			t.Errorf("unknown request: %v", ids(got))
		}
	})
}

func TestOneRequestWithManyEvents(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir(), SegmentBytes: 3000})
	request := id.Request(noon, 1)
	for n, at := range []time.Duration{0, 9 * time.Minute, -30 * time.Second, 11 * time.Minute, 0} {
		for range 5 {
			l.Add(Event{ID: "other", Time: noon.Add(at), Request: id.Request(noon, 1)})
		}
		e := sample(n)
		e.Time, e.Request = noon.Add(at), request
		l.Add(e)
	}
	l.Add(Event{ID: "free", Time: noon, Request: "not a Dun id"})
	mustFlush(t, l)
	// The event 11 minutes later is outside of what is looked for.
	same(t, "oldest first", all(t, l, Query{Request: request, Limit: 1}), []string{"e0", "e1", "e2", "e4"})
	same(t, "newest first", all(t, l, Query{Request: request, Limit: 3, NewestFirst: true}), []string{"e4", "e2", "e1", "e0"})
	same(t, "tenant", all(t, l, Query{Request: request, Tenants: []string{"globex"}}), []string{"e1", "e4"})
	same(t, "free form", all(t, l, Query{Request: "not a Dun id"}), []string{"free"})
}

func TestCursorsStayTrueWhileEventsAreAdded(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir(), SegmentBytes: 20_000})
	fill(t, l, 0, 300)
	oldest, after := mustSearch(t, l, Query{Limit: 150})
	newest, before := mustSearch(t, l, Query{Limit: 150, NewestFirst: true})
	fill(t, l, 300, 600)
	rest := all(t, l, Query{Limit: 40, After: after})
	same(t, "oldest first", append(ids(oldest), rest...), names(0, 600, nil))
	want := names(0, 300, nil)
	slices.Reverse(want)
	same(t, "newest first", append(ids(newest), all(t, l, Query{Limit: 40, After: before, NewestFirst: true})...), want)
}

func TestSearchRefusesBadQueries(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir()})
	for _, q := range []Query{{Limit: -1}, {After: "x"}, {After: "1"}, {After: "1.-1x"}, {After: "01.2"}, {After: "+1.2"}, {After: "1.2.3"}} {
		if _, _, err := l.Search(t.Context(), q); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	fill(t, l, 0, 10)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := l.Search(ctx, Query{}); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
}

func TestLimitsOfAPage(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir()})
	fill(t, l, 0, 1100)
	for limit, want := range map[int]int{0: 100, 1: 1, 1000: 1000, 5000: 1000} {
		if got, next := mustSearch(t, l, Query{Limit: limit}); len(got) != want || next == "" {
			t.Errorf("limit %d: %d events, next %q", limit, len(got), next)
		}
	}
}
