package classes_test

import (
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/govern/approvals"
	"github.com/dun-sec/dun/internal/govern/classes"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/lab"
)

func open(t *testing.T, founders ...string) *gate.Gate {
	t.Helper()
	return openWith(t, func(*gate.Options) {}, founders...)
}

func openWith(t *testing.T, change func(*gate.Options), founders ...string) *gate.Gate {
	t.Helper()
	g := lab.Gate(t, lab.Kinds(t), func(o *gate.Options) {
		o.Approvals = approvals.Rules{First: dayzero.Operator}
		change(o)
	})
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
