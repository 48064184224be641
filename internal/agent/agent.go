// Package agent is the host role: it opens DIR, starts the roles of this
// machine, keeps them going and says how they are. It owns the process: doors,
// start-up order, shutdown. It decides nothing about records.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dun-sec/dun/internal/agent/kernel"
	"github.com/dun-sec/dun/internal/agent/supervisor"
	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/bytes"
	"github.com/dun-sec/dun/internal/core/challenges"
	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/core/db"
	"github.com/dun-sec/dun/internal/core/dial"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/identity/signin"
	"github.com/dun-sec/dun/internal/core/identity/signup"
	"github.com/dun-sec/dun/internal/core/lkg"
	"github.com/dun-sec/dun/internal/core/nodelink"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
	"github.com/dun-sec/dun/internal/core/telemetry"
	"github.com/dun-sec/dun/internal/core/text"
	"github.com/dun-sec/dun/internal/core/trace"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/core/usage"
	"github.com/dun-sec/dun/internal/core/verdicts"
	"github.com/dun-sec/dun/internal/core/views"
	"github.com/dun-sec/dun/internal/govern/accesskeys"
	"github.com/dun-sec/dun/internal/govern/approvals"
	"github.com/dun-sec/dun/internal/govern/attacks"
	"github.com/dun-sec/dun/internal/govern/classes"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/govern/nodes"
	"github.com/dun-sec/dun/internal/govern/releases"
	"github.com/dun-sec/dun/internal/govern/signups"
	kindsystem "github.com/dun-sec/dun/internal/kinds/system"
	"github.com/dun-sec/dun/internal/plane/detect"
	"github.com/dun-sec/dun/internal/plane/detect/flow"
	"github.com/dun-sec/dun/internal/plane/edge"
	"github.com/dun-sec/dun/internal/plane/scrub"
)

// Options of a cell on one machine.
type Options struct {
	Config  Config // completed
	Kinds   []*resource.Kind
	Version string
	Lang    text.Lang
	Out     io.Writer // lines for people
	Log     *slog.Logger
	Now     func() time.Time
	Console func(Parts) (http.Handler, error) // what the console's door serves
	Netd    *supervisor.Client                // opens the doors; nil = this process does
	Kernel  []kernel.Feature                  // as it was probed
}

// Parts is what a face may use of the running cell.
type Parts struct {
	Gate     *gate.Gate
	Events   *events.Log
	Checks   *assurance.Registry
	Secrets  *secret.Store
	SignIn   *signin.Store
	Keys     *accesskeys.Keys
	SignUps  *signups.SignUps // nil = nobody signs up here
	Names    []string         // DNS names of the console
	Upstream *Upstream
	Status   func() telemetry.Status
	// Enter burns the one-time link and says who may enter by it.
	Enter  func(token string) (resource.Ref, error)
	NodeID uint16
	Log    *slog.Logger
	// Join lets a machine become a node.
	Join  func(context.Context, identity.Actor, nodelink.JoinRequest) (*nodelink.JoinReply, error)
	Views *views.Store
	Usage *usage.Book
	// Traffic counts the requests of this node's edge and those that it refused,
	// since the start.
	Traffic func() (requests, blocked uint64)
	// Floods is what goes to protected addresses; nil = nobody counts it here.
	Floods func() map[resource.Ref]traffic.Live
	// Trace is the last seconds of what went to a protected address.
	Trace func(address resource.Ref, seconds int) (trace.Series, bool)
	// Evidence opens what was kept of an attack's packets, for who may read it.
	Evidence func(ctx context.Context, a identity.Actor, tenant, name string) (*bytes.Reader, error)
	// Dial connects on behalf of a tenant, as the edge would.
	Dial func(tenant string) func(ctx context.Context, network, address string) (net.Conn, error)
}

const (
	nodeName = "n1" // one machine; nodes get names with their own issue
	nodeID   = 1
)

