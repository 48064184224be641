package gate_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
)

// Writers, readers, watchers and a restless policy at once. In the end every
// watcher knows what a list shows, revisions have no hole and the log verifies.
func TestEverybodyAtOnce(t *testing.T) {
	c := newCell(t, func(c *cell) { c.ring = 64 })
	c.must(tenant("acme"))
	ann := c.staff("acme", "ann", "web", web)
	before := c.At().Revision
	ctx, stop := context.WithCancel(t.Context())
	defer stop()

	var watchers sync.WaitGroup
	mirrors := make([]*mirror, 3)
	for i, a := range []int{0, 1, 1} {
		actor := operator
		if a == 1 {
			actor = ann
		}
		mirrors[i] = c.watch(t, actor, nil, "Site")
	}
	for _, m := range mirrors {
		watchers.Go(func() {
			for {
				b, err := m.feed.Next(ctx)
				if err != nil {
					if !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
					return
				}
				m.apply(b)
			}
		})
	}

	var writers sync.WaitGroup
	var mu sync.Mutex
	seen := map[uint64]bool{}
	saw := func(out []gate.Result, err error) {
		if err != nil {
			if !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.NotFound) {
				t.Error(err)
			}
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, r := range out {
			if r.Unchanged {
				continue
			}
			if seen[r.Revision] {
				t.Errorf("revision %d was given twice", r.Revision)
			}
			seen[r.Revision] = true
		}
	}
	for w := range 4 {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 7))
			for range 60 {
				name := fmt.Sprintf("s%d", rng.IntN(12))
				ref := resource.Ref{Kind: "Site", Tenant: "acme", Name: name}
				team := []string{"web", "db"}[rng.IntN(2)]
				o, err := c.Get(ctx, operator, ref)
				switch {
				case fault.Is(err, fault.NotFound):
					saw(c.do(operator, c.change(site("acme", name, "labels: {team: "+team+"}", name+".test"))))
				case err != nil:
					t.Error(err)
				case rng.IntN(4) == 0:
					saw(c.do(operator, gate.Change{Op: gate.Delete, Ref: ref, Revision: o.Metadata.Revision}))
				default:
					saw(c.do(operator, gate.Change{Op: gate.Patch, Ref: ref, Revision: o.Metadata.Revision,
						Patch: map[string]any{"metadata": map[string]any{"labels": map[string]any{"team": team}}}}))
				}
			}
		})
	}
	writers.Go(func() {
		for i := range 6 { // moves policy, so that feeds start over in the middle
			saw(c.do(operator, c.change(fmt.Sprintf("kind: User\nmetadata: {tenant: acme, name: u%d}\n", i))))
			if _, _, err := c.OpenSession(ctx, operator, dayzero.Operator, ""); err != nil {
				t.Error(err)
			}
		}
	})
	writers.Go(func() {
		for range 20 {
			c.pages(ann, gate.ListOptions{Kind: "Site", Tenant: gate.AllTenants, Limit: 3}, func() {})
			if _, err := c.Check(ctx, operator); err != nil {
				t.Error(err)
			}
		}
	})
	writers.Wait()

	last := c.must(site("acme", "last", "labels: {team: web}", "last.test"))
	stop()
	watchers.Wait()
	for i, m := range mirrors {
		m.until(last.Revision)
		actor := operator
		if i > 0 {
			actor = ann
		}
		p, err := c.List(t.Context(), actor, gate.ListOptions{Kind: "Site", Tenant: gate.AllTenants, Limit: gate.MaxPage})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]uint64{}
		for _, o := range p.Items {
			want[o.Metadata.Tenant+"/"+o.Metadata.Name] = o.Metadata.Revision
		}
		if !maps.Equal(m.has, want) {
			t.Errorf("watcher %d knows %v, the list shows %v", i, m.has, want)
		}
	}
	for rev := before + 1; rev < last.Revision; rev++ {
		if !seen[rev] {
			t.Errorf("revision %d belongs to nobody", rev)
		}
	}
	c.check()
	c.reopen()
	c.check()
}
