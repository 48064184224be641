package agent

import (
	"context"
	"time"

	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/govern/approvals"
	"github.com/dun-sec/dun/internal/govern/classes"
)

// carryOut runs the controller of approvals as soon as the store is open.
func (c *cell) carryOut(ctx context.Context) {
	g := c.opened(ctx)
	if g == nil {
		return
	}
	err := approvals.Run(ctx, approvals.Options{Gate: g, Events: c.events, Clock: clock.New(), Log: c.opt.Log.With("part", "approvals")})
	if err != nil && ctx.Err() == nil {
		c.opt.Log.Error("approved changes are not carried out", "err", err)
	}
}

// endAccess ends accesses in time.
func (c *cell) endAccess(ctx context.Context) {
	g := c.opened(ctx)
	if g == nil {
		return
	}
	err := approvals.EndAccesses(ctx, approvals.Options{Gate: g, Clock: clock.New(), Log: c.opt.Log.With("part", "access")})
	if err != nil && ctx.Err() == nil {
		c.opt.Log.Error("accesses are not ended in time", "err", err)
	}
}

// recordSource reconciles the records; while their store does not open there is
// nothing to hold against anything.
func (c *cell) recordSource() approvals.Source {
	return approvals.Source{Name: "records", Rights: true, Drift: func(ctx context.Context) ([]approvals.Drift, error) {
		g := c.running()
		if g == nil {
			return nil, nil
		}
		return approvals.Records(g).Drift(ctx)
	}}
}

// dataSource reconciles the duties about data: what should be over is over.
func (c *cell) dataSource() approvals.Source {
	return approvals.Source{Name: "data", Drift: func(ctx context.Context) ([]approvals.Drift, error) {
		g := c.running()
		if g == nil {
			return nil, nil
		}
		late, err := classes.Overdue(ctx, g.Scan, gate.AllTenants, c.opt.Now())
		var out []approvals.Drift
		for _, l := range late {
			out = append(out, approvals.Drift{Source: "data", Setting: l.Setting, Why: l.Why})
		}
		return out, err
	}}
}

// opened waits for the record store; nil when ctx ended before.
func (c *cell) opened(ctx context.Context) *gate.Gate {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		if g := c.running(); g != nil {
			return g
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}
