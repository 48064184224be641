package agent

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/telemetry"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/govern/thresholds"
)

const detectService = "detect"

// drafts reports what was learned, once the records are there.
func (c *cell) drafts(ctx context.Context) {
	g := c.opened(ctx)
	if g == nil {
		return
	}
	learned := func() map[resource.Ref]traffic.Learned {
		if !c.counts() {
			return nil
		}
		return c.detect.Learned()
	}
	thresholds.Run(ctx, thresholds.Options{Gate: g, Learned: learned, Log: c.opt.Log.With("part", "thresholds")})
}

// detects takes thresholds from the records, once they are there.
func (c *cell) detects(ctx context.Context) {
	g := c.opened(ctx)
	if g == nil {
		return
	}
	feed, err := g.Watch(identity.Service(detectService), []string{"ProtectedAddress"}, nil)
	if err == nil {
		err = c.detect.Run(ctx, feed)
	}
	if err != nil && ctx.Err() == nil {
		c.opt.Log.Error("thresholds of records are not followed", "err", err)
	}
}

// counts reports whether anybody counts what goes to protected addresses.
func (c *cell) counts() bool { return c.flows != nil || c.desk.filters() }

// detectRole is the state of the detection centre.
func (c *cell) detectRole(others []telemetry.Node) telemetry.Role {
	r := telemetry.Role{Name: detectService, State: telemetry.Enforcing, Interfaces: []string{}, Missing: []telemetry.Missing{}}
	var from []string
	if c.scrub.works() {
		from = append(from, "native")
	}
	if c.flows != nil {
		from = append(from, "flows")
		r.Missing = append(r.Missing, c.flowLacks()...)
	}
	if slices.ContainsFunc(others, func(n telemetry.Node) bool { return slices.Contains(n.Roles, scrubService) }) {
		from = append(from, "nodes")
		r.Missing = append(r.Missing, c.desk.lacks(others)...)
	}
	r.Missing = append(r.Missing, c.memory.lacks()...)
	if len(r.Missing) > 0 {
		r.State = telemetry.Degraded
	}
	if r.Mode = strings.Join(from, ", "); len(from) == 0 {
		r.State, r.Mode = telemetry.Off, "native"
		r.Missing = append(r.Missing, telemetry.Missing{Need: "counters", Why: "no interface is filtered and no exporter is named", Instead: "floods are not seen"})
	}
	return r
}

// floods is what goes to protected addresses, with the attacks under way; nil =
// nobody counts it.
func (c *cell) floods() map[resource.Ref]traffic.Live {
	if !c.counts() {
		return nil
	}
	all := c.merged()
	for _, a := range c.detect.Attacks() {
		if l, ok := all[a.Of]; ok {
			l.Attack = a.ID
			if !a.Lease.IsZero() {
				l.Lease = &a.Lease
			}
			all[a.Of] = l
		}
	}
	return all
}

// traces remembers what goes to protected addresses, for graphs.
func (c *cell) traces(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			c.trace.Take(c.opt.Now(), c.floods())
		}
	}
}
