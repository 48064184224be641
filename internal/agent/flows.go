package agent

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/telemetry"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/plane/detect/flow"
	"github.com/dun-sec/dun/internal/plane/scrub"
)

// openFlows makes what reads flows, where the configuration names exporters.
func (c *cell) openFlows() {
	list := c.opt.Config.Detect.Exporters
	if len(list) == 0 {
		return
	}
	opt := flow.Options{Clock: scrub.Monotonic, Readings: c.flowed, Samples: c.flowSampled, Log: c.opt.Log.With("part", "flow")}
	for _, e := range list {
		a, err := netip.ParseAddr(e.Address)
		if err != nil {
			continue // Complete has checked them
		}
		opt.Exporters = append(opt.Exporters, flow.Exporter{Address: a, Sampling: uint32(e.Sampling)})
	}
	c.flows = flow.New(opt)
}

// followFlows reads the doors of exporters until ctx ends, once the records are
// there.
func (c *cell) followFlows(ctx context.Context) {
	if c.flows == nil {
		return
	}
	g := c.opened(ctx)
	if g == nil {
		return
	}
	var run sync.WaitGroup
	defer run.Wait()
	run.Go(func() { c.flows.Count(ctx) })
	for name, conn := range c.doors.flows {
		run.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
			if err := c.readFlows(ctx, conn); err != nil && ctx.Err() == nil {
				c.opt.Log.Error("flows are not read any more", "door", name, "err", err)
			}
		})
	}
	feed, err := g.Watch(identity.Service(detectService), []string{"ProtectedAddress", "Tenant"}, nil)
	if err == nil {
		err = c.flows.Run(ctx, feed)
	}
	if err != nil && ctx.Err() == nil {
		c.opt.Log.Error("flows are not told apart by the newest records", "err", err)
	}
}

func (c *cell) readFlows(ctx context.Context, conn *net.UDPConn) error {
	b := make([]byte, 64<<10)
	for ctx.Err() == nil {
		n, from, err := conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return err
		}
		c.flows.Take(from, b[:n], scrub.Monotonic())
	}
	return nil
}

// flowed hands on what exporters tell, but for what a filter counts itself: it
// saw the same packets.
func (c *cell) flowed(r traffic.Reading) {
	if own := c.desk.live(); len(own) > 0 {
		r.Counts = slices.DeleteFunc(r.Counts, func(x traffic.Count) bool { _, ok := own[x.Of]; return ok })
	}
	c.detect.Count(r)
}

func (c *cell) flowSampled(s traffic.Sample) {
	if !c.desk.filters() {
		c.detect.Sample(s)
	}
}

// flowLacks says what is missing of flows.
func (c *cell) flowLacks() (out []telemetry.Missing) {
	s := c.flows.Stats()
	lack := func(need, why, instead string) {
		out = append(out, telemetry.Missing{Need: need, Why: why, Instead: instead})
	}
	for _, h := range c.flows.Heard() {
		if h.Silent < flow.Silent {
			continue
		}
		why := fmt.Sprintf("it has sent nothing for %s", h.Silent.Truncate(time.Second))
		if h.Never {
			why = "it has sent nothing since the start"
		}
		lack("exporter "+h.Address.String(), why, "floods that only it would tell of are not seen")
	}
	if s.Excess > 0 {
		lack("flow datagrams", fmt.Sprintf("%d were more than one exporter may send", s.Excess), "floods are told smaller than they are; sample more coarsely")
	}
	if s.Late > s.Flows/2 && s.Late > 100 {
		lack("fresh flows", fmt.Sprintf("%d of %d records came two minutes late or more", s.Late, s.Flows), "they are not counted; shorten the exporters' timeouts")
	}
	if s.Refused > 0 {
		lack("room for flows", fmt.Sprintf("%d templates or counters were refused", s.Refused), "what they would tell is not seen")
	}
	return out
}

// flowSamples is what is counted of flows.
func (c *cell) flowSamples() []telemetry.Sample {
	if c.flows == nil {
		return nil
	}
	s := c.flows.Stats()
	by := func(what string, n uint64) telemetry.Sample {
		m := counter("dun_detect_flow_datagrams_total", "Datagrams of flows by what became of them.", n)
		m.Label, m.Value = "result", what
		return m
	}
	return []telemetry.Sample{
		by("read", s.Datagrams-min(s.Datagrams, s.Malformed+s.Excess)), by("foreign", s.Foreign), by("malformed", s.Malformed), by("excess", s.Excess),
		counter("dun_detect_flow_packets_total", "Fronts of packets that sFlow brought.", s.Packets),
		counter("dun_detect_flow_records_total", "Records of NetFlow and IPFIX.", s.Flows),
		counter("dun_detect_flow_late_total", "Records that ended too long before they came.", s.Late),
		counter("dun_detect_flow_lost_total", "What sequence numbers say was sent and never came.", s.Lost),
		counter("dun_detect_flow_untemplated_total", "Datagrams with a set whose template is not there.", s.Unknown),
		gauge("dun_detect_flow_templates", "Templates that are held.", int64(s.Templates)),
	}
}

// merged is what goes to protected addresses: as filters count it, else as
// exporters tell.
func (c *cell) merged() map[resource.Ref]traffic.Live {
	all := map[resource.Ref]traffic.Live{}
	if c.flows != nil {
		all = c.flows.Live()
	}
	maps.Copy(all, c.desk.live())
	return all
}
