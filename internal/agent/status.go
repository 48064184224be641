package agent

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/agent/kernel"
	"github.com/dun-sec/dun/internal/core/lkg"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/telemetry"
)

// status tells the state of the cell as it is now.
func (c *cell) status() telemetry.Status {
	rev, synced := c.edge.Enforced()
	since, unsaved := c.keeper.Since(), c.keeper.Failed()
	others := c.otherNodes()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.opt.Now()
	control, at := c.control(rev)
	role := telemetry.Role{Name: "edge", State: telemetry.Starting, Revision: rev, Mode: "native", Interfaces: []string{}, Missing: []telemetry.Missing{}}
	switch {
	case c.failed != nil:
		role.State = telemetry.Failed
	case synced && !since.IsZero():
		role.State = telemetry.LastKnownGood
		role.Missing = append(role.Missing, telemetry.Missing{
			Need: "records", Why: "they are those of " + since.UTC().Format(time.RFC3339), Instead: fmt.Sprintf("last-known-good, for %d days at most, then closed", int(lkg.MaxAge.Hours()/24)),
		})
	case synced && rev >= c.base && c.gate != nil:
		role.State = telemetry.Enforcing
	}
	if unsaved != nil {
		role.Missing = append(role.Missing, telemetry.Missing{Need: "lkg/edge.snap", Why: unsaved.Error(), Instead: "an older one, or none, stands in when the store does not open"})
	}
	if rev >= at.Revision {
		c.behind = time.Time{}
	} else if c.behind.IsZero() {
		c.behind = now
	}
	scrubbing, roles := c.scrub.role(), []string{edgeService}
	if c.scrub.works() {
		roles, rev = append(roles, scrubService), min(rev, scrubbing.Revision)
	}
	node := telemetry.Node{Name: nodeName, Roles: roles, Revision: rev, Seen: now.UTC(), Version: c.opt.Version}
	if !c.behind.IsZero() {
		node.LagMs = now.Sub(c.behind).Milliseconds()
	}
	return telemetry.Status{
		Ready: role.State == telemetry.Enforcing, Version: c.opt.Version, Cell: c.dir.Cell, Epoch: at.Epoch, Revision: at.Revision,
		Endpoints: c.doors.endpoints(), Roles: []telemetry.Role{control, role, scrubbing, c.detectRole(others), netdRole(c.opt)}, Nodes: append([]telemetry.Node{node}, others...),
	}
}

// control is the role that holds the records, and how far they are.
func (c *cell) control(enforced uint64) (telemetry.Role, resource.Position) {
	if c.gate == nil {
		return c.failedControl(enforced), resource.Position{Revision: enforced}
	}
	at := c.gate.At()
	r := telemetry.Role{Name: "control", State: telemetry.Enforcing, Revision: at.Revision, Mode: "native", Interfaces: []string{}, Missing: c.gate.Alarms()}
	if len(r.Missing) > 0 {
		r.State = telemetry.Degraded
	}
	return r, at
}

// netdRole is the part that has a privilege left: the supervisor's, where root
// started Dun. What the kernel lacks is said here, once for every plane.
func netdRole(opt Options) telemetry.Role {
	r := telemetry.Role{Name: "netd", State: telemetry.Off, Mode: "native", Interfaces: []string{}, Missing: kernel.Missing(opt.Kernel)}
	if opt.Netd != nil {
		r.State = telemetry.Enforcing
	}
	return r
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
