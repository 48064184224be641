package approvals_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/approvals"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/lab"
)

// posture tries each check and returns why it does not hold; "" = it does.
func posture(t *testing.T, g *gate.Gate) map[string]string {
	t.Helper()
	r := approvals.NewReconciler(approvals.ReconcileOptions{Clock: clock.New()}, approvals.Records(g), approvals.Source{
		// What is late elsewhere is told, and says nothing of rights.
		Name: "other", Drift: func(context.Context) ([]approvals.Drift, error) {
			return []approvals.Drift{{Source: "other", Setting: "x"}}, nil
		},
	})
	out := map[string]string{}
	for _, c := range approvals.Checks(g, dayzero.Operator, r) {
		if err := c.Positive(t.Context()); err != nil {
			t.Errorf("%s: its positive control: %v", c.Control, err)
		}
		var e assurance.Evidence
		if err := c.Probe(t.Context(), &e); err != nil {
			out[c.Control] = err.Error()
		}
	}
	return out
}

func TestTheControlsOfApproval(t *testing.T) {
	c := start(t)
	for control, why := range posture(t, c.Gate) {
		if !strings.Contains(why, "one operator") {
			t.Errorf("%s while founding: %s", control, why)
		}
	}
	if n := len(posture(t, c.Gate)); n != 4 {
		t.Errorf("%d of 4 fail while one person runs the cell", n)
	}
	if _, err := dayzero.Found(t.Context(), c.Gate, "ann"); err != nil {
		t.Fatal(err)
	}
	x := c.asks(op, watch)
	if err := c.approve(ann, x); err != nil {
		t.Fatal(err)
	}
	c.run()
	before := c.At()
	if bad := posture(t, c.Gate); len(bad) != 0 {
		t.Errorf("%v", bad)
	}
	if c.At() != before {
		t.Error("the rehearsals left something behind")
	}
}

// lax are rules with one fault each.
type lax struct {
	approvals.Rules
	never, anybody bool
}

func (l lax) Need(v gate.View, req *gate.Request, w []gate.Wanted) (gate.Need, error) {
	if l.never {
		return nil, nil
	}
	return l.Rules.Need(v, req, w)
}

func (l lax) Judge(v gate.View, a identity.Actor, o *resource.Object, c *gate.Change, at time.Time) error {
	if l.anybody {
		return nil
	}
	return l.Rules.Judge(v, a, o, c, at)
}

func TestTheControlsTurnRed(t *testing.T) {
	open := func(r gate.Approvals) *gate.Gate {
		g := lab.Gate(t, lab.Kinds(t), func(o *gate.Options) { o.Approvals = r })
		if err := dayzero.Run(t.Context(), g, "test"); err != nil {
			t.Fatal(err)
		}
		if _, err := dayzero.Found(t.Context(), g, "ann"); err != nil {
			t.Fatal(err)
		}
		return g
	}
	rules := approvals.Rules{First: dayzero.Operator}
	bad := posture(t, open(lax{Rules: rules, never: true}))
	for _, control := range []string{"5.2-5", "5.2-6", "5.2-8"} {
		if bad[control] == "" {
			t.Errorf("%s holds where nobody is asked", control)
		}
	}
	bad = posture(t, open(lax{Rules: rules, anybody: true}))
	if !strings.Contains(bad["5.2-6"], "could approve") {
		t.Errorf("5.2-6 where anybody may assent: %v", bad)
	}
}

// TestADirectEditIsFoundByReconciliation writes into the database beside the
// gate, as somebody with the disk would.
func TestADirectEditIsFoundByReconciliation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	skey, vkey, err := audit.GenerateKey(audit.Origin("testcell"))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	open := func() *gate.Gate {
		g, err := gate.Open(context.Background(), gate.Options{Path: path, Cell: "testcell", Node: "n1", Registry: lab.Kinds(t), Signer: signer, VKey: vkey, Approvals: approvals.Rules{First: dayzero.Operator}})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	g := open()
	if err := dayzero.Run(t.Context(), g, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := dayzero.Found(t.Context(), g, "ann"); err != nil {
		t.Fatal(err)
	}
	if bad := posture(t, g); len(bad) != 0 {
		t.Fatalf("%v", bad)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	res, err := d.Exec(`UPDATE history SET data = CAST(replace(CAST(data AS TEXT), '"role":"operator"', '"role":"security"') AS BLOB) WHERE kind = 'RoleBinding' AND name = 'founder-ann'`)
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := res.RowsAffected(); n != 1 {
		t.Fatalf("%d rows", n)
	}
	d.Close()
	g = open()
	defer g.Close()
	bad := posture(t, g)
	if !strings.Contains(bad["5.2-8"], "RoleBinding platform/founder-ann") {
		t.Errorf("%v", bad)
	}
}
