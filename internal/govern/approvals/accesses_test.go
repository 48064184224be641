package approvals_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/approvals"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/kinds/access"
	"github.com/dun-sec/dun/internal/lab"
)

// staff is a gate with the controllers of approvals and access, on one clock.
type staff struct {
	*gate.Gate
	t     *testing.T
	clock *clock.Fake
}

func staffed(t *testing.T, rules gate.Approvals, founders ...string) *staff {
	t.Helper()
	c := &staff{t: t, clock: clock.NewFake(time.Date(2026, 11, 26, 9, 0, 0, 0, time.UTC))}
	c.Gate = lab.Gate(t, lab.Kinds(t), func(o *gate.Options) { o.Approvals, o.Now = rules, c.clock.Now })
	if err := dayzero.Run(t.Context(), c.Gate, "test"); err != nil {
		t.Fatal(err)
	}
	// Who assents to what is bound while one person runs the cell.
	for _, kind := range []string{"code", "application", "system", "network"} {
		c.does(op, "kind: User\nmetadata: {tenant: platform, name: %s-chief}\nspec: {}\n", kind)
		c.does(op, "kind: RoleBinding\nmetadata: {tenant: platform, name: %[1]s-chiefs}\nspec: {role: %[1]s-approver, subjects: [{kind: User, name: %[1]s-chief}]}\n", kind)
	}
	c.does(op, "kind: User\nmetadata: {tenant: platform, name: bob}\nspec: {}\n")
	for _, f := range founders {
		if _, err := dayzero.Found(t.Context(), c.Gate, f); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// run runs f until the test ends.
func (c *staff) run(f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := f(ctx); err != nil {
			c.t.Error(err)
		}
	})
	c.t.Cleanup(func() { cancel(); wait.Wait() })
}

func (c *staff) controllers() {
	log := slog.New(slog.DiscardHandler)
	c.run(func(ctx context.Context) error {
		return approvals.Run(ctx, approvals.Options{Gate: c.Gate, Clock: c.clock, Log: log})
	})
	c.run(func(ctx context.Context) error {
		return approvals.EndAccesses(ctx, approvals.Options{Gate: c.Gate, Clock: c.clock, Log: log})
	})
}

func (c *staff) put(a identity.Actor, yaml string, args ...any) (resource.Ref, error) {
	c.t.Helper()
	docs, err := resource.ParseYAML(fmt.Appendf(nil, yaml, args...))
	if err != nil {
		c.t.Fatal(err)
	}
	o, _, err := c.Registry().Decode(docs[0])
	if err != nil {
		c.t.Fatal(err)
	}
	_, err = c.Apply(c.t.Context(), gate.Request{Actor: a, Changes: []gate.Change{{Op: gate.Put, Ref: o.Ref(), Object: o}}})
	if w, ok := errors.AsType[*gate.Waiting](err); ok {
		return w.Request, nil
	}
	return resource.Ref{}, err
}

func (c *staff) does(a identity.Actor, yaml string, args ...any) {
	c.t.Helper()
	if w, err := c.put(a, yaml, args...); err != nil || w.Name != "" {
		c.t.Fatalf("%v %v", w, err)
	}
}

func (c *staff) act(a identity.Actor, ref resource.Ref, verb string) error {
	c.t.Helper()
	o, err := c.Get(c.t.Context(), op, ref)
	if err != nil {
		c.t.Fatal(err)
	}
	_, err = c.Apply(c.t.Context(), gate.Request{Actor: a, Changes: []gate.Change{{Op: gate.Act, Ref: ref, Verb: verb, Revision: o.Metadata.Revision}}})
	return err
}

