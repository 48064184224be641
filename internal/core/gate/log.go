package gate

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate/internal/store"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// LogInfo names the log and the key that signs it.
type LogInfo struct {
	Origin string `json:"origin"`
	VKey   string `json:"vkey"`
}

// Log names the audit log of this cell.
func (g *Gate) Log() LogInfo { return LogInfo{Origin: audit.Origin(g.opt.Cell), VKey: g.opt.VKey} }

const (
	readAudit = "audit.read"
	leafPage  = 500
)

// Fact is something that happened without a change of a record.
type Fact struct {
	Class        audit.Class
	Kind, Action string
	Tenant, Name string
	Reason       string
}

// Record appends a leaf without a record change. The caller has authorised
// what the fact tells of.
func (g *Gate) Record(ctx context.Context, a identity.Actor, f Fact) error {
	m := &member{ctx: ctx, done: make(chan struct{})}
	m.run = func(b *build) error {
		return b.leaf(fact{class: f.Class, kind: f.Kind, action: f.Action, time: b.now(), actor: a, tenant: f.Tenant, name: f.Name, reason: f.Reason})
	}
	return g.submit(ctx, m)
}

// Checkpoint returns a signed checkpoint that covers everything committed
// before the call; it waits for the signature, about a second at most.
func (g *Gate) Checkpoint(ctx context.Context, a identity.Actor) ([]byte, error) {
	if err := g.May(a, readAudit, resource.Platform); err != nil {
		return nil, err
	}
	return g.checkpoint(ctx)
}

func (g *Gate) checkpoint(ctx context.Context) ([]byte, error) {
	g.signed.mu.Lock()
	want := g.signed.want.Size
	g.signed.mu.Unlock()
	for {
		b, size, signed := g.signed.newest()
		if size >= want {
			return b, nil
		}
		select {
		case <-signed:
		case <-ctx.Done():
			return nil, fault.New(fault.Unavailable, "no signed checkpoint in time", "未能及时取得已签名的检查点").Because(ctx.Err())
		case <-g.stop:
			return nil, stopping()
		}
	}
}

// Leaves lists up to limit leaves from seq with what they commit to, in the
// order of the log. They carry no inclusion proofs.
func (g *Gate) Leaves(ctx context.Context, a identity.Actor, from uint64, limit int) ([]audit.Entry, error) {
	if err := g.May(a, readAudit, resource.Platform); err != nil {
		return nil, err
	}
	if limit <= 0 || limit > MaxPage {
		limit = DefaultPage
	}
	if from > audit.MaxSize {
		return nil, nil
	}
	rows, err := g.store.Leaves(ctx, from, limit)
	if err != nil {
		return nil, err
	}
	var out []audit.Entry
	for i := range rows {
		out = append(out, entryOf(&rows[i]))
	}
	return out, nil
}

// LogSize is the number of leaves, for the newest page.
func (g *Gate) LogSize() int64 {
	g.signed.mu.Lock()
	defer g.signed.mu.Unlock()
	return g.signed.want.Size
}

func entryOf(l *store.Leaf) audit.Entry {
	e := audit.Entry{Seq: l.Seq, Leaf: l.Body}
	if len(l.Salts) != audit.Fields*audit.SaltSize {
		return e // erased
	}
	for i := range e.Salts {
		e.Salts[i] = l.Salts[i*audit.SaltSize : (i+1)*audit.SaltSize]
	}
	e.Values = audit.Values{
		audit.FieldTenant: l.Tenant, audit.FieldActor: l.Actor, audit.FieldName: l.Name,
		audit.FieldOld: l.OldData, audit.FieldNew: l.NewData, audit.FieldReason: l.Reason, audit.FieldContext: l.Context,
	}
	for f, rev := range map[audit.Field]uint64{audit.FieldOld: l.Old, audit.FieldNew: l.New} {
		if rev != 0 && e.Values[f] == nil {
			e.Salts[f] = nil // the history row is gone: withheld, not absent
		}
	}
	return e
}

// Export writes leaves and their proofs as a bundle (formats.md, Log). The
// export itself is a leaf, made before anything leaves.
func (g *Gate) Export(ctx context.Context, a identity.Actor, w io.Writer, want func(audit.Entry) bool) error {
	if err := g.May(a, readAudit, resource.Platform); err != nil {
		return err
	}
	if err := g.Record(ctx, a, Fact{Class: audit.Export, Kind: "Audit", Action: "export", Tenant: resource.Platform}); err != nil {
		return err
	}
	note, err := g.checkpoint(ctx)
	if err != nil {
		return err
	}
	head, err := audit.OpenCheckpoint(note, g.opt.VKey)
	if err != nil {
		return fmt.Errorf("read our own checkpoint: %w", err)
	}
	var seqs []uint64
	err = g.eachLeaf(ctx, uint64(head.Size), func(l *store.Leaf) error {
		e := entryOf(l)
		if want == nil || want(e) {
			seqs = append(seqs, e.Seq)
		}
		return nil
	})
	if err != nil {
		return err
	}
	out, err := audit.NewBundleWriter(w, audit.Manifest{Origin: head.Origin, VKey: g.opt.VKey, Size: head.Size, Leaves: seqs}, note)
	if err != nil {
		return err
	}
	next := 0
	err = g.eachLeaf(ctx, uint64(head.Size), func(l *store.Leaf) error {
		if next == len(seqs) || seqs[next] != l.Seq {
			return nil
		}
		next++
		e := entryOf(l)
		proof, err := tlog.ProveRecord(head.Size, int64(e.Seq), g.store)
		if err != nil {
			return fmt.Errorf("prove leaf %d: %w", e.Seq, err)
		}
		e.Inclusion = proof
		return out.Add(e)
	})
	return errors.Join(err, out.Close())
}

func (g *Gate) eachLeaf(ctx context.Context, size uint64, yield func(*store.Leaf) error) error {
	for from := uint64(0); from < size; {
		rows, err := g.store.Leaves(ctx, from, leafPage)
		if err != nil {
			return err
		}
		if len(rows) == 0 || rows[0].Seq != from {
			return fmt.Errorf("leaf %d is missing", from)
		}
		for i := range rows {
			if rows[i].Seq >= size {
				return nil
			}
			if rows[i].Seq != from {
				return fmt.Errorf("leaf %d is missing", from)
			}
			from++
			if err := yield(&rows[i]); err != nil {
				return err
			}
		}
	}
	return nil
}
