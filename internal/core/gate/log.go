package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate/internal/store"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/policy"
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

// Leaves in all, for the newest page.
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
	err = g.eachLeaf(ctx, uint64(head.Size), func(e audit.Entry) error {
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
	err = g.eachLeaf(ctx, uint64(head.Size), func(e audit.Entry) error {
		if next == len(seqs) || seqs[next] != e.Seq {
			return nil
		}
		next++
		proof, err := tlog.ProveRecord(head.Size, int64(e.Seq), g.store)
		if err != nil {
			return fmt.Errorf("prove leaf %d: %w", e.Seq, err)
		}
		e.Inclusion = proof
		return out.Add(e)
	})
	return errors.Join(err, out.Close())
}

func (g *Gate) eachLeaf(ctx context.Context, size uint64, yield func(audit.Entry) error) error {
	for from := uint64(0); from < size; {
		rows, err := g.store.Leaves(ctx, from, leafPage)
		if err != nil {
			return err
		}
		if len(rows) == 0 || rows[0].Seq != from {
			return fmt.Errorf("leaf %d is missing", from)
		}
		for i := range rows {
			if from = rows[i].Seq + 1; rows[i].Seq >= size {
				return nil
			}
			if err := yield(entryOf(&rows[i])); err != nil {
				return err
			}
		}
	}
	return nil
}

// Proof is the evidence for one change of one record.
type Proof struct {
	Entry      audit.Entry
	Checkpoint []byte
	Size       int64
}

// Prove returns the leaf of a record's revision (0 = the newest) with its
// inclusion proof.
func (g *Gate) Prove(ctx context.Context, a identity.Actor, ref resource.Ref, revision uint64) (Proof, error) {
	if _, err := g.History(ctx, a, ref, 0, 1); err != nil {
		return Proof{}, err
	}
	if revision == 0 {
		rows, err := g.store.History(ctx, ref.Kind, ref.Tenant, ref.Name, 0, 1)
		if err != nil || len(rows) == 0 {
			return Proof{}, errors.Join(err, notFound(ref))
		}
		revision = rows[0].Revision
	}
	c, err := g.store.Change(ctx, revision)
	if errors.Is(err, store.ErrNotFound) || err == nil && (c.Kind != ref.Kind || c.Tenant != ref.Tenant || c.Name != ref.Name) {
		return Proof{}, fault.New(fault.NotFound, "%s has no revision %d", "%s 没有修订 %d", ref, revision)
	}
	if err != nil {
		return Proof{}, err
	}
	if err := g.mayProve(ctx, a, c); err != nil {
		return Proof{}, err
	}
	note, err := g.checkpoint(ctx)
	if err != nil {
		return Proof{}, err
	}
	head, err := audit.OpenCheckpoint(note, g.opt.VKey)
	if err != nil {
		return Proof{}, fmt.Errorf("read our own checkpoint: %w", err)
	}
	rows, err := g.store.Leaves(ctx, c.Seq, 1)
	if err != nil || len(rows) == 0 {
		return Proof{}, errors.Join(err, fmt.Errorf("read leaf %d", c.Seq))
	}
	p := Proof{Entry: entryOf(&rows[0]), Checkpoint: note, Size: head.Size}
	p.Entry.Inclusion, err = tlog.ProveRecord(head.Size, int64(c.Seq), g.store)
	return p, err
}

// mayProve asks for the old and the new side: a proof carries both.
func (g *Gate) mayProve(ctx context.Context, a identity.Actor, c store.Change) error {
	s := g.state.Load()
	sides := [][]byte{c.Data}
	rows, err := g.store.History(ctx, c.Kind, c.Tenant, c.Name, c.Revision, 1)
	if err != nil {
		return err
	}
	if len(rows) == 1 {
		sides = append(sides, rows[0].Data)
	}
	for _, data := range sides {
		if data == nil {
			continue
		}
		o, err := g.opt.Registry.Load(data)
		if err != nil {
			return err
		}
		if !s.snap.Decide(policy.Query{Principal: a.Principal, Action: readAction(c.Kind), Object: o, Context: g.context(a, "old")}).Allowed {
			return notFound(resource.Ref{Kind: c.Kind, Tenant: c.Tenant, Name: c.Name})
		}
	}
	return nil
}

// CheckReport is what Check found.
type CheckReport struct {
	Leaves  int64     `json:"leaves"`
	Records int       `json:"records"`
	Erased  int       `json:"erased"` // leaves whose payload was erased
	At      time.Time `json:"at"`
}

// Check proves that records, history and log say the same: each leaf hashes
// into the tree, each payload opens its commitments, each live record is its
// newest history row, and that row is what its leaf committed to. The first
// difference is an error.
func (g *Gate) Check(ctx context.Context, a identity.Actor) (CheckReport, error) {
	if err := g.May(a, readAudit, resource.Platform); err != nil {
		return CheckReport{}, err
	}
	s := g.state.Load()
	note, err := g.checkpoint(ctx)
	if err != nil {
		return CheckReport{}, err
	}
	head, err := audit.OpenCheckpoint(note, g.opt.VKey)
	if err != nil {
		return CheckReport{}, fmt.Errorf("read our own checkpoint: %w", err)
	}
	rep := CheckReport{Leaves: head.Size, At: g.opt.Now().UTC()}
	tree := audit.NewTree()
	proven := map[uint64]bool{} // revisions whose bytes a leaf committed to
	err = g.eachLeaf(ctx, uint64(head.Size), func(e audit.Entry) error {
		leaf, err := audit.ParseLeaf(e.Leaf)
		if err != nil {
			return fmt.Errorf("leaf %d: %w", e.Seq, err)
		}
		if err := leaf.Check(e.Salts, e.Values); err != nil {
			return fmt.Errorf("leaf %d: %w", e.Seq, err)
		}
		if e.Salts[audit.FieldTenant] == nil {
			rep.Erased++
		}
		if leaf.Revision != 0 && e.Salts[audit.FieldNew] != nil {
			proven[leaf.Revision] = true
		}
		tree.Append(audit.LeafHash(e.Leaf))
		return nil
	})
	if err != nil {
		return rep, fault.New(fault.Internal, "the log does not verify: %s", "日志校验失败:%s", err.Error()).Because(err)
	}
	if tree.Root() != head.Root {
		return rep, fault.New(fault.Internal, "the leaves do not give the signed root", "叶子与已签名的根不一致")
	}
	return rep, g.checkRecords(ctx, s, proven, &rep)
}

func (g *Gate) checkRecords(ctx context.Context, s *state, proven map[uint64]bool, rep *CheckReport) error {
	for _, k := range s.reg.All() {
		var bad error
		s.trees[k.Name].Ascend(func(o *resource.Object) bool {
			rep.Records++
			c, err := g.store.Change(ctx, o.Metadata.Revision)
			if err != nil {
				bad = fmt.Errorf("%s: %w", o.Ref(), err)
				return false
			}
			stored, err := g.opt.Registry.Load(c.Data)
			if err == nil && !proven[c.Revision] {
				err = errors.New("no leaf commits to its revision")
			}
			if err == nil {
				var same bool
				if same, err = equal(stored, o); err == nil && !same {
					err = errors.New("memory and history differ")
				}
			}
			if err != nil {
				bad = fmt.Errorf("%s: %w", o.Ref(), err)
			}
			return bad == nil
		})
		if bad != nil {
			return fault.New(fault.Internal, "a record does not match its proof: %s", "记录与其证明不一致:%s", bad.Error()).Because(bad)
		}
	}
	return nil
}
