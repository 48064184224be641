package detect

import (
	"context"
	"fmt"
	"maps"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/kinds/shield"
)

const protectedKind = "ProtectedAddress"

// Run takes thresholds from the feed of ProtectedAddress until ctx ends.
func (d *Detector) Run(ctx context.Context, feed resource.Feed) error {
	for {
		b, err := feed.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("follow records: %w", err)
		}
		if b.Reset {
			d.reset()
		}
		for _, c := range b.Changes {
			ref := c.Ref
			ref.UID = ""
			if ref.Kind != protectedKind {
				continue
			}
			if c.Object == nil {
				d.Forget(ref)
				continue
			}
			if s, ok := c.Object.Spec.(*shield.ProtectedAddressSpec); ok {
				state, _ := c.Object.State.(*shield.ProtectedAddressState)
				d.Thresholds(ref, limits(s.Thresholds), limits(state.Thresholds()))
				if p, err := shield.ParsePrefix(s.Prefix); err == nil {
					d.mu.Lock()
					d.rules[ref].prefix = p
					d.mu.Unlock()
				}
			}
		}
		if b.Synced {
			d.settle()
		}
	}
}

func limits(list []shield.Threshold) map[traffic.Vector]float64 {
	each := map[traffic.Vector]float64{}
	for _, t := range list {
		if v, ok := traffic.Parse(t.Vector); ok {
			each[v] = float64(t.Packets)
		}
	}
	return each
}

// reset begins to learn anew which addresses are protected: the records follow.
// Until all of them are there those of before stay in force.
func (d *Detector) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.synced = false
	d.stale = map[resource.Ref]bool{}
	for of := range d.rules {
		d.stale[of] = true
	}
}

// settle drops what belongs to addresses that are protected no more.
func (d *Detector) settle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.synced {
		return
	}
	d.synced = true
	for of := range d.stale {
		delete(d.rules, of)
	}
	d.stale = nil
	gone := func(of resource.Ref) bool { return d.rules[of] == nil }
	maps.DeleteFunc(d.attacks, func(of resource.Ref, _ *attack) bool { return gone(of) })
	maps.DeleteFunc(d.targets, func(k key, _ *target) bool { return gone(k.of) })
	maps.DeleteFunc(d.restored, func(k key, _ *remembered) bool { return gone(k.of) })
}