// cell is everything that runs.
type cell struct {
	opt        Options
	dir        *Dir
	keys       *Keys
	doors      doors
	events     *events.Log
	reg        *resource.Registry
	keeper     *lkg.Keeper // of the edge
	edge       *edge.Edge
	link       *link
	more       links // of other founders
	reconciler *approvals.Reconciler
	secrets    *secret.Store
	signin     *signin.Store
	wishes     *signup.Store // nil = nobody signs up here
	views      *views.Store
	usage      *usage.Book
	meta       *db.SQLite
	started    time.Time

	scrub  *scrubber // nil = the configuration names no interface
	desk   *floodDesk
	detect *detect.Detector
	memory *memory         // of detect
	flows  *flow.Collector // nil = the configuration names no exporter

	evidence *attacks.Keeper
	trace    *trace.Book

	challenges   *challenges.Set // of ACME authorities
	canaryOrigin canaryOrigin    // and log: what control 1-1 tries with
	log          logWatch
	verdicts     *verdicts.Set // automatic bans, repaired between nodes
	drain        *drain
	kept         *keptKeys

	up atomic.Bool // all of the above is set

	mu      sync.Mutex
	gate    *gate.Gate // nil while the store does not open
	hub     *nodes.Hub // likewise
	access  *accesskeys.Keys
	trouble error  // why not
	failed  error  // of the edge
	base    uint64 // revision at start
	behind  time.Time
}

// Up runs every role on this machine until ctx ends. It returns nil after a
// clean stop.
func Up(ctx context.Context, opt Options) (err error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	c := &cell{opt: opt, started: opt.Now(), challenges: challenges.New(opt.Now), verdicts: verdicts.New(verdicts.Options{}), drain: newDrain(), evidence: attacks.NewKeeper(), trace: trace.New()}
	c.opt.Log = tapped(opt.Log, &c.log)
	opt = c.opt
	var stop closers
	defer func() {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			err = nil // stopped while it was starting: as it was told
		}
		err = errors.Join(err, stop.close())
	}()

	if c.dir, err = OpenDir(opt.Config.Data); err != nil {
		return err
	}
	stop.add(c.dir.Close)
	if c.doors, err = openDoors(&opt); err != nil {
		return err
	}
	stop.add(c.doors.close)
	if err := c.doors.openFlows(&opt); err != nil {
		return err
	}
	stop.add(serveTelemetry(ctx, c.doors.telemetry, opt, c.statusFromStart, c.metrics()))
	if c.keys, err = c.dir.Keys(opt); err != nil {
		return err
	}
	c.say("Dun %s  cell %s  data %s", "Dun %s  集群 %s  数据 %s", opt.Version, c.dir.Cell, c.dir.Path)
	if err := c.start(ctx, &stop); err != nil {
		return err
	}
	if err = c.openMeta(ctx, &stop); err != nil {
		return err
	}
	c.up.Store(true)
	if c.running() != nil {
		err = c.bootstrap(ctx)
	} else if p, perr := identity.ReadProfile(c.dir.File(profileFile)); perr == nil {
		err = c.moveProfile(p)
	}
	if err != nil {
		return err
	}
	return c.serve(ctx, &stop)
}

