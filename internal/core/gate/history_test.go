package gate_test

import (
	"slices"
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

func (c *cell) history(a identity.Actor, ref resource.Ref, before uint64, limit int) []gate.Version {
	c.t.Helper()
	v, err := c.History(c.t.Context(), a, ref, before, limit)
	if err != nil {
		c.t.Fatal(err)
	}
	return v
}

func actions(v []gate.Version) (out []string) {
	for _, x := range v {
		s := x.Action
		if x.Object == nil {
			s += "!"
		}
		out = append(out, s)
	}
	return out
}

// lives makes a site, changes it, deletes it and makes it anew; old and gone
// versions are of the team db, the others of web.
func (c *cell) lives() (ref resource.Ref, revisions []uint64) {
	step := func(r gate.Result, err error) gate.Result {
		c.t.Helper()
		if err != nil {
			c.t.Fatal(err)
		}
		revisions = append(revisions, r.Revision)
		return r
	}
	team := func(v string) map[string]any {
		return map[string]any{"metadata": map[string]any{"labels": map[string]any{"team": v}}}
	}
	r := step(c.put(operator, site("acme", "s", "labels: {team: web}", "s.test")))
	r = step(c.patch(operator, r, team("db")))
	r = step(c.patch(operator, r, team("ops")))
	r = step(c.patch(operator, r, team("web")))
	out, err := c.do(operator, gate.Change{Op: gate.Delete, Ref: r.Ref, Revision: r.Revision})
	if err != nil {
		c.t.Fatal(err)
	}
	revisions = append(revisions, out[0].Revision)
	ref = r.Ref
	ref.UID = ""
	return ref, revisions
}

func TestHistoryTellsEverythingThatHappened(t *testing.T) {
	c := newCell(t)
	c.must(tenant("acme"))
	ref, revs := c.lives()
	all := []string{"delete!", "update", "update", "update", "create"}
	if got := actions(c.history(operator, ref, 0, 0)); !slices.Equal(got, all) {
		t.Errorf("deleted: %v", got)
	}
	if got := actions(c.history(operator, ref, revs[4], 2)); !slices.Equal(got, []string{"update", "update"}) {
		t.Errorf("page: %v", got)
	}
	if got := c.history(operator, ref, revs[0], 10); len(got) != 0 {
		t.Errorf("after the end: %v", got)
	}
	c.must(site("acme", "s", "", "s.test"))
	if got := actions(c.history(operator, ref, 0, 0)); !slices.Equal(got, append([]string{"create"}, all...)) {
		t.Errorf("made anew: %v", got)
	}
	c.reopen()
	v := c.history(operator, ref, 1<<63, 100)
	for i, x := range v[1:] {
		if want := revs[len(revs)-1-i]; x.Revision != want || x.Actor != "User platform/operator" || x.Request != "req1" || x.Time.IsZero() || x.Object != nil && x.Object.Metadata.Revision != want {
			t.Errorf("%d: %+v", i, x)
		}
	}
	_, err := c.History(t.Context(), operator, resource.Ref{Kind: "Site", Tenant: "acme", Name: "none"}, 0, 0)
	wantCode(t, err, fault.NotFound)
}

func TestAnOldVersionIsShownToWhoMightHaveReadIt(t *testing.T) {
	c := newCell(t)
	c.must(tenant("acme"))
	ann := c.staff("acme", "ann", "web", web)
	ref, revs := c.lives()
	visible := []string{"delete!", "update", "create"}
	if got := actions(c.history(ann, ref, 0, 0)); !slices.Equal(got, visible) {
		t.Errorf("%v", got)
	}
	// The hidden ones in the middle do not end a page.
	for _, limit := range []int{1, 2} {
		var got []string
		for before := uint64(0); ; {
			v := c.history(ann, ref, before, limit)
			if len(v) == 0 {
				break
			}
			got, before = append(got, actions(v)...), v[len(v)-1].Revision
		}
		if !slices.Equal(got, visible) {
			t.Errorf("limit %d: %v", limit, got)
		}
	}
	// A hidden living record hides all of it.
	c.must(site("acme", "s", "labels: {team: db}", "s.test"))
	_, err := c.History(t.Context(), ann, ref, 0, 0)
	wantCode(t, err, fault.NotFound)
	_, err = c.Prove(t.Context(), ann, ref, revs[0])
	wantCode(t, err, fault.NotFound)
}

func TestAProofNeedsBothSides(t *testing.T) {
	c := newCell(t)
	c.must(tenant("acme"))
	ann := c.staff("acme", "ann", "web", web)
	ref, revs := c.lives()
	for i, want := range []bool{true, false, false, false, true} { // revs[3] is visible, what it replaced is not
		_, err := c.Prove(t.Context(), ann, ref, revs[i])
		if want && err != nil || !want && !fault.Is(err, fault.NotFound) {
			t.Errorf("revision %d: %v", i, err)
		}
		if _, err := c.Prove(t.Context(), operator, ref, revs[i]); err != nil {
			t.Errorf("operator, revision %d: %v", i, err)
		}
	}
	hidden, missing := fault.Of(second(c.Prove(t.Context(), ann, ref, revs[1]))), fault.Of(second(c.Prove(t.Context(), ann, ref, revs[4]+1)))
	if len(hidden.Detail.En) != len(missing.Detail.En) {
		t.Errorf("a hidden revision shows: %q, %q", hidden.Detail.En, missing.Detail.En)
	}
	for _, rev := range []uint64{1, 1 << 63, 1<<64 - 1} {
		_, err := c.Prove(t.Context(), operator, ref, rev)
		wantCode(t, err, fault.NotFound)
	}
}

func second[A any](_ A, err error) error { return err }
