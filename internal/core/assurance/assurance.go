// Package assurance holds the checks of the cell: a part declares its check
// beside what it checks, under the id of the control that it proves (design
// section 3). It owns how a check is run, and what a result is; it tries
// nothing itself, and it types nothing in as proved.
package assurance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/text"
)

// Scope says what a result is about: the running system itself, a twin of it
// that was made for the check, or a model.
type Scope string

// The scopes.
const (
	Production Scope = "production"
	Twin       Scope = "twin"
	Model      Scope = "model"
)

// State of a control. The others (recorded, stale, not_built, not_applicable)
// come with the catalogue.
type State string

// The states that a check can give.
const (
	Proved State = "proved"
	Failed State = "failed"
)

// Evidence is what a probe saw, in the order of looking.
type Evidence []Fact

// Fact is one thing that was seen.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Add notes a fact.
func (e *Evidence) Add(name, format string, args ...any) {
	*e = append(*e, Fact{name, fmt.Sprintf(format, args...)})
}

// Check tries one control for real.
type Check struct {
	Control string    // id in the catalogue, as in "8.4-9"
	Title   text.Text // what is claimed, in words of our own
	Scope   Scope
	Period  time.Duration // how often it should be tried
	Cost    text.Text     // what a try costs
	Limit   time.Duration // after which a try counts as hung; 0 = a minute

	// Here says whether the cell has now what is checked: a check of what it has
	// not is neither listed nor run. nil = it always has.
	Here func() bool
	// Nodes are the machines that it tries beside this one. nil = none.
	Nodes func() []string

	// Positive shows first that the probe would see the fault: it makes one, or
	// looks where one is, and fails when nothing is seen.
	Positive func(context.Context) error
	// Probe tries the control. An error of NotHeld says that it does not hold;
	// any other that it could not be tried, which proves nothing.
	Probe func(context.Context, *Evidence) error
}

// NotHeld says that a control was tried and does not hold.
func NotHeld(en, zh string, args ...any) error { return &notHeld{text.F(en, zh, args...)} }

type notHeld struct{ why text.Text }

// Error implements error.
func (n *notHeld) Error() string { return n.why.En }

// Result is what one try gave.
type Result struct {
	Control  string        `json:"control"`
	State    State         `json:"state"`
	Scope    Scope         `json:"scope"`
	Nodes    []string      `json:"nodes"` // that it was tried on
	At       time.Time     `json:"at"`
	Took     time.Duration `json:"tookNs"`
	Reason   *Reason       `json:"reason,omitempty"` // why it failed
	Evidence Evidence      `json:"evidence"`
}

// Reason is why a control does not hold.
type Reason struct {
	En string `json:"en"`
	Zh string `json:"zh"`
}

// Recorder keeps a result as a leaf of class check before it counts.
type Recorder func(ctx context.Context, a identity.Actor, control, action, evidence string) error

// Registry is the explicit list of checks of a cell.
type Registry struct {
	node   string
	record Recorder
	now    func() time.Time
	checks []Check

	mu   sync.Mutex
	last map[string]Result
	busy map[string]bool
}

var controlForm = regexp.MustCompile(`^[0-9]{1,2}(\.[0-9]{1,2})?-[0-9]{1,3}$`)

const usualLimit = time.Minute

// NewRegistry refuses a check that is not whole: one that cannot show that it
// sees the fault is a defect.
func NewRegistry(node string, record Recorder, now func() time.Time, checks ...Check) (*Registry, error) {
	r := &Registry{node: node, record: record, now: now, last: map[string]Result{}, busy: map[string]bool{}}
	for _, c := range checks {
		switch {
		case !controlForm.MatchString(c.Control):
			return nil, fmt.Errorf("check %q: not the id of a control", c.Control)
		case slices.ContainsFunc(r.checks, func(o Check) bool { return o.Control == c.Control }):
			return nil, fmt.Errorf("check %s: registered twice", c.Control)
		case c.Title.En == "" || c.Title.Zh == "" || c.Cost.En == "" || c.Cost.Zh == "":
			return nil, fmt.Errorf("check %s: title and cost are needed in both languages", c.Control)
		case c.Scope != Production && c.Scope != Twin && c.Scope != Model:
			return nil, fmt.Errorf("check %s: unknown scope %q", c.Control, c.Scope)
		case c.Period <= 0 || c.Positive == nil || c.Probe == nil:
			return nil, fmt.Errorf("check %s: period, positive control and probe are needed", c.Control)
		}
		if c.Limit == 0 {
			c.Limit = usualLimit
		}
		r.checks = append(r.checks, c)
	}
	return r, nil
}

