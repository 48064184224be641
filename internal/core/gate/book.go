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

// The logs of a cell: what happened, and what was refused.
const (
	MainLog    = "main"
	DenialsLog = "denials"
)

const (
	readAudit = "audit.read"
	leafPage  = 500
)

// LogInfo names the log and the key that signs it.
type LogInfo struct {
	Origin string `json:"origin"`
	VKey   string `json:"vkey"`
}

// Log names the audit log of this cell.
func (g *Gate) Log() LogInfo { return g.main.info() }

// ledger is one log: leaves, tree and signatures, in a store of its own.
type ledger struct {
	store  store.Store
	signed *checkpoints
	vkey   string
	stop   <-chan struct{}
}

func (l *ledger) info() LogInfo { return LogInfo{Origin: l.signed.origin, VKey: l.vkey} }

// size is the number of committed leaves.
func (l *ledger) size() int64 {
	l.signed.mu.Lock()
	defer l.signed.mu.Unlock()
	return l.signed.want.Size
}

// checkpoint waits for a signature that covers everything committed before.
func (l *ledger) checkpoint(ctx context.Context) ([]byte, error) {
	want := l.size()
	for {
		b, size, signed := l.signed.newest()
		if size >= want {
			return b, nil
		}
		select {
		case <-signed:
		case <-ctx.Done():
			return nil, fault.New(fault.Unavailable, "no signed checkpoint in time", "未能及时取得已签名的检查点").Because(ctx.Err())
		case <-l.stop:
			return nil, stopping()
		}
	}
}

// head is checkpoint, opened.
func (l *ledger) head(ctx context.Context) ([]byte, audit.Checkpoint, error) {
	note, err := l.checkpoint(ctx)
	if err != nil {
		return nil, audit.Checkpoint{}, err
	}
	if len(note) == 0 {
		return nil, audit.Checkpoint{Origin: l.signed.origin, Root: audit.NewTree().Root()}, nil
	}
	head, err := audit.OpenCheckpoint(note, l.vkey)
	if err != nil {
		return nil, head, fmt.Errorf("read our own checkpoint: %w", err)
	}
	return note, head, nil
}

func (l *ledger) each(ctx context.Context, size uint64, yield func(*store.Leaf) error) error {
	for from := uint64(0); from < size; {
		rows, err := l.store.Leaves(ctx, from, leafPage)
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

// Book reads one log of the cell.
type Book struct {
	g     *Gate
	l     *ledger
	actor identity.Actor
}

// Book opens a log for whoever may read audit logs: MainLog (also "") or
// DenialsLog.
func (g *Gate) Book(a identity.Actor, name string) (*Book, error) {
	if err := g.May(a, readAudit, resource.Platform); err != nil {
		return nil, err
	}
	switch {
	case name == MainLog || name == "":
		return &Book{g, g.main, a}, nil
	case name == DenialsLog && g.denials != nil:
		g.denials.sync() // whoever asks about a refusal that he has just seen finds it
		return &Book{g, &g.denials.ledger, a}, nil
	case name == DenialsLog:
		return nil, fault.New(fault.Unavailable, "the log of denials is off", "拒绝日志未启用")
	}
	return nil, fault.New(fault.Invalid, "log: want main or denials, not %q", "log:应为 main 或 denials,而不是 %q", name)
}

// Info names the log and the key that signs it.
func (b *Book) Info() LogInfo { return b.l.info() }

// Size is the number of leaves, for the newest page.
func (b *Book) Size() int64 { return b.l.size() }

// Checkpoint returns a signed checkpoint that covers everything committed
// before the call; it waits for the signature, about a second at most. A log
// without leaves has none: the answer is empty.
func (b *Book) Checkpoint(ctx context.Context) ([]byte, error) { return b.l.checkpoint(ctx) }

// Leaves lists up to limit leaves from seq with what they commit to, in the
// order of the log. They carry no inclusion proofs.
func (b *Book) Leaves(ctx context.Context, from uint64, limit int) ([]audit.Entry, error) {
	if limit <= 0 || limit > MaxPage {
		limit = DefaultPage
	}
	if from > audit.MaxSize {
		return nil, nil
	}
	rows, err := b.l.store.Leaves(ctx, from, limit)
	if err != nil {
		return nil, err
	}
	var out []audit.Entry
	for i := range rows {
		e := entryOf(&rows[i])
		b.withhold(ctx, &e)
		out = append(out, e)
	}
	return out, nil
}

// Consistency proves that the log of from leaves is the beginning of the log
// that the returned checkpoint signs (RFC 6962 section 2.1.2): nothing in it
// was taken out or rewritten since.
func (b *Book) Consistency(ctx context.Context, from int64) (proof []tlog.Hash, note []byte, err error) {
	note, head, err := b.l.head(ctx)
	if err != nil {
		return nil, nil, err
	}
	if from < 1 || from > head.Size {
		return nil, nil, fault.New(fault.Invalid, "from: want 1 to %d, the size of the log", "from:应为 1 到 %d(日志大小)", head.Size)
	}
	if from == head.Size {
		return []tlog.Hash{}, note, nil
	}
	proof, err = tlog.ProveTree(head.Size, from, b.l.store)
	if err != nil {
		return nil, nil, fmt.Errorf("prove the log's growth: %w", err)
	}
	return proof, note, nil
}

// Export writes leaves and their proofs as a bundle (formats.md, Log). The
// export itself is a leaf, made before anything leaves.
func (b *Book) Export(ctx context.Context, w io.Writer, want func(audit.Entry) bool) error {
	if err := b.g.Record(ctx, b.actor, Fact{Class: audit.Export, Kind: "Audit", Action: "export", Tenant: resource.Platform}); err != nil {
		return err
	}
	note, head, err := b.l.head(ctx)
	if err != nil {
		return err
	}
	if len(note) == 0 {
		return fault.New(fault.NotFound, "the log %s has no leaves yet", "日志 %s 尚无叶子", head.Origin)
	}
	var seqs []uint64
	err = b.l.each(ctx, uint64(head.Size), func(l *store.Leaf) error {
		e := entryOf(l)
		if want == nil || want(e) {
			seqs = append(seqs, e.Seq)
		}
		return nil
	})
	if err != nil {
		return err
	}
	out, err := audit.NewBundleWriter(w, audit.Manifest{Origin: head.Origin, VKey: b.l.vkey, Size: head.Size, Leaves: seqs}, note)
	if err != nil {
		return err
	}
	next := 0
	err = b.l.each(ctx, uint64(head.Size), func(l *store.Leaf) error {
		if next == len(seqs) || seqs[next] != l.Seq {
			return nil
		}
		next++
		e := entryOf(l)
		b.withhold(ctx, &e)
		proof, err := tlog.ProveRecord(head.Size, int64(e.Seq), b.l.store)
		if err != nil {
			return fmt.Errorf("prove leaf %d: %w", e.Seq, err)
		}
		e.Inclusion = proof
		return out.Add(e)
	})
	return errors.Join(err, out.Close())
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
