package releases_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/govern/releases"
	"github.com/dun-sec/dun/internal/kinds"
	"github.com/dun-sec/dun/internal/kinds/build"
	"github.com/dun-sec/dun/internal/lab"
)

// try runs the check on a cell of some kinds.
func try(t *testing.T, list []*resource.Kind) error {
	t.Helper()
	reg, err := resource.NewRegistry(list...)
	if err != nil {
		t.Fatal(err)
	}
	g := lab.Gate(t, reg)
	if err := dayzero.Run(t.Context(), g, "test"); err != nil {
		t.Fatal(err)
	}
	var e assurance.Evidence
	c := releases.Check(g, dayzero.Operator, time.Now)
	if err := c.Positive(t.Context()); err != nil {
		t.Fatalf("its positive control: %v", err)
	}
	before := g.At()
	err = c.Probe(t.Context(), &e)
	if g.At() != before {
		t.Error("the rehearsals left something behind")
	}
	return err
}

func TestNoGateWithoutEvidence(t *testing.T) {
	if err := try(t, kinds.All()); err != nil {
		t.Error(err)
	}
}

// TestTheCheckTurnsRed lets every release advance.
func TestTheCheckTurnsRed(t *testing.T) {
	list := kinds.All()
	i := slices.IndexFunc(list, func(k *resource.Kind) bool { return k.Name == "Release" })
	verbs := list[i].Verbs
	j := slices.IndexFunc(verbs, func(v resource.Verb) bool { return v.Name == "advance" })
	verbs[j] = resource.On(resource.Verb{Name: "advance", Title: verbs[j].Title, Doc: verbs[j].Doc},
		func(a resource.Act[build.ReleaseSpec, build.ReleaseState, resource.None]) error {
			a.State.Passed = append(a.State.Passed, "x")
			return nil
		})
	if err := try(t, list); err == nil || !strings.Contains(err.Error(), "passes every gate") {
		t.Errorf("a gate that is always open: %v", err)
	}
}
