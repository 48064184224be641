package agent

import (
	"context"
	"net"
	"time"

	"github.com/dun-sec/dun/internal/core/dial"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/govern/sites"
	kindedge "github.com/dun-sec/dun/internal/kinds/edge"
)

// proveSites runs the controller of sites as soon as the store is open.
func (c *cell) proveSites(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for c.running() == nil {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
	log := c.opt.Log.With("part", "sites")
	feed, err := c.running().Watch(identity.Service(kindedge.SiteOwner), []string{"Site"}, nil)
	if err == nil {
		err = sites.Run(ctx, sites.Options{
			Gate: c.running(), Feed: feed, Key: c.keys.Hosts, TXT: c.resolver().LookupTXT, Dial: c.dialer().For,
			Origins: c.origins, Now: c.opt.Now, Log: log,
		})
	}
	if err != nil && ctx.Err() == nil {
		log.Error("hosts are not proven", "err", err)
	}
}

// resolver is asked for names that tenants name.
func (c *cell) resolver() *net.Resolver { return resolverOf(c.opt.Config) }

func resolverOf(conf Config) *net.Resolver {
	if r := dial.Resolver(conf.Edge.Resolvers); r != nil {
		return r
	}
	return net.DefaultResolver
}

// origins is how a site's origins stand on this machine.
func (c *cell) origins(tenant, site string) []kindedge.OriginStatus {
	var out []kindedge.OriginStatus
	for _, o := range c.edge.Origins(tenant, site) {
		s := kindedge.OriginStatus{Origin: o.Origin, Node: nodeName, Breaker: o.Breaker, Health: o.Health}
		if !o.Since.IsZero() {
			at := o.Since.UTC().Truncate(time.Second)
			s.Since = &at
		}
		out = append(out, s)
	}
	return out
}
