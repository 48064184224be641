package gate_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
	"github.com/dun-sec/dun/internal/kinds"
)

// A case has the whole life of a record: state with verbs, status, a finalizer
// and a reference.
type (
	caseSpec struct {
		Site  string `json:"site,omitempty" format:"name" en:"Site" zh:"站点"`
		Title string `json:"title" required:"true" max:"64" en:"Title" zh:"标题"`
	}
	caseState struct {
		Phase  string    `json:"phase" enum:"open,closed" en:"Phase" zh:"阶段"`
		By     string    `json:"by,omitempty" en:"By" zh:"处理人"`
		Closed time.Time `json:"closed,omitzero" en:"Closed" zh:"关闭时间"`
	}
	caseStatus struct {
		Seen int `json:"seen" min:"0" en:"Seen" zh:"次数"`
	}
	closeInput struct {
		Outcome string `json:"outcome" required:"true" enum:"solved,dropped" en:"Outcome" zh:"结果"`
	}
)

func caseKind() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "Case", Plural: "cases", Short: "case", Scope: resource.ScopeTenant, Nav: "house", Version: 1,
		Title: text.T("Case", "案件"), Doc: text.T("A case.", "案件。"),
		Columns: []resource.Column{{Title: text.T("Phase", "阶段"), Value: func(o *resource.Object) string { return o.State.(*caseState).Phase }}},
		Example: "kind: Case\nmetadata: {tenant: platform, name: a}\nspec: {title: a}\n", Sensitivity: resource.SensitivityTenant, ApprovalClass: resource.ApprovalNone,
		NewState: func() any { return &caseState{Phase: "open"} }, NewStatus: func() any { return &caseStatus{} },
		StatusOwner: "counter", Finalizers: []string{"counter"},
		Verbs: []resource.Verb{
			resource.On(resource.Verb{Name: "close", Title: text.T("Close", "关闭"), Doc: text.T("Ends it.", "结束。")}, func(a resource.Act[caseSpec, caseState, closeInput]) error {
				if a.State.Phase == "closed" {
					return resource.Refuse("it is closed already", "已经关闭")
				}
				if a.Input.Outcome == "dropped" && a.Spec.Title == "must" {
					a.Report.Add("input.outcome", "this one is solved", "此案件必须解决")
				}
				a.Spec.Title, a.Metadata.Labels = "changed by a verb", map[string]string{"a": "b"} // must not reach the record
				a.State.Phase, a.State.By, a.State.Closed = "closed", a.Actor.Name, a.Time
				return nil
			}),
			resource.On(resource.Verb{Name: "reopen", Title: text.T("Reopen", "重开"), Doc: text.T("Begins anew.", "重新开始。")}, func(a resource.Act[caseSpec, caseState, resource.None]) error {
				if a.State.Phase == "open" {
					return errors.New("panics and errors of a verb are its own")
				}
				*a.State = caseState{Phase: "open"}
				return nil
			}),
		},
	}, resource.Behaviour[caseSpec]{
		Refs: func(m *resource.Metadata, s *caseSpec) []resource.Reference {
			if s.Site == "" {
				return nil
			}
			return []resource.Reference{{Path: "spec.site", To: resource.Ref{Kind: "Site", Tenant: m.Tenant, Name: s.Site}}}
		},
	})
}

func newCaseCell(t *testing.T) *cell {
	return newCell(t, func(c *cell) {
		var err error
		if c.reg, err = resource.NewRegistry(append(kinds.All(), caseKind())...); err != nil {
			t.Fatal(err)
		}
	})
}

var counter = identity.Service("counter")

const counterPolicy = "kind: Policy\nmetadata: {tenant: platform, name: counter}\nspec:\n  cedar: 'permit (principal == Service::\"platform/counter\", action in [Action::\"case.read\", Action::\"case.status\", Action::\"case.finalize\"], resource);'\n"

const aCase = "kind: Case\nmetadata: {tenant: platform, name: a}\nspec: {title: a}\n"

func act(r gate.Result, verb string, input any) gate.Change {
	return gate.Change{Op: gate.Act, Ref: r.Ref, Revision: r.Revision, Verb: verb, Input: input}
}

func (c *cell) one(a identity.Actor, ch gate.Change) (gate.Result, error) {
	out, err := c.do(a, ch)
	if err != nil {
		return gate.Result{}, err
	}
	return out[0], nil
}

