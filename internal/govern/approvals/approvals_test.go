package approvals_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/approvals"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/kinds/access"
	"github.com/dun-sec/dun/internal/kinds/response"
	"github.com/dun-sec/dun/internal/lab"
)

// cell is a gate with founders op and ann, and a clock.
type cell struct {
	*gate.Gate
	t *testing.T

	mu  sync.Mutex
	now time.Time
}

func user(name string) identity.Actor {
	return identity.Actor{Principal: resource.Ref{Kind: "User", Tenant: "platform", Name: name}, Door: "api", MFA: true}
}

var op, ann = user("operator"), user("ann")

func (c *cell) clock() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *cell) pass(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
}

func start(t *testing.T, founders ...string) *cell {
	t.Helper()
	c := &cell{t: t, now: time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)}
	c.Gate = lab.Gate(t, lab.Kinds(t), func(o *gate.Options) { o.Approvals, o.Now = approvals.Rules{First: dayzero.Operator}, c.clock })
	if err := dayzero.Run(t.Context(), c.Gate, "test"); err != nil {
		t.Fatal(err)
	}
	for _, f := range founders {
		if _, err := dayzero.Found(t.Context(), c.Gate, f); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func object(t *testing.T, yaml string) *resource.Object {
	t.Helper()
	docs, err := resource.ParseYAML([]byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	o, _, err := lab.Kinds(t).Decode(docs[0])
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// put applies a manifest and returns the name of the request that waits.
func (c *cell) put(a identity.Actor, yaml string) (string, error) {
	c.t.Helper()
	o := object(c.t, yaml)
	rev := uint64(0)
	if old, err := c.Get(c.t.Context(), a, o.Ref()); err == nil {
		rev = old.Metadata.Revision
	}
	_, err := c.Apply(c.t.Context(), gate.Request{Actor: a, Changes: []gate.Change{{Op: gate.Put, Ref: o.Ref(), Object: o, Revision: rev}}})
	if w, ok := errors.AsType[*gate.Waiting](err); ok {
		return w.Request.Name, nil
	}
	return "", err
}

func (c *cell) asks(a identity.Actor, yaml string) string {
	c.t.Helper()
	name, err := c.put(a, yaml)
	if err != nil || name == "" {
		c.t.Fatalf("%q %v", name, err)
	}
	return name
}

func (c *cell) does(a identity.Actor, yaml string) {
	c.t.Helper()
	if name, err := c.put(a, yaml); err != nil || name != "" {
		c.t.Fatalf("%q %v", name, err)
	}
}

func ref(name string) resource.Ref {
	return resource.Ref{Kind: "ChangeRequest", Tenant: "platform", Name: name}
}

func (c *cell) act(a identity.Actor, verb, name string, input any) error {
	c.t.Helper()
	o, err := c.Get(c.t.Context(), op, ref(name))
	if err != nil {
		c.t.Fatal(err)
	}
	_, err = c.Apply(c.t.Context(), gate.Request{Actor: a, Changes: []gate.Change{{Op: gate.Act, Ref: ref(name), Verb: verb, Revision: o.Metadata.Revision, Input: input}}})
	return err
}

func (c *cell) approve(a identity.Actor, name string) error { return c.act(a, "approve", name, nil) }

// run lets the controller do what is due, and ends it.
func (c *cell) run() {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	done := make(chan error)
	go func() {
		done <- approvals.Run(ctx, approvals.Options{Gate: c.Gate, Clock: at{clock.New(), c.clock}, Log: slog.New(slog.DiscardHandler)})
	}()
	for late := time.Now().Add(lab.Wait); c.due(); {
		if time.Now().After(late) {
			c.t.Error("the controller does not do what is due")
			break
		}
		<-time.After(5 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		c.t.Fatal(err)
	}
}

// due reports whether some request waits for the controller.
func (c *cell) due() bool {
	c.t.Helper()
	page, err := c.List(c.t.Context(), op, gate.ListOptions{Kind: "ChangeRequest", Tenant: gate.AllTenants})
	if err != nil {
		c.t.Fatal(err)
	}
	now := c.clock()
	return slices.ContainsFunc(page.Items, func(o *resource.Object) bool {
		spec, st := o.Spec.(*access.ChangeRequestSpec), o.State.(*access.ChangeRequestState)
		switch st.Phase {
		case access.PhaseApproved:
			return spec.NotBefore == nil || !now.Before(*spec.NotBefore)
		case access.PhaseGlass:
			return !now.Before(spec.Expires)
		case access.PhaseOpen:
			replayed, _ := o.Status.(*access.ChangeRequestStatus)
			moves := slices.ContainsFunc(spec.Changes, func(x access.RequestedChange) bool { return x.Kind == "Policy" })
			return !now.Before(spec.Expires) || moves && replayed == nil
		}
		return false
	})
}

type at struct {
	clock.Clock
	now func() time.Time
}

func (a at) Now() time.Time { return a.now() }

func (c *cell) phase(name string) (string, string) {
	c.t.Helper()
	o, err := c.Get(c.t.Context(), op, ref(name))
	if err != nil {
		c.t.Fatal(err)
	}
	s := o.State.(*access.ChangeRequestState)
	return s.Phase, s.Outcome
}

func (c *cell) wantPhase(name, want string) {
	c.t.Helper()
	if p, why := c.phase(name); p != want {
		c.t.Errorf("%s is %s (%s), want %s", name, p, why, want)
	}
}

func refused(t *testing.T, what string, err error, words string) {
	t.Helper()
	if !fault.Is(err, fault.Forbidden) || !strings.Contains(err.Error(), words) {
		t.Errorf("%s: %v, want forbidden with %q", what, err, words)
	}
}

const (
	bob   = "kind: User\nmetadata: {tenant: platform, name: bob}\nspec: {}\n"
	carol = "kind: User\nmetadata: {tenant: platform, name: carol}\nspec: {}\n"
	dora  = "kind: User\nmetadata: {tenant: platform, name: dora}\nspec: {}\n"
	watch = "kind: Role\nmetadata: {tenant: platform, name: watch}\nspec: {}\n"
)

func binding(name, role string, who ...string) string {
	var s []string
	for _, w := range who {
		s = append(s, "{kind: User, name: "+w+"}")
	}
	return "kind: RoleBinding\nmetadata: {tenant: platform, name: " + name + "}\nspec: {role: " + role + ", subjects: [" + strings.Join(s, ", ") + "]}\n"
}

// TestWhoOwesTheRequesterDoesNotApprove makes people while the cell is
// founding: whom the operator made, and to whom he gave the role, may not
// approve for him; for others they may.
func TestWhoOwesTheRequesterDoesNotApprove(t *testing.T) {
	c := start(t)
	c.does(op, bob)
	c.does(op, binding("b", "operator", "bob"))
	if _, err := dayzero.Found(t.Context(), c.Gate, "ann"); err != nil {
		t.Fatal(err)
	}
	if c.Founding() {
		t.Fatal("two founders, and founding still")
	}
	cr := c.asks(op, watch)
	refused(t, "made by the requester", c.approve(user("bob"), cr), "was made by")
	if err := c.approve(ann, cr); err != nil {
		t.Fatal(err)
	}
	c.run()
	c.wantPhase(cr, access.PhaseDone)
	other := c.asks(ann, "kind: Role\nmetadata: {tenant: platform, name: w2}\nspec: {}\n")
	if err := c.approve(user("bob"), other); err != nil {
		t.Errorf("for somebody else: %v", err)
	}

	// A third person assented to carol and her role: she owes the requester nothing.
	for _, y := range []string{carol, binding("c", "operator", "carol")} {
		x := c.asks(op, y)
		if err := c.approve(ann, x); err != nil {
			t.Fatal(err)
		}
		c.run()
		c.wantPhase(x, access.PhaseDone)
	}
	third := c.asks(op, "kind: Role\nmetadata: {tenant: platform, name: w3}\nspec: {}\n")
	if err := c.approve(user("carol"), third); err != nil {
		t.Errorf("made with a third person's assent: %v", err)
	}
}

// TestTheRoleThatTheRequesterGaveCountsForNothing gives an existing user the
// approver's role while founding.
func TestTheRoleThatTheRequesterGaveCountsForNothing(t *testing.T) {
	c := start(t, "ann")
	x := c.asks(ann, dora) // dora is ann's idea, with op's assent
	if err := c.approve(op, x); err != nil {
		t.Fatal(err)
	}
	c.run()
	// With ann disabled the cell is founding again, and op acts alone.
	y := c.asks(op, "kind: User\nmetadata: {tenant: platform, name: ann}\nspec: {disabled: true}\n")
	if err := c.approve(ann, y); err == nil {
		c.run()
	}
	if !c.Founding() {
		t.Fatal("one founder is left, and not founding")
	}
	c.does(op, binding("d", "operator", "dora"))
	if _, err := dayzero.Found(t.Context(), c.Gate, "eve"); err != nil {
		t.Fatal(err)
	}
	cr := c.asks(op, watch)
	refused(t, "the role is the requester's gift", c.approve(user("dora"), cr), "has the role by")
	if err := c.approve(user("eve"), cr); err != nil {
		t.Errorf("a founder: %v", err)
	}
}

func TestAnApproverWhoLostTheRightApprovedNothing(t *testing.T) {
	c := start(t, "ann", "eve")
	// Two have to assent; then the role of one is taken away before it runs.
	rule := "kind: ApprovalRule\nmetadata: {tenant: platform, name: two}\nspec: {kinds: [Site], steps: [{name: two, roles: [operator], count: 2}]}\n"
	x := c.asks(op, rule)
	if err := c.approve(ann, x); err != nil {
		t.Fatal(err)
	}
	c.run()
	o := object(t, "kind: Site\nmetadata: {tenant: platform, name: shop}\nspec: {hosts: [shop.test], origins: [{url: \"http://127.0.0.1:1\"}]}\n")
	_, err := c.Apply(t.Context(), gate.Request{Actor: op, Ask: true, Open: c.clock().Add(time.Hour), Changes: []gate.Change{{Op: gate.Put, Ref: o.Ref(), Object: o}}})
	w, ok := errors.AsType[*gate.Waiting](err)
	if !ok {
		t.Fatal(err)
	}
	site := w.Request.Name
	if err := c.approve(ann, site); err != nil {
		t.Fatal(err)
	}
	c.wantPhase(site, access.PhaseOpen)
	if err := c.approve(ann, site); !fault.Is(err, fault.Conflict) {
		t.Errorf("twice the same: %v", err)
	}
	if err := c.approve(user("eve"), site); err != nil {
		t.Fatal(err)
	}
	c.wantPhase(site, access.PhaseApproved)
	gone := c.asks(op, "kind: User\nmetadata: {tenant: platform, name: eve}\nspec: {disabled: true}\n")
	if err := c.approve(ann, gone); err != nil {
		t.Fatal(err)
	}
	c.run()
	c.wantPhase(gone, access.PhaseDone)
	c.wantPhase(site, access.PhaseApproved) // its window is not open
	c.pass(2 * time.Hour)
	c.run()
	c.wantPhase(site, access.PhaseFailed)
	if _, why := c.phase(site); !strings.Contains(why, "eve") {
		t.Errorf("%s", why)
	}
}

func TestTimeEndsARequest(t *testing.T) {
	c := start(t, "ann")
	rule := "kind: ApprovalRule\nmetadata: {tenant: platform, name: slow}\nspec: {kinds: [Site], expires: 2d, steps: [{name: owner, users: [nobody-here], escalateTo: [operator], after: 1d}]}\n"
	x := c.asks(op, rule)
	if err := c.approve(ann, x); err != nil {
		t.Fatal(err)
	}
	c.run()
	site := "kind: Site\nmetadata: {tenant: platform, name: %}\nspec: {hosts: [%.test], origins: [{url: \"http://127.0.0.1:1\"}]}\n"
	a, b := c.asks(op, strings.ReplaceAll(site, "%", "one")), c.asks(op, strings.ReplaceAll(site, "%", "two"))
	refused(t, "before it escalates", c.approve(ann, a), "none of those")
	c.pass(25 * time.Hour)
	if err := c.approve(ann, a); err != nil {
		t.Errorf("escalated: %v", err)
	}
	c.run()
	c.wantPhase(a, access.PhaseDone)
	c.pass(24 * time.Hour)
	if err := c.approve(ann, b); !fault.Is(err, fault.Conflict) {
		t.Errorf("an expired request: %v", err)
	}
	c.run()
	c.wantPhase(b, access.PhaseExpired)
}

func TestDelegationIsKeptAndDoesNotGoBack(t *testing.T) {
	c := start(t, "ann", "eve")
	x := c.asks(ann, bob)
	if err := c.approve(op, x); err != nil {
		t.Fatal(err)
	}
	c.run()
	cr := c.asks(op, watch)
	if err := c.approve(user("bob"), cr); !fault.Is(err, fault.NotFound) {
		t.Errorf("who may not even see it: %v", err)
	}
	refused(t, "to nobody", c.act(ann, "delegate", cr, map[string]any{"to": "nobody"}), "no active user")
	refused(t, "to the requester", c.act(ann, "delegate", cr, map[string]any{"to": "operator"}), "own request")
	if err := c.act(ann, "delegate", cr, map[string]any{"to": "eve"}); err != nil {
		t.Fatal(err)
	}
	refused(t, "who handed it on", c.approve(ann, cr), "handed this step")
	if err := c.act(user("eve"), "delegate", cr, map[string]any{"to": "ann"}); err == nil {
		t.Error("a delegation went back")
	}
	if err := c.approve(user("eve"), cr); err != nil {
		t.Fatal(err)
	}
	o, err := c.Get(t.Context(), op, ref(cr))
	if err != nil {
		t.Fatal(err)
	}
	if s := o.State.(*access.ChangeRequestState); len(s.Handed) != 1 || s.Handed[0].From.Name != "ann" || s.Handed[0].To.Name != "eve" {
		t.Errorf("%+v", s.Handed)
	}
}

// TestTheRequesterIsAskedAnew takes the requester's right away between request
// and execution.
func TestTheRequesterIsAskedAnew(t *testing.T) {
	c := start(t, "ann", "eve")
	o := object(t, "kind: Role\nmetadata: {tenant: platform, name: watch}\nspec: {}\n")
	_, err := c.Apply(t.Context(), gate.Request{Actor: user("eve"), Open: c.clock().Add(time.Hour), Ask: true, Changes: []gate.Change{{Op: gate.Put, Ref: o.Ref(), Object: o}}})
	w, ok := errors.AsType[*gate.Waiting](err)
	if !ok {
		t.Fatal(err)
	}
	if err := c.approve(ann, w.Request.Name); err != nil {
		t.Fatal(err)
	}
	b, err := c.Get(t.Context(), op, resource.Ref{Kind: "RoleBinding", Tenant: "platform", Name: "founder-eve"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Apply(t.Context(), gate.Request{Actor: op, Changes: []gate.Change{{Op: gate.Delete, Ref: b.Ref(), Revision: b.Metadata.Revision}}})
	d, ok := errors.AsType[*gate.Waiting](err)
	if !ok {
		t.Fatal(err)
	}
	if err := c.approve(ann, d.Request.Name); err != nil {
		t.Fatal(err)
	}
	c.run()
	c.wantPhase(d.Request.Name, access.PhaseDone)
	c.pass(2 * time.Hour)
	c.run()
	c.wantPhase(w.Request.Name, access.PhaseFailed)
	if _, err := c.Get(t.Context(), op, o.Ref()); !fault.Is(err, fault.NotFound) {
		t.Errorf("it was carried out: %v", err)
	}
}

func TestAPolicyChangeCarriesWhatItWouldDoOtherwise(t *testing.T) {
	c := start(t, "ann")
	for _, y := range []string{bob, "kind: Policy\nmetadata: {tenant: platform, name: bobs}\nspec: {cedar: 'permit (principal == User::\"platform/bob\", action, resource is Ban);'}\n"} {
		x := c.asks(op, y)
		if err := c.approve(ann, x); err != nil {
			t.Fatal(err)
		}
		c.run()
	}
	c.does(user("bob"), "kind: Ban\nmetadata: {tenant: platform, name: b}\nspec: {action: ban, sources: [192.0.2.1]}\n")
	cr := c.asks(op, "kind: Policy\nmetadata: {tenant: platform, name: bobs}\nspec: {cedar: 'permit (principal == User::\"platform/bob\", action == Action::\"ban.read\", resource is Ban);'}\n")
	c.run()
	o, err := c.Get(t.Context(), op, ref(cr))
	if err != nil {
		t.Fatal(err)
	}
	s, ok := o.Status.(*access.ChangeRequestStatus)
	if !ok || s.Replayed == 0 || len(s.Denied) != 1 || !strings.Contains(s.Denied[0], "User platform/bob: create Ban platform/b") {
		t.Errorf("%+v", o.Status)
	}
}

// TestBreakingTheGlassIsAnIncidentAndReviewed carries out what nobody approved,
// and lets others judge it afterwards.
func TestBreakingTheGlassIsAnIncidentAndReviewed(t *testing.T) {
	c := start(t, "ann")
	glass := func(a identity.Actor, why, yaml string) error {
		o := object(t, yaml)
		_, err := c.Apply(t.Context(), gate.Request{Actor: a, BreakGlass: true, Reason: why, Changes: []gate.Change{{Op: gate.Put, Ref: o.Ref(), Object: o}}})
		return err
	}
	if err := glass(op, "", watch); !fault.Is(err, fault.Invalid) {
		t.Errorf("without a reason: %v", err)
	}
	one := op
	one.MFA = false
	refused(t, "with one factor", glass(one, "fire", watch), "may not break")
	if page, err := c.List(t.Context(), op, gate.ListOptions{Kind: "Incident", Tenant: "platform"}); err != nil || len(page.Items) != 0 {
		t.Errorf("a refused one left %d incidents, %v", len(page.Items), err)
	}
	if err := glass(op, "fire in the house", watch); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), op, resource.Ref{Kind: "Role", Tenant: "platform", Name: "watch"}); err != nil {
		t.Errorf("it was not carried out: %v", err)
	}
	page, err := c.List(t.Context(), op, gate.ListOptions{Kind: "Incident", Tenant: "platform"})
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("%d incidents, %v", len(page.Items), err)
	}
	inc := page.Items[0].Spec.(*response.IncidentSpec)
	if inc.Cause != "break-glass" || !strings.Contains(inc.Detail, "fire in the house") || !strings.Contains(inc.Title, "create Role platform/watch") {
		t.Errorf("%+v", inc)
	}
	c.wantPhase(inc.ChangeRequest, access.PhaseGlass)
	refused(t, "reviewed by oneself", c.approve(op, inc.ChangeRequest), "own request")
	if bad := posture(t, c.Gate); len(bad) != 0 {
		t.Errorf("before its review: %v", bad)
	}
	if err := c.approve(ann, inc.ChangeRequest); err != nil {
		t.Fatal(err)
	}
	c.wantPhase(inc.ChangeRequest, access.PhaseDone)

	// One that is refused afterwards, and one that nobody looks at.
	for i, end := range []string{access.PhaseRejected, access.PhaseUnreviewed} {
		name := []string{"w2", "w3"}[i]
		if err := glass(op, "again", strings.Replace(watch, "watch", name, 1)); err != nil {
			t.Fatal(err)
		}
		page, err := c.List(t.Context(), op, gate.ListOptions{Kind: "ChangeRequest", Tenant: gate.AllTenants})
		if err != nil {
			t.Fatal(err)
		}
		var cr string
		for _, o := range page.Items {
			if o.State.(*access.ChangeRequestState).Phase == access.PhaseGlass {
				cr = o.Metadata.Name
			}
		}
		if i == 0 {
			if err := c.act(ann, "deny", cr, nil); err != nil {
				t.Fatal(err)
			}
		} else {
			c.pass(25 * time.Hour)
			c.run()
		}
		c.wantPhase(cr, end)
		if bad := posture(t, c.Gate); !strings.Contains(bad["5.2-8"], "Role platform/"+[]string{"w2", "w2"}[i]) {
			t.Errorf("%s: %v", end, bad)
		}
	}
}
