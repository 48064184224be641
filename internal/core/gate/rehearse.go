package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/gate/internal/store"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
)

// errRehearsed ends a rehearsal: the writer undoes what was tried.
var errRehearsed = errors.New("rehearsed")

// Rehearse lets f carry out requests in the writer, one on top of the other,
// and undoes all of it: a check of the posture sees what would happen, by the
// very code, and nothing does. A try that would wait for assent gives *Waiting,
// and the record that asks is there for the next one. Refusals are noted as if
// they had been meant.
func (g *Gate) Rehearse(ctx context.Context, f func(try func(Request) ([]Result, error)) error) error {
	return g.RehearseData(ctx, func(r Rehearsal) error { return f(r.Try) })
}

// Rehearsal is what a rehearsal can do; all of it is undone.
type Rehearsal struct {
	Try     func(Request) ([]Result, error)                       // carries out a request, or waits
	Arrange func(Request) ([]Result, error)                       // the same, as if others had assented
	Handle  func(identity.Actor, resource.Ref, string, Use) error // asks for an act on data
	Class   func(resource.Ref) (c policy.Class, there bool)       // the class in force of a record
	Scan    func(identity.Actor, ListOptions) (*Listing, error)   // lists records
}

// RehearseData is Rehearse with acts on data.
func (g *Gate) RehearseData(ctx context.Context, f func(Rehearsal) error) error {
	var failed error
	m := &member{ctx: ctx, done: make(chan struct{})}
	m.run = func(b *build) error {
		carry := func(req Request) ([]Result, error) {
			if err := g.checkRequest(&req); err != nil {
				return nil, err
			}
			at := b.mark()
			b.apart()
			out, err := b.applyOrAsk(&req, nil)
			if err != nil {
				b.reset(at)
				return nil, err
			}
			if len(out) == 1 && out[0].waits != nil {
				return nil, out[0].waits
			}
			return out, nil
		}
		failed = f(Rehearsal{
			Try: carry,
			Arrange: func(req Request) ([]Result, error) {
				req.approved = []identity.Actor{}
				return carry(req)
			},
			Handle: func(a identity.Actor, ref resource.Ref, act string, use Use) error {
				return g.handle(b.state, a, ref, act, use)
			},
			Scan: func(a identity.Actor, opt ListOptions) (*Listing, error) { return g.scan(b.state, a, opt) },
			Class: func(ref resource.Ref) (policy.Class, bool) {
				if o := b.state.get(ref.Kind, ref.Tenant, ref.Name); o != nil {
					return b.state.snap.Class(o), true
				}
				return policy.Class{}, false
			},
		})
		b.access = false
		return errRehearsed
	}
	if err := g.submit(ctx, m); !errors.Is(err, errRehearsed) {
		return err
	}
	return failed
}

// Warrant is what entitles a live record to be as it is: the leaf of its newest
// revision.
type Warrant struct {
	Object   *resource.Object
	Actor    string // who wrote it
	Request  string // the approved request that did; "" = nobody was asked
	Founding bool   // it was written while one person ran the cell
	Broken   string // why record, history and leaf do not belong together; "" = they do
}

// Warrants reads the warrant of each live record of a kind from the disk, and
// holds it against what is in force in memory.
func (g *Gate) Warrants(ctx context.Context, kind string, each func(Warrant)) error {
	s := g.state.Load()
	t := s.trees[kind]
	if t == nil {
		return nil
	}
	var failed error
	t.Ascend(func(o *resource.Object) bool {
		var w Warrant
		if w, failed = g.warrant(ctx, o); failed != nil {
			return false
		}
		each(w)
		return true
	})
	return failed
}

func (g *Gate) warrant(ctx context.Context, o *resource.Object) (Warrant, error) {
	w := Warrant{Object: o}
	row, err := g.store.Change(ctx, o.Metadata.Revision)
	if errors.Is(err, store.ErrNotFound) {
		w.Broken = "its history is gone"
		return w, nil
	}
	if err != nil {
		return w, err
	}
	w.Actor = row.Actor
	stored, err := o.Stored()
	if err != nil {
		return w, err
	}
	if !bytes.Equal(stored, row.Data) {
		w.Broken = "it is not what its history says"
		return w, nil
	}
	leaves, err := g.store.Leaves(ctx, row.Seq, 1)
	if err != nil {
		return w, err
	}
	if len(leaves) == 0 {
		w.Broken = "its leaf is gone"
		return w, nil
	}
	if why := g.attested(&row, &leaves[0]); why != nil {
		w.Broken = why.Error()
		return w, nil
	}
	var c leafContext
	if err := json.Unmarshal(leaves[0].Context, &c); err != nil {
		w.Broken = "the context of its leaf cannot be read"
		return w, nil
	}
	w.Request, w.Founding = c.ChangeRequest, c.Founding
	return w, nil
}

// attested holds a row of history against its leaf, and the leaf against the
// tree.
func (g *Gate) attested(row *store.Change, l *store.Leaf) error {
	leaf, err := audit.ParseLeaf(l.Body)
	if err != nil {
		return errors.New("its leaf cannot be read")
	}
	e := entryOf(l)
	switch hashes, err := g.store.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(l.Seq))}); {
	case err != nil:
		return err
	case hashes[0] != audit.LeafHash(l.Body):
		return errors.New("its leaf is not that of the log")
	case leaf.Revision != row.Revision || leaf.Kind != row.Kind || leaf.Action != row.Action:
		return errors.New("its leaf tells of another change")
	case !bytes.Equal(row.Data, e.Values[audit.FieldNew]):
		return errors.New("it is not what its leaf tells of")
	}
	if err := leaf.Check(e.Salts, e.Values); err != nil {
		return fmt.Errorf("its leaf does not open: %w", err)
	}
	if string(e.Values[audit.FieldActor]) != row.Actor {
		return errors.New("its history names another actor than the leaf")
	}
	return nil
}