func TestStateMovesByVerbsAlone(t *testing.T) {
	c := newCaseCell(t)
	c.must(tenant("acme"))
	ann := c.staff("acme", "ann", "clerk", `permit (principal in Role::"acme/clerk", action in [Action::"case.read", Action::"case.create", Action::"case.update", Action::"case.close"], resource is Case);`)
	r, err := c.put(ann, "kind: Case\nmetadata: {tenant: acme, name: a}\nspec: {title: must}\n")
	if err != nil || r.Object.State.(*caseState).Phase != "open" {
		t.Fatal(r, err)
	}
	_, err = c.one(ann, act(r, "close", nil))
	wantField(t, err, "input.outcome")
	_, err = c.one(ann, act(r, "close", map[string]any{"outcome": "lost", "more": 1}))
	wantField(t, err, "input.outcome")
	wantField(t, err, "input.more")
	_, err = c.one(ann, act(r, "close", map[string]any{"outcome": "dropped"}))
	wantField(t, err, "input.outcome")
	_, err = c.one(ann, act(r, "burn", nil))
	wantCode(t, err, fault.NotFound)
	stale := r
	stale.Revision--
	_, err = c.one(ann, act(stale, "close", closeInput{"solved"}))
	wantCode(t, err, fault.Conflict)
	stale.Revision = 0
	_, err = c.one(ann, act(stale, "close", closeInput{"solved"}))
	wantCode(t, err, fault.Invalid) // no unconditional verb
	_, err = c.one(ann, act(r, "reopen", nil))
	wantCode(t, err, fault.Forbidden) // before the state says anything
	_, err = c.one(operator, act(r, "reopen", nil))
	wantCode(t, fault.Of(err), fault.Internal)

	closed, err := c.one(ann, act(r, "close", closeInput{"solved"}))
	if err != nil {
		t.Fatal(err)
	}
	o := closed.Object
	if s := o.State.(*caseState); s.Phase != "closed" || s.By != "ann" || !s.Closed.Equal(o.Metadata.Updated) || o.Spec.(*caseSpec).Title != "must" || o.Metadata.Labels != nil {
		t.Errorf("%+v %+v", o, o.State)
	}
	_, err = c.one(ann, act(closed, "close", closeInput{"solved"}))
	wantCode(t, err, fault.Conflict)
	if r.Object.State.(*caseState).Phase != "open" {
		t.Error("the older version was changed")
	}
	// Neither a put nor a patch reaches state; both keep it.
	wrote, err := c.patch(ann, closed, map[string]any{"spec": map[string]any{"title": "b"}, "state": map[string]any{"phase": "open"}})
	wantField(t, err, "state")
	if wrote, err = c.patch(ann, closed, map[string]any{"spec": map[string]any{"title": "b"}}); err != nil || wrote.Object.State.(*caseState).Phase != "closed" {
		t.Errorf("%+v %v", wrote, err)
	}
	c.reopen()
	got, err := c.Get(t.Context(), ann, r.Ref)
	if err != nil || got.State.(*caseState).By != "ann" {
		t.Errorf("%+v %v", got, err)
	}
	if a := actions(c.history(ann, r.Ref, 0, 0)); !slices.Equal(a, []string{"update", "close", "create"}) {
		t.Error(a)
	}
	c.check()
}

