// Package scrub is the scrubbing centre (white paper 8.1, controls 8.1-1 to
// 8.1-23): it tells what comes to protected addresses from what is sent to
// drown them, in XDP, before the network stack. It owns the filter (bpf/), its
// maps, what it is attached to and what is compiled into it. It does not decide
// that there is an attack: it counts, and obeys orders that end by themselves
// (core/traffic). Interfaces that the configuration does not name are never
// touched.
//
// It has two halves. Installation needs privileges and reads nothing of the
// network; Table and Centre need none and get the maps' descriptors from it.
package scrub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/core/verdicts"
)

// Tempo of a centre.
const (
	countEvery = 100 * time.Millisecond
	denyEvery  = time.Second
	// learning is how long TCP without a proof is let through after a filter
	// began to look, so that connections older than it prove themselves.
	learning = time.Minute

	sampleOf = 256 // one packet in so many is looked at

	maxOrders = 4096
)

// CentreOptions are what a Centre needs. Table is needed.
type CentreOptions struct {
	Name     string // of the source of its readings: "n1"
	Table    *Table
	Proxied  func() bool // SYNs may be answered by cookies
	Verdicts *verdicts.Set
	Readings func(traffic.Reading)
	Samples  func(traffic.Sample)
	Log      *slog.Logger
}

// Centre keeps the filter as records, verdicts and orders want it.
type Centre struct {
	opt     CentreOptions
	begun   time.Duration // of the monotonic clock: since then the filter looks
	reached atomic.Uint64
	synced  atomic.Bool
	again   chan struct{}

	candidates candidates

	mu      sync.Mutex
	records map[resource.Ref]*resource.Object
	orders  map[ordered]*order
	slots   map[resource.Ref]uint32
	plan    *plan // in force
	pasts   []past
	failed  error                   // why it could not be published
	left    map[netip.Prefix]Policy // of an earlier process, until the records are there
	denials []Denial                // of an earlier process
}

// ordered is what an order is about: more than one detection centre may give one
// about an address, this machine's and the control plane's. The one without an
// attack is of an earlier process.
type ordered struct {
	of     resource.Ref
	attack string
}

// order is one that was taken.
type order struct {
	traffic.Order

	until time.Duration // of the monotonic clock
}

// NewCentre makes one. What an earlier process left in the filter stays in
// force until the records are there.
func NewCentre(opt CentreOptions) *Centre {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	c := &Centre{
		opt: opt, begun: Monotonic(), again: make(chan struct{}, 1),
		records: map[resource.Ref]*resource.Object{}, orders: map[ordered]*order{}, slots: map[resource.Ref]uint32{}, plan: &plan{},
	}
	c.inherit()
	return c
}

// Run follows the feed of ProtectedAddress, ScrubPolicy and Tenant until ctx
// ends, counts and denies. The filter goes on without it.
func (c *Centre) Run(ctx context.Context, feed resource.Feed) error {
	var run sync.WaitGroup
	defer run.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	run.Go(func() { c.count(ctx) })
	run.Go(func() { c.publishing(ctx) })
	run.Go(func() { c.sampling(ctx) })
	for {
		b, err := feed.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("follow records: %w", err)
		}
		c.take(b)
		if b.Synced {
			c.synced.Store(true)
		}
		if !c.synced.Load() {
			continue
		}
		if err := c.publish(); err != nil {
			c.opt.Log.Error("the filter stays as it was", "err", err)
			continue
		}
		c.reached.Store(b.At.Revision)
	}
}

// Clear takes everything out of the filter: nothing is protected, nobody denied.
// It is for a machine that belongs to the cell no more, after Run.
func (c *Centre) Clear() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plan = &plan{}
	return errors.Join(c.opt.Table.Publish(nil, Options{}), c.opt.Table.Allow(nil), c.opt.Table.SetDenied(nil))
}

func (c *Centre) take(b resource.Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b.Reset {
		clear(c.records)
		c.synced.Store(false)
	}
	for _, x := range b.Changes {
		ref := x.Ref
		ref.UID = ""
		if x.Object == nil {
			delete(c.records, ref)
		} else {
			c.records[ref] = x.Object
		}
	}
}

// Enforced is the revision that is in force, and whether there is one.
func (c *Centre) Enforced() (revision uint64, synced bool) {
	return c.reached.Load(), c.synced.Load()
}

// Failed says why the last change is not in force.
func (c *Centre) Failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// Refused are the addresses that are not protected, and why.
func (c *Centre) Refused() map[resource.Ref]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.plan.refused)
}

// Obey takes an order, at once. It reports whether there was room.
func (c *Centre) Obey(o traffic.Order) bool {
	now, k := Monotonic(), ordered{o.Of, o.Attack}
	c.mu.Lock()
	delete(c.orders, ordered{of: o.Of})
	switch {
	case o.For <= 0:
		delete(c.orders, k)
	case c.orders[k] == nil && len(c.orders) >= maxOrders:
		c.mu.Unlock()
		return false
	default:
		c.orders[k] = &order{Order: o, until: now + o.For}
	}
	c.mu.Unlock()
	c.wake()
	return true
}

func (c *Centre) wake() {
	select {
	case c.again <- struct{}{}:
	default:
	}
}

// publishing carries orders out, ends them, and hands verdicts to the filter.
func (c *Centre) publishing(ctx context.Context) {
	tick := time.NewTicker(denyEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.again:
		case <-tick.C:
			c.deny()
			if !c.expire() {
				continue
			}
		}
		if !c.synced.Load() {
			continue
		}
		if err := c.publish(); err != nil {
			c.opt.Log.Error("the filter stays as it was", "err", err)
		}
	}
}

// expire forgets orders that have ended.
func (c *Centre) expire() bool {
	now := Monotonic()
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.orders)
	maps.DeleteFunc(c.orders, func(_ ordered, o *order) bool { return o.until <= now })
	return len(c.orders) != n
}

// publish compiles and puts in force.
func (c *Centre) publish() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := Monotonic()
	c.resume(now)
	p := c.compile(now)
	proxied := c.opt.Proxied == nil || c.opt.Proxied()
	err := c.opt.Table.Publish(p.policies, Options{Sample: sampleOf, Proxy: proxied})
	if err == nil {
		err = c.opt.Table.Allow(p.allow)
	}
	c.failed = err
	if err == nil {
		c.plan = p
	}
	return err
}
