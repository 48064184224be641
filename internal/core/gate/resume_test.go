package gate_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// resume goes on watching from where m had come, with what m had.
func (c *cell) resume(t *testing.T, a identity.Actor, m *mirror, at resource.Position) *mirror {
	t.Helper()
	feed, err := c.WatchFrom(a, []string{"Site"}, nil, at)
	if err != nil {
		t.Fatal(err)
	}
	return &mirror{t: t, feed: feed, has: m.has, at: m.at}
}

func TestAWatcherResumesWhereItWas(t *testing.T) {
	c := newCell(t)
	c.must(tenant("acme"))
	ann := c.staff("acme", "ann", "web", web)
	team := func(r gate.Result, v string) gate.Result {
		t.Helper()
		r, err := c.patch(operator, r, map[string]any{"metadata": map[string]any{"labels": map[string]any{"team": v}}})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	stays := c.must(site("acme", "stays", "labels: {team: web}", "a.test"))
	leaves := c.must(site("acme", "leaves", "labels: {team: web}", "b.test"))
	goes := c.must(site("acme", "goes", "labels: {team: web}", "c.test"))
	hidden := c.must(site("acme", "hidden", "labels: {team: db}", "d.test"))
	m := c.watch(t, ann, nil, "Site")
	m.next()

	team(stays, "web2")
	team(team(leaves, "db"), "ops")
	if err := c.remove(operator, goes); err != nil {
		t.Fatal(err)
	}
	if err := c.remove(operator, team(hidden, "ops")); err != nil {
		t.Fatal(err)
	}
	c.must(site("acme", "comes", "labels: {team: web}", "e.test"))
	m = c.resume(t, ann, m, m.at)
	for m.at.Revision < c.At().Revision {
		if b := m.next(); b.Reset {
			t.Fatal("the feed started over")
		}
	}
	if got := fmt.Sprint(m.log); got != "[-acme/stays -acme/leaves -acme/goes +acme/comes]" {
		t.Error(got)
	}
}

func TestAWatcherWhoCannotResumeStartsOver(t *testing.T) {
	const rule = "kind: Policy\nmetadata: {tenant: acme, name: closed}\nspec:\n  cedar: 'forbid (principal, action, resource is Site);'\n"
	for name, tt := range map[string]struct {
		meanwhile func(*cell)
		at        func(resource.Position) resource.Position
	}{
		"policy moved": {meanwhile: func(c *cell) { c.must(rule) }},
		"restarted":    {meanwhile: func(c *cell) { c.must(site("platform", "x", "", "x.test")); c.reopen() }},
		"too far behind": {meanwhile: func(c *cell) {
			c.must(site("platform", "x", "", "x.test"), site("platform", "y", "", "y.test"), site("platform", "z", "", "z.test"))
		}},
		"another epoch": {at: func(p resource.Position) resource.Position {
			return resource.Position{Epoch: "x", Revision: p.Revision}
		}},
		"from the future": {at: func(p resource.Position) resource.Position {
			return resource.Position{Epoch: p.Epoch, Revision: p.Revision + 9}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCell(t, func(c *cell) { c.ring = 2 })
			c.must(tenant("acme"))
			ann := c.staff("acme", "ann", "web", web)
			c.must(site("acme", "s", "labels: {team: web}", "s.test"))
			m := c.watch(t, ann, nil, "Site")
			m.next()
			at := m.at
			if tt.meanwhile != nil {
				tt.meanwhile(c)
			}
			if tt.at != nil {
				at = tt.at(at)
			}
			if b := c.resume(t, ann, m, at).next(); !b.Reset {
				t.Errorf("%+v", b)
			}
		})
	}
}

func TestARecordAsItWas(t *testing.T) {
	c := newCell(t)
	c.must(tenant("acme"))
	ann := c.staff("acme", "ann", "web", web)
	before := c.At().Revision
	ref, revs := c.lives() // web, db, ops, web, deleted
	teams := []string{"web", "db", "ops", "web", ""}
	seen := func(a identity.Actor, rev uint64) string {
		t.Helper()
		o, err := c.GetAt(t.Context(), a, ref, rev, time.Time{})
		if err != nil {
			wantCode(t, err, fault.NotFound)
			return ""
		}
		return o.Metadata.Labels["team"]
	}
	for i, rev := range revs {
		if got := seen(operator, rev); got != teams[i] {
			t.Errorf("operator at %d: %q, want %q", i, got, teams[i])
		}
		want := teams[i]
		if want != "web" {
			want = "" // hidden then, and nothing older in its place
		}
		if got := seen(ann, rev); got != want {
			t.Errorf("ann at %d: %q, want %q", i, got, want)
		}
	}
	for _, rev := range []uint64{before, 1} {
		if got := seen(operator, rev); got != "" {
			t.Errorf("before it was: %q", got)
		}
	}
	if got := seen(operator, 1<<64-1); got != "" {
		t.Errorf("after it was: %q", got)
	}
	live := c.must(site("acme", "live", "labels: {team: web}", "live.test"))
	if o, err := c.GetAt(t.Context(), ann, live.Ref, 1<<64-1, time.Time{}); err != nil || o.Metadata.Revision != live.Revision {
		t.Errorf("of a revision to come: %+v %v", o, err)
	}
	v := c.history(operator, ref, 0, 0)
	for _, x := range v {
		o, err := c.GetAt(t.Context(), operator, ref, 0, x.Time)
		if (err != nil) != (x.Object == nil) || err == nil && o.Metadata.Revision != x.Revision {
			t.Errorf("at the time of %d: %+v %v", x.Revision, o, err)
		}
	}
	_, err := c.GetAt(t.Context(), user("acme", "eve"), ref, revs[0], time.Time{})
	wantCode(t, err, fault.NotFound)
}
