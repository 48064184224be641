package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate/internal/store"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// CheckReport is what Check found.
type CheckReport struct {
	Leaves  int64     `json:"leaves"`
	Records int       `json:"records"`
	Erased  int       `json:"erased"` // leaves whose payload was erased
	At      time.Time `json:"at"`
}

// Check proves that records, history and log say the same: each leaf hashes
// into the tree and into its stored nodes, each payload is whole and opens its
// commitments, each history row is the one that its leaf tells of and no row
// is without a leaf, and each live record is its newest row. The first
// difference is an error.
func (g *Gate) Check(ctx context.Context, a identity.Actor) (CheckReport, error) {
	if err := g.May(a, readAudit, resource.Platform); err != nil {
		return CheckReport{}, err
	}
	s := g.state.Load()
	_, head, err := g.main.head(ctx)
	if err != nil {
		return CheckReport{}, err
	}
	c := &checker{g: g, ctx: ctx, state: s, tree: audit.NewTree(), newest: map[resource.Ref]uint64{}}
	c.rep = CheckReport{Leaves: head.Size, At: g.opt.Now().UTC()}
	if err := g.main.each(ctx, uint64(head.Size), c.leaf); err != nil {
		return c.rep, damaged(err)
	}
	if c.tree.Root() != head.Root {
		return c.rep, fault.New(fault.Internal, "the leaves do not give the signed root", "叶子与已签名的根不一致")
	}
	if err := errors.Join(c.nodes(), c.rest(head.Size), c.told()); err != nil {
		return c.rep, damaged(err)
	}
	if err := c.records(); err != nil {
		return c.rep, fault.New(fault.Internal, "a record does not match its proof: %s", "记录与其证明不一致:%s", err.Error()).Because(err)
	}
	return c.rep, nil
}

func damaged(err error) error {
	return fault.New(fault.Internal, "the log does not verify: %s", "日志校验失败:%s", err.Error()).Because(err)
}

// checker walks leaves and history side by side: both are in the order of
// revisions, so neither is held in memory.
type checker struct {
	g      *Gate
	ctx    context.Context
	state  *state // records as they were before the checkpoint
	tree   *audit.Tree
	stored []tlog.Hash // what tree says that the nodes from first on are
	first  int64
	rows   []store.Change // of history, still to be matched
	last   uint64         // revision up to which rows were read
	newest map[resource.Ref]uint64
	rep    CheckReport

	erased, missing         []uint64 // leaves without payload, revisions without row
	toldLeaves, toldVersion []spans  // what the log says of them
}

func (c *checker) leaf(l *store.Leaf) error {
	e := entryOf(l)
	leaf, err := audit.ParseLeaf(l.Body)
	if err != nil {
		return fmt.Errorf("leaf %d: %w", l.Seq, err)
	}
	if leaf.Seq != l.Seq {
		return fmt.Errorf("leaf %d says that it is %d", l.Seq, leaf.Seq)
	}
	erased := l.Salts == nil
	for f, salt := range e.Salts {
		if erased || salt != nil {
			continue
		}
		switch {
		case audit.Field(f) == audit.FieldOld && l.Old != 0:
			c.missing = append(c.missing, l.Old)
		case audit.Field(f) == audit.FieldNew && l.New != 0:
		default:
			return fmt.Errorf("leaf %d: its %s is gone and was not erased", l.Seq, audit.Field(f))
		}
	}
	if leaf.Class == audit.Erasure && !erased {
		var f erasureFact
		if err := json.Unmarshal(e.Values[audit.FieldReason], &f); err != nil {
			return fmt.Errorf("leaf %d: read what it erased: %w", l.Seq, err)
		}
		c.toldLeaves, c.toldVersion = append(c.toldLeaves, f.Leaves), append(c.toldVersion, f.Revisions)
	}
	if erased {
		c.rep.Erased++
		c.erased = append(c.erased, l.Seq)
	} else if err := leaf.Check(e.Salts, e.Values); err != nil {
		return fmt.Errorf("leaf %d: %w", l.Seq, err)
	}
	if leaf.Revision != 0 {
		if err := c.change(&leaf, &e, erased); err != nil {
			return fmt.Errorf("leaf %d: %w", l.Seq, err)
		}
	}
	c.stored = append(c.stored, c.tree.Append(audit.LeafHash(l.Body))...)
	if len(c.stored) > leafPage {
		return c.nodes()
	}
	return nil
}

// nodes compares the stored hashes of the tree, which later proofs are made of.
func (c *checker) nodes() error {
	indexes := make([]int64, len(c.stored))
	for i := range indexes {
		indexes[i] = c.first + int64(i)
	}
	have, err := c.g.store.ReadHashes(indexes)
	if err != nil {
		return err
	}
	for i := range have {
		if have[i] != c.stored[i] {
			return fmt.Errorf("tree hash %d is not what the leaves give", indexes[i])
		}
	}
	c.first, c.stored = c.first+int64(len(c.stored)), c.stored[:0]
	return nil
}

