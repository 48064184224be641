package edge

import (
	"context"
	"sync"
	"time"
)

// maxWaiting bounds the requests of one tenant that wait for a slot.
const maxWaiting = 1024

// turns hands out a number of slots. While some wait, tenants get them in turn,
// each its own requests in order: one tenant's flood waits behind itself.
type turns struct {
	mu    sync.Mutex
	free  int                        // guarded by mu
	wait  map[string][]chan struct{} // guarded by mu; tenants with somebody waiting
	order []string                   // guarded by mu; these tenants, the next one first
}

func newTurns(n int) *turns { return &turns{free: n, wait: map[string][]chan struct{}{}} }

// enter takes a slot. It fails with errBusy after wait, or when too many of the
// tenant's requests wait already, and with errGone when ctx ends.
func (t *turns) enter(ctx context.Context, tenant string, wait time.Duration) error {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return nil
	}
	line := t.wait[tenant]
	if len(line) >= maxWaiting {
		t.mu.Unlock()
		return errBusy
	}
	if len(line) == 0 {
		t.order = append(t.order, tenant)
	}
	mine := make(chan struct{})
	t.wait[tenant] = append(line, mine)
	t.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-mine:
		return nil
	case <-ctx.Done():
		return t.withdraw(tenant, mine, errGone)
	case <-timer.C:
		return t.withdraw(tenant, mine, errBusy)
	}
}

// withdraw leaves the line; a slot that came in the same moment is passed on.
func (t *turns) withdraw(tenant string, mine chan struct{}, why error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	line := t.wait[tenant]
	for i, c := range line {
		if c != mine {
			continue
		}
		line = append(line[:i], line[i+1:]...)
		t.keep(tenant, line)
		return why
	}
	t.pass()
	return why
}

// keep stores a line, and drops the tenant when it is empty; mu is held.
func (t *turns) keep(tenant string, line []chan struct{}) {
	if len(line) > 0 {
		t.wait[tenant] = line
		return
	}
	delete(t.wait, tenant)
	for i, n := range t.order {
		if n == tenant {
			t.order = append(t.order[:i], t.order[i+1:]...)
			return
		}
	}
}

// leave gives a slot back, to whoever's turn it is.
func (t *turns) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pass()
}

func (t *turns) pass() {
	if len(t.order) == 0 {
		t.free++
		return
	}
	tenant := t.order[0]
	line := t.wait[tenant]
	close(line[0])
	t.order = t.order[1:]
	if len(line) == 1 {
		delete(t.wait, tenant)
		return
	}
	line[0] = nil
	t.wait[tenant] = line[1:]
	t.order = append(t.order, tenant)
}
