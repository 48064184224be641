package agent

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/lkg"
	"github.com/dun-sec/dun/internal/core/telemetry"
)

// status tells how this node is.
func (m *member) status() telemetry.Status {
	rev, synced := m.edge.Enforced()
	at := m.keeper.At()
	since, stale := m.since()
	_, _, why := m.link.Contact()
	drained, _ := m.drain.now()
	floods := m.floodRoles()
	m.mu.Lock()
	defer m.mu.Unlock()
	role := telemetry.Role{Name: edgeService, State: telemetry.Starting, Revision: rev, Mode: "native", Interfaces: []string{}, Missing: []telemetry.Missing{}}
	miss := func(need, why, instead string) {
		role.Missing = append(role.Missing, telemetry.Missing{Need: need, Why: why, Instead: instead})
	}
	switch {
	case m.failed != nil:
		role.State = telemetry.Failed
	case !synced:
		if why != nil {
			miss("control plane", fault.Of(why).Detail.En, "nothing was enforced before: every request is refused until it is reached")
		}
	case stale:
		role.State = telemetry.LastKnownGood
		reason := "it was heard last at " + since.UTC().Format(time.RFC3339)
		if why != nil {
			reason += "; " + fault.Of(why).Detail.En
		}
		miss("control plane", reason,
			fmt.Sprintf("what was enforced last goes on, new certificates and keys wait; for %d days at most, then closed", int(lkg.MaxAge.Hours()/24)))
	case m.synced && rev >= m.first.Revision:
		role.State = telemetry.Enforcing
	}
	if drained {
		role.State = telemetry.Off
		miss("connections", "the node is drained", "none are taken until dun do resume node "+m.me.Node)
	}
	if err := m.keeper.Failed(); err != nil {
		miss("lkg/edge.snap", err.Error(), "an older one, or none, stands in after a start without the control plane")
	}
	for _, name := range m.link.Skipped() {
		miss(name, "it is of a newer release", "what was enforced of it before, or nothing")
	}
	roles := []telemetry.Role{}
	if slices.Contains(m.me.Roles, edgeService) || len(floods) == 0 {
		roles = append(roles, role)
	} else { // the filter alone says how the records are
		f := &floods[0]
		f.Missing = append(f.Missing, role.Missing...)
		if role.State == telemetry.LastKnownGood && (f.State == telemetry.Enforcing || f.State == telemetry.Degraded) {
			f.State = telemetry.LastKnownGood
		}
	}
	for _, r := range floods {
		if r.Name == scrubService && m.floods.scrub.works() {
			rev = min(rev, r.Revision)
		}
	}
	roles = append(append(roles, floods...), netdRole(m.opt))
	return telemetry.Status{
		// Last-known-good is ready here: who balances load over nodes would else
		// take them all away when the control plane is gone.
		Ready: role.State == telemetry.LastKnownGood || role.State == telemetry.Enforcing && m.whole.Load(), Version: m.opt.Version, Cell: m.me.Cell, Epoch: at.Epoch, Revision: at.Revision,
		Endpoints: m.doors.endpoints(), Roles: roles,
		Nodes: []telemetry.Node{{Name: m.me.Node, Roles: m.me.Roles, Revision: rev, Seen: m.opt.Now().UTC(), Version: m.opt.Version}},
	}
}

// statusFromStart is status for who asks before everything is there.
func (m *member) statusFromStart() telemetry.Status {
	if m.up.Load() {
		return m.status()
	}
	return telemetry.Status{Version: m.opt.Version, Roles: []telemetry.Role{{Name: edgeService, State: telemetry.Starting}}}
}

func (m *member) metrics() func() []telemetry.Sample {
	return func() []telemetry.Sample {
		if !m.up.Load() {
			return nil
		}
		s := m.edge.Stats().Total
		return edgeSamples(s.Requests-min(s.Requests, s.Blocked), s, m.status().Ready, m.events)
	}
}

// serveSocket answers on the machine how the node is.
func (m *member) serveSocket(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, m.status()) })
	return serveSocket(ctx, m.dir, mux)
}

// announce prints one block of lines once the node serves.
func (m *member) announce(ctx context.Context) {
	told := false
	for pause(ctx, 10*time.Millisecond) {
		s := m.status()
		if !s.Ready {
			continue
		}
		if s.Roles[0].State == telemetry.LastKnownGood {
			if !told && m.opt.Now().Sub(m.started) > time.Second {
				told = true
				m.say("the control plane is not reached; the edge serves what it enforced last", "无法连接控制面;边缘按上次有效配置提供服务")
			}
			continue
		}
		var edges []string
		for _, name := range []string{"edgeHTTP", "edgeHTTPS"} {
			if e := s.Endpoints[name]; e != "" {
				edges = append(edges, e)
			}
		}
		m.say("  control  %s", "  控制面   %s", m.me.Address)
		if len(edges) > 0 {
			m.say("  edge     %s", "  边缘     %s", strings.Join(edges, "  "))
		}
		if m.floods.scrub.works() {
			m.say("  scrub    %s", "  清洗     %s", strings.Join(m.floods.scrub.interfaces, "  "))
		}
		m.say("ready in %.2f s: the node enforces revision %d", "就绪,用时 %.2f 秒:节点已生效修订 %d", m.opt.Now().Sub(m.started).Seconds(), s.Revision)
		return
	}
}
