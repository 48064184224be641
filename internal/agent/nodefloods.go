package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/nodelink"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/telemetry"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/plane/detect"
	"github.com/dun-sec/dun/internal/plane/scrub"
)

// nodeSilence is how long a node that filters may tell nothing before it counts
// as one that does not.
const nodeSilence = 3 * time.Second

// floodDesk stands between the detection centre of the control plane and the
// filters of all machines: it takes what nodes count, and hands out orders to
// this machine's filter and to theirs.
type floodDesk struct {
	detect func() *detect.Detector
	own    func() *scrub.Centre // nil = nothing is filtered here

	mu     sync.Mutex
	orders map[deskKey]*standing
	nodes  map[string]*nodeFloods
	heard  chan struct{} // closed when a node told what it tried
}

type deskKey struct {
	of     resource.Ref
	attack string
}

// standing is an order that holds.
type standing struct {
	traffic.Order

	until time.Duration
}

// nodeFloods is what a node told last.
type nodeFloods struct {
	at     time.Duration
	live   map[resource.Ref]traffic.Live
	liveAt time.Duration
	wanted map[string]bool   // it is to try
	tried  map[string][]byte // since it was asked
}

// tryWithin is how long a node may try; a check waits a minute.
const tryWithin = 50 * time.Second

const (
	maxStanding  = nodelink.MaxFloodOrders
	maxDeskNodes = 1024
)

func newFloodDesk(d func() *detect.Detector, own func() *scrub.Centre) *floodDesk {
	return &floodDesk{detect: d, own: own, orders: map[deskKey]*standing{}, nodes: map[string]*nodeFloods{}, heard: make(chan struct{})}
}

// Obey hands an order to every filter. It reports whether there is one that
// takes it.
func (f *floodDesk) Obey(o traffic.Order) bool {
	taken := false
	if c := f.own(); c != nil {
		taken = c.Obey(o)
	}
	now, k := scrub.Monotonic(), deskKey{o.Of, o.Attack}
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.orders, func(_ deskKey, s *standing) bool { return s.until <= now })
	switch {
	case o.For <= 0:
		delete(f.orders, k)
	case f.orders[k] != nil || len(f.orders) < maxStanding:
		f.orders[k] = &standing{o, now + o.For}
		taken = taken || f.listens(now)
	}
	return taken
}

// listens reports whether a node filters; f.mu is held.
func (f *floodDesk) listens(now time.Duration) bool {
	for _, n := range f.nodes {
		if now-n.at < nodeSilence {
			return true
		}
	}
	return false
}

// Take implements nodes.Floods.
func (f *floodDesk) Take(node string, r nodelink.FloodReport) (out nodelink.FloodReply) {
	now, d := scrub.Monotonic(), f.detect()
	known := func(of resource.Ref) (traffic.Count, bool) {
		p, ok := d.Prefix(of)
		return traffic.Count{Of: of, Address: p}, ok
	}
	for i := range r.Samples {
		if _, ok := d.Prefix(r.Samples[i].Object()); ok {
			d.Sample(r.Samples[i].Sample(now))
		}
	}
	d.Count(r.Reading("node "+node, now, known))
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[node]
	if n == nil {
		if len(f.nodes) >= maxDeskNodes {
			maps.DeleteFunc(f.nodes, func(_ string, n *nodeFloods) bool { return now-n.at > time.Minute })
		}
		n = &nodeFloods{}
		f.nodes[node] = n
	}
	n.at = now
	if len(r.Live) > 0 {
		n.live, n.liveAt = make(map[resource.Ref]traffic.Live, len(r.Live)), now
		for _, l := range r.Live {
			if _, ok := known(l.Object()); ok {
				n.live[l.Object()] = l.Live
			}
		}
	}
	for what, b := range r.Tried {
		if n.wanted[what] {
			delete(n.wanted, what)
			n.tried[what] = b
			close(f.heard)
			f.heard = make(chan struct{})
		}
	}
	out.Try = slices.Sorted(maps.Keys(n.wanted))
	for _, s := range f.orders {
		if s.until > now {
			out.Orders = append(out.Orders, nodelink.OrderOf(s.Order, s.until-now))
		}
	}
	return out
}

