package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dun-sec/dun/internal/core/dial"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/lkg"
	"github.com/dun-sec/dun/internal/core/nodelink"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/rpc"
	"github.com/dun-sec/dun/internal/core/secret"
	"github.com/dun-sec/dun/internal/core/text"
	"github.com/dun-sec/dun/internal/core/verdicts"
	kindsystem "github.com/dun-sec/dun/internal/kinds/system"
	"github.com/dun-sec/dun/internal/plane/edge"
)

// member is a machine that joined a cell: it enforces what the control plane
// lets it see, keeps that for when it is gone, and holds no records.
type member struct {
	opt     Options
	dir     *Dir
	me      *membership
	doors   doors
	events  *events.Log
	reg     *resource.Registry
	keeper  *lkg.Keeper
	kept    *keptKeys
	hosts   *hostCerts
	bans    *verdicts.Set
	edge    *edge.Edge
	link    *nodelink.Link
	drain   *drain
	floods  *memberFloods // its scrub is nil where nothing is filtered
	started time.Time

	up    atomic.Bool // all of the above is set
	moved chan struct{}
	whole atomic.Bool // certificates of all hosts are there

	mu     sync.Mutex
	failed error // of the edge
	first  resource.Position
	synced bool // a live stream brought everything since the start
}

// Run runs the roles of a machine that joined, or joins now by the token, until
// ctx ends. It returns nil after a clean stop.
func Run(ctx context.Context, opt Options, token []byte) (err error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	opt.Config.Listen.Console, opt.Config.Listen.Nodes = off, off // a node has neither
	m := &member{opt: opt, started: opt.Now(), drain: newDrain(), moved: make(chan struct{}, 1)}
	var stop closers
	defer func() {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			err = nil
		}
		err = errors.Join(err, stop.close())
	}()
	if m.dir, err = openDir(opt.Config.Data, func(d *Dir) (string, error) {
		var err error
		if m.me, err = d.member(ctx, opt.Config.Join, opt.Config.Roles, token); err != nil {
			return "", err
		}
		return m.me.Cell, nil
	}); err != nil {
		return err
	}
	stop.add(m.dir.Close)
	if !slices.Contains(m.me.Roles, edgeService) {
		opt.Config.Listen.EdgeHTTP, opt.Config.Listen.EdgeHTTPS = off, off
		m.opt.Config.Listen = opt.Config.Listen
	}
	if m.doors, err = openDoors(&opt); err != nil {
		return err
	}
	stop.add(m.doors.close)
	stop.add(serveTelemetry(ctx, m.doors.telemetry, opt, m.statusFromStart, m.metrics()))
	m.say("Dun %s  cell %s  node %s  data %s", "Dun %s  集群 %s  节点 %s  数据 %s", opt.Version, m.me.Cell, m.me.Node, m.dir.Path)
	if err = m.start(ctx, &stop); err != nil {
		return err
	}
	m.up.Store(true)
	return m.serve(ctx)
}

