package agent

import (
	"context"
	"log/slog"
	"time"

	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/lkg"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
	"github.com/dun-sec/dun/internal/govern/certificates"
	kindedge "github.com/dun-sec/dun/internal/kinds/edge"
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

// openKey opens the key of a certificate for the edge of this node. While the
// record store does not open, no leaf can tell of it: then one is given that
// was opened, and told of, before.
func (c *cell) openKey(ctx context.Context, owner resource.Ref, ref secret.Ref, purpose string) (secret.Value, error) {
	if !c.up.Load() {
		return secret.Value{}, fault.New(fault.Unavailable, "the secrets are not open yet", "机密尚未打开")
	}
	if c.running() == nil {
		return c.kept.open(owner, ref, purpose)
	}
	v, err := c.secrets.OpenOf(ctx, identity.Service(edgeService), owner, ref, purpose)
	if err == nil {
		c.kept.add(owner, ref, purpose, v)
	}
	return v, err
}

// keepKeys makes the place where opened keys are kept.
func (c *cell) keepKeys() *keptKeys {
	file := lkg.Open(c.dir.File("lkg"), lkg.Place{Role: edgeService + "-keys", Cell: c.dir.Cell, Node: nodeName}, c.keys.LKG)
	return newKeptKeys(file, c.keeper, func() (resource.Position, bool) {
		if g := c.running(); g != nil {
			return g.At(), true
		}
		return resource.Position{}, false
	}, c.opt.Now, c.opt.Log)
}

// newKeptKeys keeps those that certificates of the keeper's records need.
func newKeptKeys(file *lkg.File, keeper *lkg.Keeper, at func() (resource.Position, bool), now func() time.Time, log *slog.Logger) *keptKeys {
	return &keptKeys{
		file: file, pending: map[secret.Ref]keptKey{}, dirty: make(chan struct{}, 1), at: at,
		need: func(owner resource.Ref, ref secret.Ref) bool {
			o := keeper.Get(owner)
			if o == nil || o.Metadata.UID != owner.UID {
				return false
			}
			_, key, ok := kindedge.InForce(o)
			return ok && key == string(ref)
		},
		now: now, log: log,
	}
}