// start brings up the engines. The rule set takes longest, so it is compiled
// while the store opens.
func (c *cell) start(ctx context.Context, stop *closers) error {
	var err error
	if c.reg, err = resource.NewRegistry(c.opt.Kinds...); err != nil {
		return err
	}
	c.keeper = lkg.NewKeeper(lkg.Open(c.dir.File("lkg"), lkg.Place{Role: edgeService, Cell: c.dir.Cell, Node: nodeName}, c.keys.LKG), c.reg, c.opt.Now, c.opt.Log)
	c.kept = c.keepKeys()
	c.desk = newFloodDesk(func() *detect.Detector { return c.detect }, func() *scrub.Centre {
		if !c.scrub.works() {
			return nil
		}
		return c.scrub.centre
	})
	c.scrub = openScrub(ctx, stop, scrubHome{opt: &c.opt, dir: c.dir.Path, node: nodeName, verdicts: c.verdicts,
		readings: func(r traffic.Reading) { c.detect.Count(r) }, samples: func(s traffic.Sample) { c.detect.Sample(s) }})
	c.events, err = events.Open(events.Options{
		Dir: c.dir.File("events"), MaxBytes: int64(c.opt.Config.Events.Bytes), MaxAge: time.Duration(c.opt.Config.Events.Days) * 24 * time.Hour,
		Node: nodeName, Now: c.opt.Now, Log: c.opt.Log,
	})
	if err != nil {
		return fmt.Errorf("open events: %w", err)
	}
	stop.add(c.events.Close)
	c.detect = detect.New(detect.Options{Node: nodeName, Events: c.events, Obey: c.desk.Obey, Keep: c.evidence.Keep, Now: c.opt.Now, Log: c.opt.Log.With("part", "detect")})
	c.memory = remember(c.detect, c.dir, c.opt.Log)
	c.openFlows()
	c.reconciler = approvals.NewReconciler(approvals.ReconcileOptions{Events: c.events, Clock: clock.New(), Log: c.opt.Log.With("part", "approvals")}, c.recordSource(), c.nodeSource(), c.dataSource())
	type made struct {
		e   *edge.Edge
		err error
	}
	rules := make(chan made, 1)
	go func() {
		e, err := edge.New(ctx, c.edgeOptions())
		rules <- made{e, err}
	}()
	gateErr := c.openGate(ctx, stop)
	m := <-rules
	if m.err != nil {
		m.err = fmt.Errorf("start the edge: %w", m.err)
	}
	c.edge = m.e
	if gateErr != nil && m.err == nil && ctx.Err() == nil {
		gateErr = c.fallBack(gateErr)
	}
	return errors.Join(m.err, gateErr) // the first one is told
}

func (c *cell) edgeOptions() edge.Options {
	var ignored resource.Report // Complete has checked them
	return edge.Options{
		Node: nodeName, NodeID: nodeID, Issuer: c.keys.CA, Keys: c.openKey, Challenges: c.challenges, Dial: c.canaryOrigin.before(c.dialer().For), Events: c.events, Mask: events.Mask, Verdicts: c.verdicts,
		TrustedProxies: networks(&ignored, "", c.opt.Config.Edge.TrustedProxies), ProxyProtocol: networks(&ignored, "", c.opt.Config.Edge.ProxyProtocol),
		TempDir: c.dir.File("run"), Log: c.opt.Log.With("part", "edge"), Now: c.opt.Now,
	}
}

// dialer connects to addresses that tenants name.
func (c *cell) dialer() *dial.Dialer {
	return &dial.Dialer{Own: c.doors.addresses, Networks: c.networks, Resolver: c.resolver()}
}

const edgeService = "edge"

// networks lists the private networks that the platform opened for a tenant, as
// the edge was told: nobody asks the gate on the way of a request.
func (c *cell) networks(tenant string) []netip.Prefix { return networksOf(c.keeper, tenant) }

func networksOf(keeper *lkg.Keeper, tenant string) []netip.Prefix {
	o := keeper.Get(resource.Ref{Kind: "Tenant", Tenant: resource.Platform, Name: tenant})
	if o == nil {
		return nil
	}
	var out []netip.Prefix
	if s, ok := o.Spec.(*kindsystem.TenantSpec); ok {
		for _, n := range s.OriginNetworks {
			if p, err := netip.ParsePrefix(n); err == nil {
				out = append(out, p)
			}
		}
	}
	return out
}

