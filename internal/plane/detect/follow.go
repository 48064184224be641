package detect

import (
	"context"
	"fmt"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/kinds/shield"
)

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
		for _, c := range b.Changes {
			ref := c.Ref
			ref.UID = ""
			if ref.Kind != "ProtectedAddress" {
				continue
			}
			if c.Object == nil {
				d.Forget(ref)
				continue
			}
			if s, ok := c.Object.Spec.(*shield.ProtectedAddressSpec); ok {
				each := map[traffic.Vector]float64{}
				for _, t := range s.Thresholds {
					if v, ok := traffic.Parse(t.Vector); ok {
						each[v] = float64(t.Packets)
					}
				}
				d.Thresholds(ref, each)
			}
		}
	}
}
