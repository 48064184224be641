package scrub

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/assurance"
)

// TestEveryMachineMustTell: what one machine leaves out, lets through or does not
// filter turns the checks of the whole cell, and a machine that says little proves
// nothing.
func TestEveryMachineMustTell(t *testing.T) {
	good := func() (out []Trial) {
		for _, family := range []int{4, 6} {
			for _, what := range tried {
				x := Trial{What: what, Family: family, Sent: 10, Twin: 10}
				if what == "connect" || what == "path-mtu" {
					x.Passed = 10
				}
				out = append(out, x)
			}
		}
		return out
	}
	fine := State{Interfaces: []Interface{{Name: "eth0", Mode: ModeNative}}}
	steady := Endurance{Upgrade: Trial{Sent: 2, Twin: 2}, Honest: Trial{Sent: 2, Passed: 2}, Sources: 2, Pace: []Pace{{1, 80}, {2, 80}}}
	leaks := slices.IndexFunc(good(), func(x Trial) bool { return x.What == "syn" && x.Family == 6 })
	for name, x := range map[string]struct {
		change func(trials *[]Trial, state *State, e *Endurance)
		red    []string // of 8.1-5, 8.1-15, 8.1-19, 8.1-22
	}{
		"all is well":       {func(*[]Trial, *State, *Endurance) {}, nil},
		"nothing tried":     {func(x *[]Trial, _ *State, _ *Endurance) { *x = nil }, []string{"8.1-5"}},
		"one left out":      {func(x *[]Trial, _ *State, _ *Endurance) { *x = slices.Delete(*x, leaks, leaks+1) }, []string{"8.1-5"}},
		"none sent":         {func(x *[]Trial, _ *State, _ *Endurance) { (*x)[leaks].Sent, (*x)[leaks].Twin = 0, 0 }, []string{"8.1-5"}},
		"it leaks":          {func(x *[]Trial, _ *State, _ *Endurance) { (*x)[leaks].Passed = leak + 1 }, []string{"8.1-5"}},
		"no interface":      {func(_ *[]Trial, s *State, _ *Endurance) { *s = State{} }, []string{"8.1-15"}},
		"an interface open": {func(_ *[]Trial, s *State, _ *Endurance) { s.Interfaces[0].Mode = ModeOff }, []string{"8.1-15"}},
		"nothing endured":   {func(_ *[]Trial, _ *State, e *Endurance) { *e = Endurance{} }, []string{"8.1-19", "8.1-22"}},
		"a slow core":       {func(_ *[]Trial, _ *State, e *Endurance) { e.Pace[1].Each = 1000 }, []string{"8.1-22"}},
	} {
		trials, state, endured := good(), fine, steady
		state.Interfaces, endured.Pace = slices.Clone(fine.Interfaces), slices.Clone(steady.Pace)
		x.change(&trials, &state, &endured)
		env := CheckEnv{
			Trials: func(context.Context) (map[string][]Trial, error) {
				return map[string][]Trial{"": good(), "n2": trials}, nil
			},
			States: func(context.Context) (map[string]State, error) { return map[string]State{"": fine, "n2": state}, nil },
			Endure: func(context.Context) (map[string]Endurance, error) {
				return map[string]Endurance{"": steady, "n2": endured}, nil
			},
		}
		for _, c := range Checks(env) {
			if !slices.Contains([]string{"8.1-5", "8.1-15", "8.1-19", "8.1-22"}, c.Control) {
				continue
			}
			var seen assurance.Evidence
			err := c.Probe(t.Context(), &seen)
			if red := slices.Contains(x.red, c.Control); (err != nil) != red {
				t.Errorf("%s: %s: %v", name, c.Control, err)
			}
			if err == nil && !slices.ContainsFunc(seen, func(f assurance.Fact) bool { return strings.HasPrefix(f.Name, "n2: ") }) {
				t.Errorf("%s: %s does not name the node: %v", name, c.Control, seen)
			}
		}
	}
}