// ask has every node that filters try something, and waits for what they tell.
func (f *floodDesk) ask(ctx context.Context, what string) (map[string][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, tryWithin)
	defer cancel()
	now := scrub.Monotonic()
	f.mu.Lock()
	asked := map[string]*nodeFloods{}
	for name, n := range f.nodes {
		if now-n.at >= nodeSilence {
			continue
		}
		if n.tried == nil {
			n.wanted, n.tried = map[string]bool{}, map[string][]byte{}
		}
		n.wanted[what] = true
		delete(n.tried, what)
		asked[name] = n
	}
	f.mu.Unlock()
	out := map[string][]byte{}
	for {
		f.mu.Lock()
		heard, silent := f.heard, ""
		for name, n := range asked {
			if b, ok := n.tried[what]; ok {
				out[name] = b
			} else if _, ok := out[name]; !ok {
				silent = name
			}
		}
		f.mu.Unlock()
		if silent == "" {
			return out, nil
		}
		select {
		case <-heard:
		case <-ctx.Done():
			return nil, fmt.Errorf("node %s does not tell what it tried", silent)
		}
	}
}

// live is what goes to protected addresses, by this machine's filter and those of
// nodes.
func (f *floodDesk) live() map[resource.Ref]traffic.Live {
	all := map[resource.Ref]traffic.Live{}
	if c := f.own(); c != nil {
		maps.Copy(all, c.Live())
	}
	now := scrub.Monotonic()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.nodes {
		if now-n.liveAt >= nodeSilence {
			continue
		}
		for ref, l := range n.live {
			if was, ok := all[ref]; ok {
				l = added(was, l)
			}
			all[ref] = l
		}
	}
	return all
}

// added is the sum of what two filters see of one address.
func added(a, b traffic.Live) traffic.Live {
	sum := func(x, y map[string]float64) map[string]float64 {
		out := make(map[string]float64, len(x)+len(y))
		maps.Copy(out, x)
		for k, n := range y {
			out[k] += n
		}
		return out
	}
	armed := slices.Clone(a.Armed)
	for _, v := range b.Armed {
		if !slices.Contains(armed, v) {
			armed = append(armed, v)
		}
	}
	return traffic.Live{
		Address: a.Address, Packets: a.Packets + b.Packets, Bits: a.Bits + b.Bits, Passed: a.Passed + b.Passed, Out: a.Out + b.Out,
		Offered: sum(a.Offered, b.Offered), Dropped: sum(a.Dropped, b.Dropped), Armed: armed, Monitor: a.Monitor && b.Monitor,
	}
}

