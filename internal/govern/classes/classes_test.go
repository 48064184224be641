package classes_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/approvals"
	"github.com/dun-sec/dun/internal/govern/classes"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/lab"
)

func open(t *testing.T, founders ...string) *gate.Gate {
	t.Helper()
	g := lab.Gate(t, lab.Kinds(t), func(o *gate.Options) { o.Approvals = approvals.Rules{First: dayzero.Operator} })
	if err := dayzero.Run(t.Context(), g, "test"); err != nil {
		t.Fatal(err)
	}
	for _, f := range founders {
		if _, err := dayzero.Found(t.Context(), g, f); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// posture tries each check and returns why it does not hold.
func posture(t *testing.T, g classes.Gate) (held int, bad map[string]string) {
	t.Helper()
	bad = map[string]string{}
	for _, c := range classes.Checks(g, dayzero.Operator) {
		var e assurance.Evidence
		if err := c.Probe(t.Context(), &e); err != nil {
			bad[c.Control] = err.Error()
		} else if held++; len(e) == 0 {
			t.Errorf("%s holds without evidence", c.Control)
		}
	}
	return held, bad
}

func TestTheControlsOfData(t *testing.T) {
	g := open(t)
	held, bad := posture(t, g)
	if len(bad) != 1 || !strings.Contains(bad["1-4"], "one operator") {
		t.Errorf("while founding: %v", bad)
	}
	if _, err := dayzero.Found(t.Context(), g, "ann"); err != nil {
		t.Fatal(err)
	}
	before := g.At()
	if held, bad = posture(t, g); held != 15 || len(bad) != 0 {
		t.Errorf("%d hold; %v", held, bad)
	}
	for _, c := range classes.Checks(g, dayzero.Operator) {
		if err := c.Positive(t.Context()); err != nil {
			t.Errorf("%s: its positive control: %v", c.Control, err)
		}
	}
	if g.At() != before {
		t.Error("the rehearsals left something behind")
	}
}

// broken is a gate with one fault.
type broken struct {
	*gate.Gate
	change func(*gate.Rehearsal)
}

func (b broken) RehearseData(ctx context.Context, f func(gate.Rehearsal) error) error {
	return b.Gate.RehearseData(ctx, func(r gate.Rehearsal) error {
		b.change(&r)
		return f(r)
	})
}

func TestTheControlsTurnRed(t *testing.T) {
	g := open(t, "ann")
	red := func(what string, change func(*gate.Rehearsal), controls ...string) {
		t.Helper()
		_, bad := posture(t, broken{g, change})
		for _, control := range controls {
			if bad[control] == "" {
				t.Errorf("%s holds where %s", control, what)
			}
		}
	}
	red("every act is permitted", func(r *gate.Rehearsal) {
		r.Handle = func(identity.Actor, resource.Ref, string, gate.Use) error { return nil }
	}, "1-5", "2.1-8", "4.0-2", "4.0-10", "4.0-4", "4.0-5", "4.0-6", "4.0-7", "4.0-8", "4.0-9", "4.0-13")
	red("nobody is asked", func(r *gate.Rehearsal) { r.Try = r.Arrange }, "1-4")
	red("a class is what the label says", func(r *gate.Rehearsal) {
		r.Class = func(resource.Ref) (policy.Class, bool) { return policy.Class{Name: "public", Level: 1}, true }
	}, "1-3", "4.0-6")
	red("every change is done", func(r *gate.Rehearsal) {
		arrange := r.Arrange
		r.Arrange = func(req gate.Request) ([]gate.Result, error) {
			out, err := arrange(req)
			if err != nil {
				return []gate.Result{{Ref: req.Changes[0].Ref}}, nil
			}
			return out, nil
		}
	}, "1-3", "4.0-5", "4.0-7", "4.0-9")
	for _, c := range classes.Checks(broken{g, func(r *gate.Rehearsal) {
		r.Handle = func(identity.Actor, resource.Ref, string, gate.Use) error { return errors.New("no") }
	}}, dayzero.Operator) {
		if c.Positive(t.Context()) == nil {
			t.Errorf("%s: its positive control does not see that everything is refused", c.Control)
		}
	}
}
