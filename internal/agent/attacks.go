package agent

import (
	"context"

	"github.com/dun-sec/dun/internal/govern/attacks"
	"github.com/dun-sec/dun/internal/plane/edge"
)

// watchAttacks runs the controller of attacks as soon as the store is open.
func (c *cell) watchAttacks(ctx context.Context) {
	g := c.opened(ctx)
	if g == nil {
		return
	}
	err := attacks.Run(ctx, attacks.Options{
		Gate: g, Follow: c.events.Follow, Skip: edge.CanaryTenant, Now: c.opt.Now, Log: c.opt.Log.With("part", "attacks"),
	})
	if err != nil && ctx.Err() == nil {
		c.opt.Log.Error("attacks are not watched for", "err", err)
	}
}