// peek returns the next row of history, nil at the end.
func (c *checker) peek() (*store.Change, error) {
	if len(c.rows) == 0 {
		var err error
		if c.rows, err = c.g.store.Changes(c.ctx, c.last, leafPage); err != nil || len(c.rows) == 0 {
			return nil, err
		}
		c.last = c.rows[len(c.rows)-1].Revision
	}
	return &c.rows[0], nil
}

// change compares a leaf with the row of history that has its revision.
func (c *checker) change(l *audit.Leaf, e *audit.Entry, erased bool) error {
	row, err := c.peek()
	switch {
	case err != nil:
		return err
	case row != nil && row.Revision < l.Revision:
		return fmt.Errorf("revision %d of history has no leaf", row.Revision)
	case row == nil || row.Revision != l.Revision:
		c.missing = append(c.missing, l.Revision) // the log has to tell of it
		if !erased && e.Values[audit.FieldNew] == nil && e.Salts[audit.FieldNew] != nil {
			ref := resource.Ref{Kind: l.Kind, Tenant: string(e.Values[audit.FieldTenant]), Name: string(e.Values[audit.FieldName])}
			delete(c.newest, ref) // a deletion whose row expired
		}
		return nil
	}
	c.rows = c.rows[1:]
	var context leafContext
	if err := json.Unmarshal(e.Values[audit.FieldContext], &context); err != nil {
		return fmt.Errorf("revision %d: read its context: %w", l.Revision, err)
	}
	v := &e.Values
	if row.Seq != l.Seq || row.Kind != l.Kind || row.Action != l.Action || row.Time != l.Time.UnixMicro() || row.Tenant != string(v[audit.FieldTenant]) ||
		row.Name != string(v[audit.FieldName]) || row.Actor != string(v[audit.FieldActor]) || row.Request != context.Request || !bytes.Equal(row.Data, v[audit.FieldNew]) {
		return fmt.Errorf("revision %d of history is not what the leaf tells of", l.Revision)
	}
	ref := resource.Ref{Kind: row.Kind, Tenant: row.Tenant, Name: row.Name}
	subject := row.Data
	if subject == nil {
		subject = v[audit.FieldOld]
	}
	o, err := c.g.opt.Registry.Load(subject)
	if err != nil {
		return err
	}
	if key(o.Ref()) != ref || o.Metadata.UID != row.UID || row.Data != nil && o.Metadata.Revision != row.Revision {
		return fmt.Errorf("revision %d of history holds another record", l.Revision)
	}
	switch {
	case row.Revision > c.state.at.Revision: // after the records that are compared
	case row.Data == nil:
		delete(c.newest, ref)
	default:
		c.newest[ref] = row.Revision
	}
	return nil
}

// told holds what is gone to what the log says was erased, and the reverse:
// nothing went without a leaf, and nothing came back.
func (c *checker) told() error {
	leaves, versions := union(c.toldLeaves...), union(c.toldVersion...)
	for _, part := range []struct {
		what      string
		gone, log spans
	}{{"payload of leaf", spansOf(c.erased), leaves}, {"history of revision", spansOf(c.missing), versions}} {
		for _, r := range part.gone {
			for n := r[0]; n <= r[1]; n++ {
				if !part.log.has(n) {
					return fmt.Errorf("the %s %d is gone, and the log tells of no erasure", part.what, n)
				}
			}
		}
		for _, r := range part.log {
			for n := r[0]; n <= r[1]; n++ {
				if !part.gone.has(n) {
					return fmt.Errorf("the %s %d was erased and is there", part.what, n)
				}
			}
		}
	}
	return nil
}

// rest looks for rows below the checkpoint that no leaf tells of.
func (c *checker) rest(size int64) error {
	row, err := c.peek()
	if err == nil && row != nil && row.Seq < uint64(size) {
		err = fmt.Errorf("revision %d of history has no leaf", row.Revision)
	}
	return err
}

// records compares the memory copy with the newest proven rows.
func (c *checker) records() error {
	for _, k := range c.state.reg.All() {
		var bad error
		c.state.trees[k.Name].Ascend(func(o *resource.Object) bool {
			c.rep.Records++
			ref := key(o.Ref())
			if c.newest[ref] != o.Metadata.Revision {
				bad = fmt.Errorf("%s is at revision %d, the log at %d", ref, o.Metadata.Revision, c.newest[ref])
				return false
			}
			delete(c.newest, ref)
			bad = c.record(o)
			return bad == nil
		})
		if bad != nil {
			return bad
		}
	}
	for ref, rev := range c.newest {
		return fmt.Errorf("%s of revision %d is missing", ref, rev)
	}
	return nil
}

func (c *checker) record(o *resource.Object) error {
	row, err := c.g.store.Change(c.ctx, o.Metadata.Revision)
	if err != nil {
		return fmt.Errorf("%s: %w", o.Ref(), err)
	}
	kept, err := c.g.opt.Registry.Load(row.Data)
	if err != nil {
		return fmt.Errorf("%s: %w", o.Ref(), err)
	}
	if same, err := equal(kept, o); err != nil || !same {
		return errors.Join(err, fmt.Errorf("%s: memory and history differ", o.Ref()))
	}
	return nil
}