// Entry is a check and its last result.
type Entry struct {
	Check
	Last *Result // nil = not tried since the start
}

// List lists the checks in the order of registration.
func (r *Registry) List() []Entry {
	var out []Entry
	for _, c := range r.checks {
		if c.Here == nil || c.Here() {
			out = append(out, Entry{Check: c})
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range out {
		if last, ok := r.last[out[i].Control]; ok {
			out[i].Last = &last
		}
	}
	return out
}

// Run tries one control now and keeps the result as a leaf. A try that panics,
// hangs, or whose probe is blind renews nothing: it is an error, and what was
// known before stays.
func (r *Registry) Run(ctx context.Context, a identity.Actor, control string) (Result, error) {
	i := slices.IndexFunc(r.checks, func(c Check) bool { return c.Control == control })
	if i < 0 || r.checks[i].Here != nil && !r.checks[i].Here() {
		return Result{}, fault.New(fault.NotFound, "no check proves control %q; see dun posture", "没有检查可证明控制项 %q;见 dun posture", control)
	}
	c := &r.checks[i]
	r.mu.Lock()
	if r.busy[control] {
		r.mu.Unlock()
		return Result{}, fault.New(fault.Conflict, "control %s is being tried already", "控制项 %s 正在检查中", control)
	}
	r.busy[control] = true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.busy, control)
		r.mu.Unlock()
	}()

	start := r.now()
	res := Result{Control: control, Scope: c.Scope, Nodes: []string{r.node}, At: start.UTC(), State: Proved, Evidence: Evidence{}}
	begun := time.Now()
	err := tried(ctx, c.Limit, "the positive control", func(ctx context.Context) error { return c.Positive(ctx) })
	if err == nil {
		var seen Evidence
		err = tried(ctx, c.Limit, "the probe", func(ctx context.Context) error { return c.Probe(ctx, &seen) })
		if _, hung := errors.AsType[*untried](err); !hung {
			res.Evidence = append(res.Evidence, seen...)
		}
	} else if n, ok := errors.AsType[*notHeld](err); ok {
		err = &untried{fmt.Errorf("the probe is blind: %s", n.why.En)}
	}
	res.Took = time.Since(begun)
	if c.Nodes != nil {
		res.Nodes = append(res.Nodes, c.Nodes()...)
	}
	if n, ok := errors.AsType[*notHeld](err); ok {
		res.State, res.Reason, err = Failed, &Reason{n.why.En, n.why.Zh}, nil
	}
	if err != nil {
		why := err.Error()
		if rerr := r.keep(ctx, a, control, "untried", map[string]string{"reason": why}); rerr != nil {
			return Result{}, rerr
		}
		return Result{}, fault.New(fault.Unavailable, "control %s could not be tried, so nothing is proved: %s", "控制项 %s 无法检查,因此未证明任何事:%s", control, why).Because(err)
	}
	if err := r.keep(ctx, a, control, string(res.State), res); err != nil {
		return Result{}, err
	}
	r.mu.Lock()
	r.last[control] = res
	r.mu.Unlock()
	return res, nil
}

func (r *Registry) keep(ctx context.Context, a identity.Actor, control, action string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode a result: %w", err)
	}
	return r.record(ctx, a, control, action, string(b))
}

// untried is the end of a check that proves nothing.
type untried struct{ err error }

// Error implements error.
func (u *untried) Error() string { return u.err.Error() }

// Unwrap gives the cause.
func (u *untried) Unwrap() error { return u.err }

// tried runs f under a limit; a panic, or an f that does not come back, is an
// error. What hangs is left behind: it holds nothing of ours.
func tried(ctx context.Context, limit time.Duration, what string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- &untried{fmt.Errorf("%s panicked: %v", what, p)}
			}
		}()
		done <- f(ctx)
	}()
	hung := time.NewTimer(limit + limit/4)
	defer hung.Stop()
	select {
	case err := <-done:
		return err
	case <-hung.C:
		return &untried{fmt.Errorf("%s hangs", what)}
	}
}
