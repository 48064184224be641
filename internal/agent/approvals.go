package agent

import (
	"context"
	"time"

	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/govern/approvals"
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
