package agent

import (
	"context"

	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/govern/certificates"
)

// watchCertificates runs the controller of certificates as soon as the store is
// open.
func (c *cell) watchCertificates(ctx context.Context) {
	g := c.opened(ctx)
	if g == nil {
		return
	}
	err := certificates.Run(ctx, certificates.Options{
		Gate: g, Events: c.events, Secrets: c.secrets, Clock: clock.New(), Log: c.opt.Log.With("part", "certificates"),
		Dial: c.dialer().For, Challenges: c.challenges,
	})
	if err != nil && ctx.Err() == nil {
		c.opt.Log.Error("certificates are not watched", "err", err)
	}
}