// listening are the nodes that filter.
func (f *floodDesk) listening() (out []string) {
	now := scrub.Monotonic()
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, n := range f.nodes {
		if now-n.at < nodeSilence {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// filters reports whether any machine of the cell filters.
func (f *floodDesk) filters() bool {
	if f.own() != nil {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.listens(scrub.Monotonic())
}

// lacks names nodes that should filter and tell nothing.
func (f *floodDesk) lacks(nodes []telemetry.Node) (out []telemetry.Missing) {
	now := scrub.Monotonic()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range nodes {
		if !slices.Contains(n.Roles, scrubService) {
			continue
		}
		why := ""
		switch x := f.nodes[n.Name]; {
		case x == nil:
			why = "it has told nothing of floods since the start"
		case now-x.at >= nodeSilence:
			why = "it has told nothing of floods for " + (now - x.at).Truncate(time.Second).String()
		}
		if why != "" {
			out = append(out, telemetry.Missing{Need: "node " + n.Name, Why: why, Instead: "it goes on by itself; what it sees is missing in the sums"})
		}
	}
	return out
}

// memberFloods is a node's end: its own detection centre, which acts at once and
// without the control plane too, and what is told of the filter's counts.
type memberFloods struct {
	scrub  *scrubber
	detect *detect.Detector
	memory *memory // of detect
	tally  nodelink.Tally
}

// openFloods takes the filter over, where the configuration names an interface
// and the node has the role.
func (m *member) openFloods(ctx context.Context, stop *closers) {
	f := &memberFloods{}
	m.floods = f
	if !slices.Contains(m.me.Roles, scrubService) {
		return
	}
	f.detect = detect.New(detect.Options{Node: m.me.Node, Events: m.events, Obey: func(o traffic.Order) bool { return f.scrub.works() && f.scrub.centre.Obey(o) }, Now: m.opt.Now, Log: m.opt.Log.With("part", "detect")})
	f.memory = remember(f.detect, m.dir, m.opt.Log)
	f.scrub = openScrub(ctx, stop, scrubHome{opt: &m.opt, dir: m.dir.Path, node: m.me.Node, verdicts: m.bans, readings: f.count, samples: f.sample})
}

// runFloods runs the filter and its detection centre by the records that the node
// has, those of an earlier start too.
func (m *member) runFloods(ctx context.Context, run *sync.WaitGroup) {
	f := m.floods
	if !f.scrub.works() {
		return
	}
	run.Go(func() {
		if err := f.scrub.centre.Run(ctx, m.keeper.View(scrubKinds...)); err != nil && ctx.Err() == nil {
			m.opt.Log.Error("the filter is not kept up to date", "err", err)
		}
	})
	run.Go(func() {
		if err := f.detect.Run(ctx, m.keeper.View("ProtectedAddress")); err != nil && ctx.Err() == nil {
			m.opt.Log.Error("thresholds of records are not followed", "err", err)
		}
	})
	run.Go(func() { f.memory.run(ctx) })
	run.Go(func() {
		f.tell(ctx, m.link, m.live, func(err error) { m.opt.Log.Debug("floods are not told of", "err", err) })
	})
}

// roles are the states of the node's filter and of its detection centre; none
// where it has no such role.
func (m *member) floodRoles() []telemetry.Role {
	f := m.floods
	if f.detect == nil {
		if len(m.opt.Config.Scrub.Interfaces) == 0 {
			return nil
		}
		return []telemetry.Role{{Name: scrubService, State: telemetry.Off, Mode: scrub.ModeOff, Interfaces: m.opt.Config.Scrub.Interfaces, Missing: []telemetry.Missing{
			{Need: "role scrub", Why: "this node's token did not have it", Instead: "packets are neither filtered nor counted; join with a token of roles edge,scrub"},
		}}}
	}
	d := telemetry.Role{Name: detectService, State: telemetry.Off, Mode: "native", Interfaces: []string{}, Missing: []telemetry.Missing{}}
	if d.Missing = append(d.Missing, f.memory.lacks()...); f.scrub.works() {
		d.State = telemetry.Enforcing
		if len(d.Missing) > 0 {
			d.State = telemetry.Degraded
		}
	}
	return []telemetry.Role{f.scrub.role(), d}
}

// count and sample take what the filter counts.
func (m *memberFloods) count(r traffic.Reading) { m.detect.Count(r); m.tally.Count(r) }
func (m *memberFloods) sample(s traffic.Sample) { m.detect.Sample(s); m.tally.Sample(s) }

// tell reports and obeys until ctx ends.
func (m *memberFloods) tell(ctx context.Context, link *nodelink.Link, live func() bool, log func(error)) {
	given := map[deskKey]bool{}
	var tries tries
	for n := 0; pause(ctx, nodelink.FloodEvery); n++ {
		if !live() {
			continue
		}
		var now map[resource.Ref]traffic.Live
		if n%2 == 0 {
			now = m.scrub.centre.Live()
		}
		r := m.tally.Take(scrub.Monotonic(), now)
		if r == nil {
			continue
		}
		r.Tried = tries.take()
		reply, err := link.Floods(ctx, r)
		if err != nil {
			if ctx.Err() == nil {
				log(err) // what was ordered ends by itself
			}
			continue
		}
		tries.begin(m.scrub, reply.Try)
		next := map[deskKey]bool{}
		for i := range reply.Orders {
			o := reply.Orders[i].Order()
			if o.For > 0 && m.scrub.centre.Obey(o) {
				next[deskKey{o.Of, o.Attack}] = true
			}
		}
		for k := range given {
			if !next[k] {
				m.scrub.centre.Obey(traffic.Order{Of: k.of, Attack: k.attack})
			}
		}
		given = next
	}
}
