package gate_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// mirror is what a watcher knows from what it was told.
type mirror struct {
	t      *testing.T
	feed   resource.Feed
	has    map[string]uint64
	resets int
	at     resource.Position
	log    []string
}

func (c *cell) watch(t *testing.T, a identity.Actor, keep func(*resource.Object) bool, kinds ...string) *mirror {
	t.Helper()
	feed, err := c.Watch(a, kinds, keep)
	if err != nil {
		t.Fatal(err)
	}
	return &mirror{t: t, feed: feed, has: map[string]uint64{}}
}

// next takes one batch, which must be there already.
func (m *mirror) next() resource.Batch {
	m.t.Helper()
	b, err := m.feed.Next(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	m.apply(b)
	return b
}

func (m *mirror) apply(b resource.Batch) {
	m.t.Helper()
	if b.Reset {
		m.resets++
		clear(m.has)
		m.log = append(m.log, "reset")
	}
	if b.At.Revision < m.at.Revision {
		m.t.Errorf("position %v after %v", b.At, m.at)
	}
	m.at = b.At
	for _, c := range b.Changes {
		name := c.Ref.Tenant + "/" + c.Ref.Name
		if c.Object == nil {
			if _, ok := m.has[name]; !ok {
				m.t.Errorf("%s is deleted and was never shown", name)
			}
			delete(m.has, name)
			m.log = append(m.log, "-"+name)
			continue
		}
		if c.Revision <= m.has[name] {
			m.t.Errorf("%s of revision %d came again", name, c.Revision)
		}
		m.has[name] = c.Revision
		m.log = append(m.log, "+"+name)
	}
}

// until takes batches up to the revision.
func (m *mirror) until(revision uint64) *mirror {
	m.t.Helper()
	for m.at.Revision < revision || m.resets == 0 {
		m.next()
	}
	return m
}

func TestAWatcherSeesStateAndThenChanges(t *testing.T) {
	c := newCell(t)
	a := c.must(site("platform", "a", "", "a.test"))
	m := c.watch(t, operator, nil, "sites")
	b := m.next()
	if !b.Reset || !b.Synced || b.At != c.At() || len(m.has) != 1 {
		t.Fatalf("%+v", b)
	}
	x := c.must(site("platform", "b", "", "b.test"))
	if b = m.until(x.Revision).next0(c); b.Reset {
		t.Error("a change started the feed over")
	}
	if err := c.remove(operator, a); err != nil {
		t.Fatal(err)
	}
	c.must("kind: Ban\nmetadata: {tenant: platform, name: n}\nspec: {action: ban, sources: [192.0.2.1]}\n")
	m.until(c.At().Revision)
	if got := fmt.Sprint(m.log); got != "[reset +platform/a +platform/b -platform/a]" {
		t.Error(got)
	}
	if _, err := c.Watch(operator, []string{"thing"}, nil); err == nil {
		t.Error("an unknown kind is watched")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.feed.Next(ctx); err == nil {
		t.Error("a watcher who left got a batch")
	}
}

// next0 makes one more change and takes the batch that brings it.
func (m *mirror) next0(c *cell) resource.Batch {
	m.t.Helper()
	c.must("kind: Ban\nmetadata: {tenant: platform, name: tick}\nspec: {action: ban, sources: [192.0.2.9]}\n")
	return m.next()
}

func TestWhatLeavesTheFilterArrivesAsADeletion(t *testing.T) {
	c := newCell(t)
	c.must(tenant("acme"))
	ann := c.staff("acme", "ann", "web", web)
	label := func(r gate.Result, v string) gate.Result {
		t.Helper()
		next, err := c.patch(operator, r, map[string]any{"metadata": map[string]any{"labels": map[string]any{"team": v}}})
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	sel, err := resource.ParseSelector("team=web")
	if err != nil {
		t.Fatal(err)
	}
	byPolicy := c.watch(t, ann, nil, "Site")
	byFilter := c.watch(t, operator, func(o *resource.Object) bool { return sel.Matches(o.Metadata.Labels) }, "Site")
	for _, m := range []*mirror{byPolicy, byFilter} {
		m.next()
	}
	r := c.must(site("acme", "s", "labels: {team: web}", "s.test"))
	hidden := c.must(site("acme", "h", "labels: {team: db}", "h.test"))
	r = label(r, "db")
	hidden = label(hidden, "ops")
	r = label(r, "ops")
	r = label(r, "web")
	if err := c.remove(operator, hidden); err != nil {
		t.Fatal(err)
	}
	r = label(r, "db")
	if err := c.remove(operator, r); err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]*mirror{"policy": byPolicy, "filter": byFilter} {
		m.until(c.At().Revision)
		if got := fmt.Sprint(m.log); got != "[reset +acme/s -acme/s +acme/s -acme/s]" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestAChangeOfPolicyStartsAFeedOver(t *testing.T) {
	c := newCell(t)
	c.must(tenant("acme"))
	ann := c.staff("acme", "ann", "web", web)
	c.must(site("acme", "s", "labels: {team: web}", "s.test"))
	m := c.watch(t, ann, nil, "Site")
	if m.next(); len(m.has) != 1 {
		t.Fatalf("%v", m.has)
	}
	c.must(site("acme", "t", "labels: {team: web}", "t.test"))
	c.must("kind: Policy\nmetadata: {tenant: acme, name: closed}\nspec:\n  cedar: 'forbid (principal, action, resource is Site);'\n")
	if b := m.next(); !b.Reset || len(m.has) != 0 || m.resets != 2 {
		t.Errorf("%+v", b)
	}
	if slices.Contains(m.log, "+acme/t") {
		t.Error("a record was shown after the policy had closed")
	}
}

func TestASlowWatcherListsAgainAndHoldsNobodyUp(t *testing.T) {
	c := newCell(t, func(c *cell) { c.ring = 8 })
	slow, quick := c.watch(t, operator, nil, "Site"), c.watch(t, operator, nil, "Site")
	slow.next()
	quick.next()
	for i := range 30 {
		r := c.must(site("platform", fmt.Sprintf("s%d", i), "", fmt.Sprintf("s%d.test", i)))
		quick.until(r.Revision)
	}
	slow.until(c.At().Revision)
	if slow.resets != 2 || quick.resets != 1 || len(slow.has) != 30 || len(quick.has) != 30 {
		t.Errorf("slow: %d resets, %d records; quick: %d, %d", slow.resets, len(slow.has), quick.resets, len(quick.has))
	}
	// One group that is larger than the ring.
	var changes []gate.Change
	for i := range 20 {
		changes = append(changes, c.change(site("platform", fmt.Sprintf("g%d", i), "", fmt.Sprintf("g%d.test", i))))
	}
	if _, err := c.do(operator, changes...); err != nil {
		t.Fatal(err)
	}
	if quick.until(c.At().Revision); len(quick.has) != 50 || quick.resets != 2 {
		t.Errorf("%d records, %d resets", len(quick.has), quick.resets)
	}
}

func TestALongLagComesInBatches(t *testing.T) {
	c := newCell(t)
	m := c.watch(t, operator, nil, "Site", "Ban")
	m.next()
	for i := range 25 {
		var changes []gate.Change
		for j := range 100 {
			name := fmt.Sprintf("b%d-%d", i, j)
			changes = append(changes, c.change("kind: Ban\nmetadata: {tenant: platform, name: "+name+"}\nspec: {action: ban, sources: [192.0.2.1]}\n"))
		}
		if _, err := c.do(operator, changes...); err != nil {
			t.Fatal(err)
		}
	}
	first := m.next()
	if len(first.Changes) != 1000 || first.Synced || first.At.Revision != first.Changes[999].Revision {
		t.Errorf("%d changes at %v, synced %v", len(first.Changes), first.At, first.Synced)
	}
	if m.until(c.At().Revision); len(m.has) != 2500 || m.resets != 1 {
		t.Errorf("%d records, %d resets", len(m.has), m.resets)
	}
}