func (m *member) start(ctx context.Context, stop *closers) (err error) {
	if m.reg, err = resource.NewRegistry(m.opt.Kinds...); err != nil {
		return err
	}
	keys, err := m.dir.lkgKeys()
	if err != nil {
		return err
	}
	file := func(role string) *lkg.File {
		return lkg.Open(m.dir.File("lkg"), lkg.Place{Role: role, Cell: m.me.Cell, Node: m.me.Node}, keys)
	}
	log := m.opt.Log
	m.keeper = lkg.NewKeeper(file(edgeService), m.reg, m.opt.Now, log)
	m.kept = newKeptKeys(file(edgeService+"-keys"), m.keeper, func() (resource.Position, bool) { return m.keeper.At(), m.live() }, m.opt.Now, log)
	m.hosts = &hostCerts{file: file(edgeService + "-hosts"), at: m.keeper.At, now: m.opt.Now, log: log,
		ask: func(ctx context.Context, hosts []nodelink.HostOf, public []byte) ([][]byte, error) {
			return m.link.Certificates(ctx, hosts, public)
		}}
	if err := m.hosts.load(); err != nil {
		return err
	}
	m.events, err = events.Open(events.Options{
		Dir: m.dir.File("events"), MaxBytes: int64(m.opt.Config.Events.Bytes), MaxAge: time.Duration(m.opt.Config.Events.Days) * 24 * time.Hour,
		Node: m.me.Node, Now: m.opt.Now, Log: log,
	})
	if err != nil {
		return fmt.Errorf("open events: %w", err)
	}
	stop.add(m.events.Close)
	m.bans = verdicts.New(verdicts.Options{})
	m.openFloods(ctx, stop)
	switch err := m.keeper.Start(); {
	case err == nil:
		m.first = m.keeper.First()
	case !errors.Is(err, lkg.ErrNone):
		m.opt.Log.Error("last-known-good is not taken", "err", err)
		m.say("what was enforced last is not taken: %s", "上次有效配置不可用:%s", err.Error())
	}
	if err := m.connect(); err != nil {
		return err
	}
	stop.add(func() error { m.link.Close(); return nil })
	var ignored resource.Report // Complete has checked them
	m.edge, err = edge.New(ctx, edge.Options{
		Node: m.me.Node, NodeID: uint16(m.me.Number), Issuer: m.hosts, Keys: m.openKey, Challenges: &askedChallenges{m.link, make(chan struct{}, challengesAtOnce)}, Dial: m.dialer().For,
		Events: m.events, Mask: events.Mask, Verdicts: m.bans,
		TrustedProxies: networks(&ignored, "", m.opt.Config.Edge.TrustedProxies), ProxyProtocol: networks(&ignored, "", m.opt.Config.Edge.ProxyProtocol),
		TempDir: m.dir.File("run"), Log: log.With("part", "edge"), Now: m.opt.Now,
	})
	if err != nil {
		return fmt.Errorf("start the edge: %w", err)
	}
	return nil
}

// connect makes the link.
func (m *member) connect() error {
	pair, err := m.me.pair()
	if err != nil {
		return err
	}
	roots, err := m.me.roots()
	if err != nil {
		return err
	}
	m.link, err = nodelink.New(nodelink.Options{
		Certificate: pair, Roots: roots, Cell: m.me.Cell, Node: m.me.Node, Connect: rpc.TCP(m.me.Address), Registry: m.reg,
		Version: m.opt.Version, Floor: m.first, Log: m.opt.Log.With("part", "link"), Now: m.opt.Now,
	})
	return err
}

// dialer connects to origins; neither the doors of this machine nor the control
// plane's are any.
func (m *member) dialer() *dial.Dialer {
	return &dial.Dialer{Resolver: resolverOf(m.opt.Config), Networks: func(tenant string) []netip.Prefix { return networksOf(m.keeper, tenant) },
		Own: func() []netip.AddrPort {
			own := m.doors.addresses()
			if a, err := netip.ParseAddrPort(m.me.Address); err == nil {
				own = append(own, a)
			}
			return own
		}}
}

// serve runs until ctx ends; whoever fails ends all. A node that was removed
// forgets what it knew.
func (m *member) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var run sync.WaitGroup
	part := func(name string, f func(context.Context) error) {
		run.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	m.keeper.Use(&tap{m.link.Feed(), m})
	part("edge records", func(ctx context.Context) error { return m.follow(ctx) })
	run.Go(func() { m.keeper.Run(ctx) })
	run.Go(func() { m.kept.run(ctx) })
	part("edge", func(ctx context.Context) error {
		return m.drain.serve(ctx, m.doors.edgeHTTP, m.doors.edgeHTTPS, m.edge.Serve)
	})
	part("socket", func(ctx context.Context) error { return m.serveSocket(ctx) })
	part("last-known-good", m.age)
	run.Go(func() { m.afterChange(ctx) })
	run.Go(func() { m.pokes(ctx) })
	run.Go(func() { m.tell(ctx) })
	run.Go(func() { m.ship(ctx) })
	m.runFloods(ctx, &run)
	run.Go(func() { m.repair(ctx) })
	run.Go(func() { m.account(ctx) })
	run.Go(func() { m.renew(ctx) })
	run.Go(func() { m.announce(ctx) })
	<-ctx.Done()
	cause := context.Cause(ctx)
	if errors.Is(cause, context.Canceled) {
		m.say("stopping …", "正在停止……")
		cause = nil
	}
	run.Wait()
	if errors.Is(cause, nodelink.ErrRemoved) {
		if s := m.floods.scrub; s.works() {
			if err := s.centre.Clear(); err != nil {
				m.opt.Log.Error("the filter goes on as it was", "err", err)
			}
		}
		return errors.Join(fault.New(fault.NotFound, "this node was removed from the cell: what it knew is erased; join anew with another token", "本节点已被移出集群:所知内容已清除;请用新令牌重新加入").Because(cause), m.dir.erase())
	}
	return cause
}