func (c *staff) eventually(what string, good func() bool) {
	c.t.Helper()
	for end := time.Now().Add(lab.Wait); !good(); {
		if time.Now().After(end) {
			c.t.Fatalf("it does not come: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func (c *staff) there(ref resource.Ref) bool {
	_, err := c.Get(c.t.Context(), op, ref)
	return err == nil
}

const auditing = "kind: ApplicationAccess\nmetadata: {tenant: platform, name: bob-audits}\nspec: {user: bob, reason: audit, until: %q, recertify: 30d, role: auditor}\n"

var audits = resource.Ref{Kind: "ApplicationAccess", Tenant: "platform", Name: "bob-audits"}

// TestRequestReviewGrantExpire follows an access from its request to its end.
func TestRequestReviewGrantExpire(t *testing.T) {
	c := staffed(t, approvals.Rules{First: dayzero.Operator}, "ann")
	c.controllers()
	bob := user("bob")
	reads := func() bool {
		_, err := c.Get(t.Context(), bob, resource.Ref{Kind: "Policy", Tenant: "platform", Name: "builtin-edge"})
		return err == nil
	}
	if reads() {
		t.Fatal("bob has the role before he asks")
	}
	w, err := c.put(bob, auditing, c.clock.Now().AddDate(0, 0, 45).Format(time.RFC3339))
	if err != nil || w.Name == "" {
		t.Fatalf("%v %v", w, err)
	}
	for _, a := range []identity.Actor{bob, user("code-chief"), user("system-chief"), user("network-chief"), op, user("ann")} {
		if err := c.act(a, w, "approve"); !fault.Is(err, fault.Forbidden) && !fault.Is(err, fault.NotFound) {
			t.Errorf("%s assents: %v", a.Principal.Name, err)
		}
	}
	if err := c.act(user("application-chief"), w, "approve"); err != nil {
		t.Fatal(err)
	}
	c.eventually("the role", reads)

	// Thirty days later somebody else has to say that it is needed.
	c.clock.Advance(29 * 24 * time.Hour)
	if err := c.act(bob, audits, "recertify"); !fault.Is(err, fault.Forbidden) && !fault.Is(err, fault.Conflict) {
		t.Errorf("bob certifies himself: %v", err)
	}
	err = c.act(user("ann"), audits, "recertify")
	again, ok := errors.AsType[*gate.Waiting](err)
	if !ok {
		t.Fatalf("recertification is not asked about: %v", err)
	}
	if err := c.act(user("application-chief"), again.Request, "approve"); err != nil {
		t.Fatal(err)
	}
	c.eventually("certified", func() bool {
		o, err := c.Get(t.Context(), op, audits)
		s, _ := o.State.(*access.AccessState)
		return err == nil && s != nil && s.Certified != nil
	})
	c.clock.Advance(10 * 24 * time.Hour)
	if !reads() {
		t.Error("certified, and gone")
	}
	c.clock.Advance(7 * 24 * time.Hour) // its term is over
	c.eventually("the end", func() bool { return !c.there(audits) })
	if reads() {
		t.Error("bob has the role after its end")
	}
	h, err := c.History(t.Context(), op, audits, 0, 1)
	if err != nil || len(h) == 0 || h[0].Action != "delete" || !strings.Contains(h[0].Actor, "platform/access") {
		t.Errorf("the history: %+v %v", h, err)
	}
}

func TestNobodyCertifiesIt(t *testing.T) {
	c := staffed(t, approvals.Rules{First: dayzero.Operator})
	c.controllers()
	c.does(op, auditing, c.clock.Now().AddDate(0, 0, 300).Format(time.RFC3339))
	c.clock.Advance(31 * 24 * time.Hour)
	c.eventually("the end", func() bool { return !c.there(audits) })
}

// TestFoundingGrantsNobodyButTheFounder: while nobody can be asked, nobody
// gives himself what needs assent.
func TestFoundingGrantsNobodyButTheFounder(t *testing.T) {
	c := staffed(t, approvals.Rules{First: dayzero.Operator})
	w, err := c.put(user("bob"), auditing, c.clock.Now().AddDate(0, 0, 1).Format(time.RFC3339))
	if !fault.Is(err, fault.Forbidden) || c.there(audits) {
		t.Errorf("%v %v", w, err)
	}
}

func TestAccessIsStrict(t *testing.T) {
	c := staffed(t, approvals.Rules{First: dayzero.Operator})
	until := c.clock.Now().AddDate(0, 0, 1).Format(time.RFC3339)
	for what, spec := range map[string]string{
		"a network with host bits": "{user: bob, reason: r, until: " + until + ", from: [10.0.0.1/8], to: [10.2.0.5/32], ports: [tcp/5432]}",
		"a port that is none":      "{user: bob, reason: r, until: " + until + ", from: [10.0.0.0/8], to: [10.2.0.5/32], ports: [tcp/0]}",
		"a port with a zero":       "{user: bob, reason: r, until: " + until + ", from: [10.0.0.0/8], to: [10.2.0.5/32], ports: [tcp/080]}",
		"too long a period":        "{user: bob, reason: r, until: " + until + ", recertify: 400d, from: [10.0.0.0/8], to: [10.2.0.5/32], ports: [tcp/1]}",
	} {
		if _, err := c.put(op, "kind: NetworkAccess\nmetadata: {tenant: platform, name: x}\nspec: %s\n", spec); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// posture tries each check and returns why it does not hold.
func (c *staff) posture() map[string]string {
	c.t.Helper()
	out := map[string]string{}
	for _, k := range approvals.AccessChecks(c.Gate, dayzero.Operator, c.clock.Now) {
		if err := k.Positive(c.t.Context()); err != nil {
			c.t.Errorf("%s: its positive control: %v", k.Control, err)
		}
		var e assurance.Evidence
		if err := k.Probe(c.t.Context(), &e); err != nil {
			out[k.Control] = err.Error()
		}
	}
	return out
}

func TestTheControlsOfAccessHoldAndTurnRed(t *testing.T) {
	rules := approvals.Rules{First: dayzero.Operator}
	c := staffed(t, rules)
	for control, why := range c.posture() {
		if !strings.Contains(why, "one operator") {
			t.Errorf("%s while founding: %s", control, why)
		}
	}
	c = staffed(t, rules, "ann")
	before := c.At()
	if bad := c.posture(); len(bad) != 0 {
		t.Errorf("%v", bad)
	}
	if c.At() != before {
		t.Error("the rehearsals left something behind")
	}
	if bad := staffed(t, lax{Rules: rules, never: true}, "ann").posture(); !strings.Contains(bad["2.1-10"], "nobody is asked") {
		t.Errorf("where nobody is asked: %v", bad)
	}
	if bad := staffed(t, lax{Rules: rules, anybody: true}, "ann").posture(); !strings.Contains(bad["2.1-11"], "could assent") {
		t.Errorf("where anybody may assent: %v", bad)
	}
	// Nothing ends accesses here: the controller does not run.
	c = staffed(t, rules)
	c.does(op, auditing, c.clock.Now().AddDate(0, 0, 1).Format(time.RFC3339))
	if _, err := dayzero.Found(t.Context(), c.Gate, "ann"); err != nil {
		t.Fatal(err)
	}
	c.clock.Advance(25 * time.Hour)
	if bad := c.posture(); !strings.Contains(bad["2.1-10"], "its term is over") {
		t.Errorf("where nothing ends accesses: %v", bad)
	}
}
