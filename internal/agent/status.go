package agent

import (
	"context"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/telemetry"
)

// status tells the state of the cell as it is now.
func (c *cell) status() telemetry.Status {
	at := c.gate.At()
	rev, synced := c.edge.Enforced()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.opt.Now()
	role := telemetry.Role{Name: "edge", State: telemetry.Starting, Revision: rev, Mode: "native", Interfaces: []string{}, Missing: []telemetry.Missing{}}
	switch {
	case c.failed != nil:
		role.State = telemetry.Failed
	case synced && rev >= c.base:
		role.State = telemetry.Enforcing
	}
	if rev >= at.Revision {
		c.behind = time.Time{}
	} else if c.behind.IsZero() {
		c.behind = now
	}
	node := telemetry.Node{Name: nodeName, Roles: []string{"edge"}, Revision: rev, Seen: now.UTC(), Version: c.opt.Version}
	if !c.behind.IsZero() {
		node.LagMs = now.Sub(c.behind).Milliseconds()
	}
	control := telemetry.Role{Name: "control", State: telemetry.Enforcing, Revision: at.Revision, Mode: "native", Interfaces: []string{}, Missing: c.gate.Alarms()}
	if len(control.Missing) > 0 {
		control.State = telemetry.Degraded
	}
	return telemetry.Status{
		Ready: role.State == telemetry.Enforcing, Version: c.opt.Version, Cell: c.dir.Cell, Epoch: at.Epoch, Revision: at.Revision,
		Endpoints: c.doors.endpoints(), Roles: []telemetry.Role{control, role}, Nodes: []telemetry.Node{node},
	}
}

// announce prints one block of lines once everything enforces.
func (c *cell) announce(ctx context.Context) {
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		s := c.status()
		if !s.Ready {
			continue
		}
		e := s.Endpoints
		var edges []string
		for _, name := range []string{"edgeHTTP", "edgeHTTPS"} {
			if e[name] != "" {
				edges = append(edges, e[name])
			}
		}
		c.showLink(e["console"])
		c.say("  api      %s  (authority %s)", "  接口     %s (根证书 %s)", e["console"], c.dir.File("ca.pem"))
		c.say("  edge     %s", "  边缘     %s", strings.Join(edges, "  "))
		c.say("  sign in  export DUN_PROFILE=%s", "  登录     export DUN_PROFILE=%s", c.dir.File(profileFile))
		c.say("ready in %.2f s: the edge enforces revision %d", "就绪,用时 %.2f 秒:边缘已生效修订 %d", c.opt.Now().Sub(c.started).Seconds(), s.Nodes[0].Revision)
		return
	}
}

// showLink says where the console is, and while the link is unburnt how to
// enter.
func (c *cell) showLink(base string) {
	if base == "" {
		return
	}
	enter, err := c.link.Show(base)
	if err != nil {
		c.opt.Log.Error("the link to the console cannot be read", "err", err)
	}
	if enter == "" {
		c.say("  console  %s  (a new link: dun admin recover --data %s)", "  控制台   %s (生成新链接:dun admin recover --data %s)", base, c.dir.Path)
		return
	}
	c.say("  console  %s  (one time)", "  控制台   %s (一次有效)", enter)
}
