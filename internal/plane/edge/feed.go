package edge

import (
	"context"
	"fmt"

	"github.com/dun-sec/dun/internal/core/resource"
)

// Run follows the feed of Site, Certificate, Exclusion, Ban, Tenant and DataClass until ctx
// ends, which returns nil, or the feed fails. Each batch is in force when Run asks
// for the next one; Enforced then reports its revision. While a reset is being
// delivered the last snapshot stays in force. Run owns the health checks, which
// end with it; it must not run twice at once.
func (e *Edge) Run(ctx context.Context, feed resource.Feed) error {
	records := map[resource.Ref]*resource.Object{}
	synced, dirty := false, true
	defer e.checks.end()
	for {
		b, err := feed.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("follow records: %w", err)
		}
		if b.Reset {
			clear(records)
			synced, dirty = false, true
		}
		for _, c := range b.Changes {
			ref := c.Ref
			ref.UID = "" // a record made again under the same name takes its place
			old := records[ref]
			if c.Object == nil {
				delete(records, ref)
			} else {
				records[ref] = c.Object
			}
			dirty = dirty || !onlyStatus(old, c.Object)
		}
		if b.Synced {
			synced = true
		}
		if !synced {
			continue
		}
		if dirty || e.pairs.due() {
			s := e.compile(records)
			s.own = e.pairs.follow(ctx, records)
			e.swap(s)
			e.checks.follow(ctx, s)
			dirty = false
		}
		e.reached.Store(b.At.Revision)
	}
}

func (e *Edge) swap(s *snapshot) {
	old := e.snap.Swap(s)
	e.certs.keep(s)
	if old == nil || old.count != s.count {
		e.opts.Log.Info("edge enforces", "kind", "Site", "count", s.count)
	}
}

// onlyStatus reports whether a change is of the status alone, by which no
// request is judged: it would cost a compilation of all sites.
func onlyStatus(old, now *resource.Object) bool {
	return old != nil && now != nil && old.Metadata.UID == now.Metadata.UID && old.Metadata.Revision == now.Metadata.Revision &&
		old.Metadata.StatusRevision != now.Metadata.StatusRevision
}
