package agent

import (
	"context"

	"github.com/dun-sec/dun/internal/core/bytes"
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
		Gate: g, Follow: c.events.Follow, Live: c.floods, Recorded: c.evidence.Recorded, Skip: edge.CanaryTenant, Now: c.opt.Now, Log: c.opt.Log.With("part", "attacks"),
	})
	if err != nil && ctx.Err() == nil {
		c.opt.Log.Error("attacks are not watched for", "err", err)
	}
}

// keepEvidence keeps packets of attacks, once the store is open: the key of each
// capture is told of in the audit log. Where it cannot, attacks are recorded all
// the same.
func (c *cell) keepEvidence(ctx context.Context) {
	g := c.opened(ctx)
	if g == nil {
		return
	}
	log := c.opt.Log.With("part", "evidence")
	store, err := bytes.Open(ctx, bytes.Options{DB: c.meta, Dir: c.dir.File("bytes"), Keys: c.secrets, Now: c.opt.Now})
	if err != nil {
		if ctx.Err() == nil {
			log.Error("no evidence is kept", "err", err)
		}
		return
	}
	c.evidence.Run(ctx, attacks.EvidenceOptions{Gate: g, Store: store, Skip: edge.CanaryTenant, Now: c.opt.Now, Log: log})
}