func TestStatusHasOneOwnerAndNoHistory(t *testing.T) {
	c := newCaseCell(t)
	c.must(counterPolicy)
	r := c.must(aCase)
	m := c.watch(t, operator, nil, "Case")
	m.next()
	size := c.LogSize()
	_, err := c.SetStatus(t.Context(), operator, r.Ref, caseStatus{1})
	wantCode(t, err, fault.Forbidden) // whatever policy says: one owner
	_, err = c.SetStatus(t.Context(), identity.Service("other"), r.Ref, caseStatus{1})
	wantCode(t, err, fault.NotFound)
	_, err = c.SetStatus(t.Context(), counter, r.Ref, map[string]any{"seen": -1, "x": 2})
	wantField(t, err, "status.seen")
	wantField(t, err, "status.x")
	gone := r.Ref
	gone.UID = "aaaaaaaaaaaaaaaaaaaaaaaaaa"
	_, err = c.SetStatus(t.Context(), counter, gone, caseStatus{1})
	wantCode(t, err, fault.NotFound)
	if c.LogSize() != size {
		t.Error("a refused status made a leaf")
	}

	o, err := c.SetStatus(t.Context(), counter, r.Ref, caseStatus{7})
	if err != nil {
		t.Fatal(err)
	}
	if o.Metadata.Revision != r.Revision || o.Metadata.StatusRevision != c.At().Revision || o.Metadata.StatusRevision <= r.Revision {
		t.Errorf("%+v at %s", o.Metadata, c.At())
	}
	at := c.At()
	if same, err := c.SetStatus(t.Context(), counter, r.Ref, caseStatus{7}); err != nil || same.Metadata.StatusRevision != o.Metadata.StatusRevision || c.At() != at {
		t.Errorf("a status that says nothing new: %+v %v", same.Metadata, err)
	}
	m.until(at.Revision)
	if got := m.log[len(m.log)-1]; got != "+platform/a" || m.has["platform/a"] != at.Revision {
		t.Error(m.log, m.has)
	}
	if c.LogSize() != size || len(c.history(operator, r.Ref, 0, 0)) != 1 {
		t.Error("a status made a leaf or a version")
	}
	// Never a conflict, neither with a write that read the same revision nor of
	// a writer who knows nothing of it; what he writes keeps it.
	r2, err := c.patch(operator, r, map[string]any{"spec": map[string]any{"title": "b"}})
	if err != nil || r2.Object.Status.(*caseStatus).Seen != 7 || r2.Object.Metadata.StatusRevision != o.Metadata.StatusRevision {
		t.Fatalf("%+v %v", r2.Object, err)
	}
	if b, _ := r2.Object.Stored(); strings.Contains(string(b), "seen") {
		t.Errorf("a status is in what the log commits to: %s", b)
	}
	c.reopen()
	got, err := c.Get(t.Context(), operator, r.Ref)
	if err != nil || got.Status == nil || got.Status.(*caseStatus).Seen != 7 || got.Metadata.StatusRevision != o.Metadata.StatusRevision {
		t.Errorf("%+v %v", got, err)
	}
	c.check()
	// A record made anew under the name starts without.
	r3, err := c.one(operator, gate.Change{Op: gate.Delete, Ref: r2.Ref, Revision: r2.Revision})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.one(counter, gate.Change{Op: gate.Release, Ref: r2.Ref, Revision: r3.Revision, Verb: "counter"}); err != nil {
		t.Fatal(err)
	}
	if n := c.must(aCase); n.Object.Status != nil {
		t.Errorf("%+v", n.Object.Status)
	}
	c.reopen()
	if got, err := c.Get(t.Context(), operator, key(r.Ref)); err != nil || got.Status != nil {
		t.Errorf("%+v %v", got, err)
	}
}

func key(r resource.Ref) resource.Ref { r.UID = ""; return r }

func TestStatusesOfOneGroupAreOneRow(t *testing.T) {
	c := newCaseCell(t)
	c.must(counterPolicy)
	r := c.must(aCase)
	before := c.At().Revision
	var list []func()
	for i := range 20 {
		list = append(list, func() {
			if _, err := c.SetStatus(context.Background(), counter, r.Ref, caseStatus{100 + i}); err != nil {
				t.Error(err)
			}
		})
	}
	c.Together(list...)
	if got := c.At().Revision - before; got != 20 {
		t.Errorf("%d revisions", got)
	}
	want, _ := c.Get(t.Context(), operator, r.Ref)
	c.reopen()
	got, err := c.Get(t.Context(), operator, r.Ref)
	if err != nil || *got.Status.(*caseStatus) != *want.Status.(*caseStatus) || got.Metadata.StatusRevision != want.Metadata.StatusRevision {
		t.Errorf("%+v, want %+v, %v", got, want, err)
	}
	// The revisions that went with statuses are not given again.
	if n := c.must("kind: Case\nmetadata: {tenant: platform, name: b}\nspec: {title: b}\n"); n.Revision != before+21 {
		t.Errorf("revision %d, want %d", n.Revision, before+21)
	}
	c.check()
}