// serve opens the doors and waits for the end. Whoever fails ends all.
func (c *cell) serve(ctx context.Context, stop *closers) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	handler := &face{}
	handler.set(http.HandlerFunc(closed))
	whole := c.running() != nil
	if whole {
		if err := c.attach(handler); err != nil {
			return err
		}
	}
	var run sync.WaitGroup
	part := func(name string, f func(context.Context) error) {
		run.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	if !whole {
		part("records", func(ctx context.Context) error { return c.reopen(ctx, stop, handler) })
	}
	part("edge records", func(ctx context.Context) error { return c.followEdge(ctx, c.keeper.Feed()) })
	run.Go(func() { c.keeper.Run(ctx) })
	run.Go(func() { c.kept.run(ctx) })
	part("edge", func(ctx context.Context) error {
		return c.drain.serve(ctx, c.doors.edgeHTTP, c.doors.edgeHTTPS, c.edge.Serve)
	})
	part("nodes", func(ctx context.Context) error { return c.serveNodes(ctx) })
	part("console", func(ctx context.Context) error {
		return c.doors.serveConsole(ctx, handler, c.keys, c.opt.Config.consoleNames(), c.opt.Log)
	})
	part("socket", func(ctx context.Context) error { return c.serveSocket(ctx) })
	run.Go(func() { c.watchAttacks(ctx) })
	run.Go(func() { c.keepEvidence(ctx) })
	run.Go(func() { c.scrubs(ctx) })
	run.Go(func() { c.detects(ctx) })
	run.Go(func() { c.memory.run(ctx) })
	run.Go(func() { c.drafts(ctx) })
	run.Go(func() { c.followFlows(ctx) })
	run.Go(func() { c.traces(ctx) })
	run.Go(func() { c.carryOut(ctx) })
	run.Go(func() { c.endAccess(ctx) })
	run.Go(func() { c.keepUsage(ctx) })
	run.Go(func() { c.reconciler.Run(ctx) })
	run.Go(func() { c.watchCertificates(ctx) })
	run.Go(func() { c.keepAccessKeys(ctx) })
	run.Go(func() { c.proveSites(ctx) })
	run.Go(func() { c.announce(ctx) })
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		run.Wait()
		return cause
	}
	c.say("stopping …", "正在停止……")
	run.Wait()
	return nil
}

// checks is the explicit list of what proves the controls on this machine.
func (c *cell) checks(g *gate.Gate, faces http.Handler) (*assurance.Registry, error) {
	list := g.Checks()
	if door, ok := address(c.doors.console); ok {
		list = append(list, formsOverTLS(door), loginOverTLS(door), c.keysAtTheDoor(g, door))
	}
	outlets := []classes.Door{c.logDoor(), c.metricsDoor()}
	untried := []string{"the edge: listen.edgeHTTP is off", "bastion, objects, SQL and backup are not built yet"}
	if door, ok := address(c.doors.edgeHTTP); ok {
		secure, _ := address(c.doors.edgeHTTPS)
		env := edge.CheckEnv{Gate: g, Events: c.events, Door: door, Secure: secure, Doors: c.doors.addresses}
		list = append(list, c.edge.Checks(env)...)
		outlets = append(outlets, c.edgeDoor(env))
		untried[0] = "the edges of other nodes"
	}
	list = append(list, scrub.Checks(c.scrubEnv())...)
	list = append(list, detect.Checks(func() bool { return c.flows != nil || c.scrubHere() })...)
	list = append(list, approvals.Checks(g, dayzero.Operator, c.reconciler)...)
	list = append(list, classes.Egress(classes.EgressEnv{Gate: g, Events: c.events, Founder: dayzero.Operator, Serve: faces, Secrets: c.secrets, Doors: outlets, Untried: untried, Now: c.opt.Now}))
	list = append(list, classes.Checks(g, dayzero.Operator)...)
	list = append(list, approvals.AccessChecks(g, dayzero.Operator, c.opt.Now)...)
	list = append(list, releases.Check(g, dayzero.Operator, c.opt.Now))
	return assurance.NewRegistry(nodeName, g.RecordCheck, c.opt.Now, list...)
}

func (c *cell) followEdge(ctx context.Context, feed resource.Feed) error {
	err := c.edge.Run(ctx, feed)
	if ctx.Err() == nil {
		c.mu.Lock()
		c.failed = err
		c.mu.Unlock()
	}
	return err
}

func (c *cell) say(en, zh string, args ...any) {
	fmt.Fprintln(c.opt.Out, text.F(en, zh, args...).In(c.opt.Lang))
}

// closers closes in the reverse order of opening.
type closers []func() error

func (c *closers) add(f func() error) { *c = append(*c, f) }

func (c *closers) close() error {
	var errs []error
	for i := len(*c) - 1; i >= 0; i-- {
		errs = append(errs, (*c)[i]())
	}
	return errors.Join(errs...)
}

// ignoreClosed drops the errors that an orderly stop makes.
func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
