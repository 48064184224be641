package gate

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate/internal/store"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// Proof is the evidence for one change of one record.
type Proof struct {
	Entry      audit.Entry
	Checkpoint []byte
	Size       int64
}

// Prove returns the leaf of a record's revision (0 = the newest that the actor
// may see) with its inclusion proof.
func (g *Gate) Prove(ctx context.Context, a identity.Actor, ref resource.Ref, revision uint64) (Proof, error) {
	newest, err := g.History(ctx, a, ref, 0, 1)
	if err != nil {
		return Proof{}, err
	}
	if revision == 0 {
		revision = newest[0].Revision
	}
	c, err := g.provable(ctx, a, ref, revision)
	if err != nil {
		return Proof{}, err
	}
	note, head, err := g.main.head(ctx)
	if err != nil {
		return Proof{}, err
	}
	rows, err := g.store.Leaves(ctx, c.Seq, 1)
	if err != nil || len(rows) == 0 {
		return Proof{}, errors.Join(err, fmt.Errorf("read leaf %d", c.Seq))
	}
	p := Proof{Entry: entryOf(&rows[0]), Checkpoint: note, Size: head.Size}
	g.withholdAsked(ctx, g.state.Load(), a, c.Kind, &p.Entry)
	p.Entry.Inclusion, err = tlog.ProveRecord(head.Size, int64(c.Seq), g.store)
	return p, err
}

// provable finds the change and asks for its old and its new side: a proof
// carries both. A hidden revision looks like one that does not exist.
func (g *Gate) provable(ctx context.Context, a identity.Actor, ref resource.Ref, revision uint64) (store.Change, error) {
	none := fault.New(fault.NotFound, "%s has no revision %d", "%s 没有修订 %d", ref, revision)
	s := g.state.Load()
	if revision > s.at.Revision {
		return store.Change{}, none
	}
	c, err := g.store.Change(ctx, revision)
	if errors.Is(err, store.ErrNotFound) || err == nil && (c.Kind != ref.Kind || c.Tenant != ref.Tenant || c.Name != ref.Name) {
		return c, none
	}
	if err != nil {
		return c, err
	}
	sides := [][]byte{c.Data}
	before, err := g.store.History(ctx, c.Kind, c.Tenant, c.Name, c.Revision, 1)
	if err != nil {
		return c, err
	}
	if len(before) == 1 {
		sides = append(sides, before[0].Data)
	}
	for _, data := range sides {
		if data == nil {
			continue
		}
		o, err := g.opt.Registry.Load(data)
		if err != nil {
			return c, err
		}
		if !g.ask(s, a, o, readAction(c.Kind), "old").Allowed {
			return c, none
		}
	}
	return c, nil
}