func TestADeletionWaitsForFinalizers(t *testing.T) {
	c := newCaseCell(t)
	c.must(counterPolicy)
	r := c.must(aCase)
	if !slices.Equal(r.Object.Metadata.Finalizers, []string{"counter"}) {
		t.Fatalf("%+v", r.Object.Metadata)
	}
	going, err := c.one(operator, gate.Change{Op: gate.Delete, Ref: r.Ref, Revision: r.Revision})
	if err != nil || going.Object == nil || going.Object.Metadata.Deleting == nil {
		t.Fatalf("%+v %v", going, err)
	}
	again, err := c.one(operator, gate.Change{Op: gate.Delete, Ref: r.Ref, Revision: going.Revision})
	if err != nil || !again.Unchanged {
		t.Errorf("%+v %v", again, err)
	}
	_, err = c.patch(operator, going, map[string]any{"spec": map[string]any{"title": "b"}})
	wantCode(t, err, fault.Conflict)
	_, err = c.one(operator, act(going, "close", closeInput{"solved"}))
	wantCode(t, err, fault.Conflict)
	c.reopen()
	_, err = c.one(counter, gate.Change{Op: gate.Release, Ref: r.Ref, Revision: going.Revision, Verb: "other"})
	wantCode(t, err, fault.NotFound)
	eve := c.must("kind: User\nmetadata: {tenant: platform, name: eve}\n")
	_, err = c.one(user("platform", eve.Ref.Name), gate.Change{Op: gate.Release, Ref: r.Ref, Revision: going.Revision, Verb: "counter"})
	wantCode(t, err, fault.NotFound)
	last, err := c.one(counter, gate.Change{Op: gate.Release, Ref: r.Ref, Revision: going.Revision, Verb: "counter"})
	if err != nil || last.Object != nil {
		t.Fatalf("%+v %v", last, err)
	}
	_, err = c.Get(t.Context(), operator, r.Ref)
	wantCode(t, err, fault.NotFound)
	if a := actions(c.history(operator, r.Ref, 0, 0)); !slices.Equal(a, []string{"finalize!", "delete", "create"}) {
		t.Error(a)
	}
	c.check()
	c.reopen()
	c.check()
}

func TestWhatIsNeededStays(t *testing.T) {
	c := newCaseCell(t)
	const needs = "kind: Case\nmetadata: {tenant: platform, name: a}\nspec: {title: a, site: shop}\n"
	_, err := c.put(operator, needs)
	wantField(t, err, "spec.site")
	s := c.must(shop)
	a := c.must(needs)
	err = c.remove(operator, s)
	wantCode(t, err, fault.Conflict)
	if !strings.Contains(err.Error(), "needed by Case platform/a") {
		t.Error(err)
	}
	// Both in one request, in either order: here the one that is needed first.
	del := func(r gate.Result) gate.Change { return gate.Change{Op: gate.Delete, Ref: r.Ref, Revision: r.Revision} }
	b, err := c.patch(operator, a, map[string]any{"spec": map[string]any{"site": nil}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.remove(operator, s); err != nil {
		t.Error(err) // nobody needs it any more
	}
	s = c.must(shop)
	ex := c.must("kind: Exclusion\nmetadata: {tenant: platform, name: e}\nspec: {site: shop, rule: 942100}\n")
	if _, err := c.do(operator, del(s), del(ex)); err != nil {
		t.Error(err)
	}
	out, err := c.do(operator, gate.Change{Op: gate.Patch, Ref: b.Ref, Revision: b.Revision, Patch: map[string]any{"spec": map[string]any{"site": "shop"}}}, c.change(shop))
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, c.remove(operator, out[1]), fault.Conflict)
	c.reopen()
	wantCode(t, c.remove(operator, out[1]), fault.Conflict)

	t.Run("what may not be read is as what is not there", func(t *testing.T) {
		c.must(tenant("acme"))
		ann := c.staff("acme", "ann", "clerk", `permit (principal in Role::"acme/clerk", action, resource is Case);`)
		c.must(site("acme", "hidden", "", "hidden.test"))
		put := func(name string) string {
			_, err := c.put(ann, "kind: Case\nmetadata: {tenant: acme, name: c}\nspec: {title: a, site: "+name+"}\n")
			wantField(t, err, "spec.site")
			return strings.ReplaceAll(fault.Of(err).Error(), name, "X")
		}
		if a, b := put("hidden"), put("absent"); a != b {
			t.Errorf("%s\n%s", a, b)
		}
		// Nor does a refusal to delete name what the deleter may not read.
		bob := c.staff("acme", "bob", "web", `permit (principal in Role::"acme/web", action, resource is Site);`)
		h, _ := c.Get(t.Context(), operator, resource.Ref{Kind: "Site", Tenant: "acme", Name: "hidden"})
		c.must("kind: Case\nmetadata: {tenant: acme, name: secretcase}\nspec: {title: a, site: hidden}\n")
		_, err := c.one(bob, gate.Change{Op: gate.Delete, Ref: h.Ref(), Revision: h.Metadata.Revision})
		wantCode(t, err, fault.Conflict)
		if strings.Contains(err.Error(), "secretcase") {
			t.Error(err)
		}
	})
	c.check()
}
