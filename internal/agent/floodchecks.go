package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/dun-sec/dun/internal/core/telemetry"
	"github.com/dun-sec/dun/internal/plane/scrub"
)

// scrubHere reports whether a machine of the cell is to filter.
func (c *cell) scrubHere() bool {
	return c.scrub != nil && c.scrub.trials != nil ||
		slices.ContainsFunc(c.otherNodes(), func(n telemetry.Node) bool { return slices.Contains(n.Roles, scrubService) })
}

// scrubEnv is what the checks of the scrubbing centre ask: this machine's
// privileged half, and those of the nodes that filter.
func (c *cell) scrubEnv() scrub.CheckEnv {
	own := c.scrub
	if own == nil {
		own = &scrubber{}
	}
	return scrub.CheckEnv{
		Here:  c.scrubHere,
		Nodes: c.desk.listening,
		Trials: func(ctx context.Context) (map[string][]scrub.Trial, error) {
			return tryAll(ctx, c.desk, scrubTrials, own.trials)
		},
		Endure: func(ctx context.Context) (map[string]scrub.Endurance, error) {
			return tryAll(ctx, c.desk, scrubEndure, own.endure)
		},
		States: func(ctx context.Context) (map[string]scrub.State, error) {
			all, err := tryAll(ctx, c.desk, scrubState, own.state)
			if err != nil {
				return nil, err
			}
			for _, m := range c.desk.lacks(c.otherNodes()) {
				all[strings.TrimPrefix(m.Need, "node ")] = scrub.State{Failed: m.Why}
			}
			return all, nil
		},
	}
}

// told is what a node tells of something that it tried.
type told struct {
	Failed string          `json:"failed,omitempty"` // why it could not be tried
	Value  json.RawMessage `json:"value,omitempty"`
}

// tryAll tries something here, where own is not nil, and at every node that
// filters: what came of it, by machine; "" = this one. What one of them cannot try
// proves nothing.
func tryAll[T any](ctx context.Context, f *floodDesk, what string, own func() (T, error)) (map[string]T, error) {
	out := map[string]T{}
	if own != nil {
		x, err := own()
		if err != nil {
			return nil, err
		}
		out[""] = x
	}
	all, err := f.ask(ctx, what)
	if err != nil {
		return nil, err
	}
	for node, b := range all {
		var a told
		var x T
		err := json.Unmarshal(b, &a)
		if err == nil && a.Failed != "" {
			err = errors.New(a.Failed)
		}
		if err == nil {
			err = json.Unmarshal(a.Value, &x)
		}
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", node, err)
		}
		out[node] = x
	}
	return out, nil
}

// tries are those of a node, each in turn with itself alone.
type tries struct {
	mu   sync.Mutex
	busy map[string]bool // until it is told
	done map[string]json.RawMessage
}

// begin tries what is not being tried already; what it does not know it leaves.
func (t *tries) begin(s *scrubber, list []string) {
	for _, what := range list {
		var try func() (any, error)
		switch what {
		case scrubTrials:
			try = func() (any, error) { return s.trials() }
		case scrubEndure:
			try = func() (any, error) { return s.endure() }
		case scrubState:
			try = func() (any, error) { return s.state() }
		default:
			continue
		}
		t.mu.Lock()
		if t.busy == nil {
			t.busy, t.done = map[string]bool{}, map[string]json.RawMessage{}
		}
		started := t.busy[what]
		t.busy[what] = true
		t.mu.Unlock()
		if !started {
			go t.run(what, try)
		}
	}
}

func (t *tries) run(what string, try func() (any, error)) {
	var a told
	x, err := try()
	if err == nil {
		a.Value, err = json.Marshal(x)
	}
	if err != nil {
		a = told{Failed: err.Error()}
	}
	b, err := json.Marshal(a)
	if err != nil {
		b = []byte(`{"failed":"it cannot be written"}`)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done[what] = b
}

// take is what is to be told.
func (t *tries) take() map[string]json.RawMessage {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := maps.Clone(t.done)
	for what := range out {
		delete(t.busy, what)
		delete(t.done, what)
	}
	return out
}