func (m *member) follow(ctx context.Context) error {
	err := m.edge.Run(ctx, m.keeper.Feed())
	if ctx.Err() == nil {
		m.mu.Lock()
		m.failed = err
		m.mu.Unlock()
	}
	return err
}

// age ends the node when what it enforces is older than may be: it fails
// closed.
func (m *member) age(ctx context.Context) error {
	for pause(ctx, time.Second) {
		if since, stale := m.since(); stale && m.opt.Now().Sub(since) > lkg.MaxAge {
			return fault.New(fault.Unavailable, "what the edge enforces is older than %d days: it closes", "生效配置已超过 %d 天:边缘关闭", int(lkg.MaxAge.Hours()/24))
		}
	}
	return nil
}

// since is when what is enforced was known to be current; stale is false while
// it is.
func (m *member) since() (at time.Time, stale bool) {
	heard, up, _ := m.link.Contact()
	if kept := m.keeper.Since(); !kept.IsZero() {
		return kept, true
	}
	if heard.IsZero() {
		return m.started, true
	}
	return heard, !up || m.opt.Now().Sub(heard) > nodelink.Silence
}

// tap sees each batch on its way to the keeper.
type tap struct {
	resource.Feed
	m *member
}

// Next implements resource.Feed.
func (t *tap) Next(ctx context.Context) (resource.Batch, error) {
	b, err := t.Feed.Next(ctx)
	if err != nil {
		return b, err
	}
	m := t.m
	m.mu.Lock()
	if !m.synced {
		m.synced, m.first = true, b.At
	}
	m.mu.Unlock()
	for _, c := range b.Changes {
		if c.Ref.Kind == "Node" && c.Object != nil && c.Ref.Name == m.me.Node {
			m.drain.set(kindsystem.NodeStateOf(c.Object).Drained)
		}
	}
	return b, nil
}

// pokes looks after certificates whenever the keeper has other sites.
func (m *member) pokes(ctx context.Context) {
	for sites := m.keeper.View("Site"); ; {
		b, err := sites.Next(ctx)
		if err != nil {
			return
		}
		if len(b.Changes) > 0 || b.Reset {
			m.poke()
		}
	}
}

// applied reports whether the keeper has what the first live stream brought.
func (m *member) applied() bool {
	at := m.keeper.At()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.synced && at.Epoch == m.first.Epoch && at.Revision >= m.first.Revision
}

func (m *member) poke() {
	select {
	case m.moved <- struct{}{}:
	default:
	}
}

func (m *member) live() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.synced
}

// openKey opens the key of a certificate: from the control plane, which tells
// the audit log, else one that was opened before.
func (m *member) openKey(ctx context.Context, owner resource.Ref, ref secret.Ref, purpose string) (secret.Value, error) {
	if !m.live() {
		return m.kept.open(owner, ref, purpose)
	}
	v, err := m.link.Key(ctx, owner, ref, purpose)
	if err == nil {
		m.kept.add(owner, ref, purpose, v)
		return v, nil
	}
	if fault.Is(err, fault.Unavailable) {
		if v, kerr := m.kept.open(owner, ref, purpose); kerr == nil {
			return v, nil
		}
	}
	return secret.Value{}, err
}

func (m *member) say(en, zh string, args ...any) {
	fmt.Fprintln(m.opt.Out, text.F(en, zh, args...).In(m.opt.Lang))
}
