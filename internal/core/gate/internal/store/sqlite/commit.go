package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/dun-sec/dun/internal/core/gate/internal/store"
)

// statements are prepared once; Commit alone uses them.
type statements struct {
	head, change, bare, status, open, revoke, purge, reply, erase, drop, salts *sql.Stmt
	leaf, payload, node                                                        rows
}

// rows is an INSERT of many rows at a time: most of what a small row costs is
// the call.
type rows struct {
	columns int
	by      [len(rowSteps)]*sql.Stmt
}

// rowSteps is how many rows the prepared forms take.
var rowSteps = [...]int{64, 16, 4, 1}

func (s *statements) prepare(ctx context.Context, d *sql.DB) error {
	one := func(to **sql.Stmt, text string) error {
		st, err := d.PrepareContext(ctx, text)
		if err != nil {
			return fmt.Errorf("prepare the record store: %w", err)
		}
		*to = st
		return nil
	}
	var errs []error
	for _, p := range []struct {
		to   **sql.Stmt
		text string
	}{
		{&s.head, `INSERT INTO head (id, schema, cell, epoch, leader_epoch, revision, time, size, root) VALUES (1, ?, ?, ?, 0, ?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET cell=excluded.cell, epoch=excluded.epoch, revision=excluded.revision, time=excluded.time, size=excluded.size, root=excluded.root`},
		{&s.change, `INSERT INTO history (revision, kind, tenant, name, uid, action, actor, request, time, seq, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`},
		{&s.bare, `DELETE FROM status WHERE kind=? AND tenant=? AND name=?`},
		{&s.status, `INSERT OR REPLACE INTO status (kind, tenant, name, uid, revision, data) VALUES (?, ?, ?, ?, ?, ?)`},
		{&s.erase, `DELETE FROM payload WHERE seq=?`},
		{&s.drop, `DELETE FROM history WHERE revision=?`},
		{&s.salts, `UPDATE payload SET salts=? WHERE seq=?`},
		{&s.open, `INSERT INTO session (hash, kind, tenant, name, epoch, created, expires, source, proof, mfa) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`},
		{&s.revoke, `DELETE FROM session WHERE hash=?`},
		{&s.purge, `DELETE FROM reply WHERE time < ?`},
		{&s.reply, `INSERT OR REPLACE INTO reply (actor, key, epoch, hash, time, results) VALUES (?, ?, ?, ?, ?, ?)`},
	} {
		errs = append(errs, one(p.to, p.text))
	}
	for _, p := range []struct {
		to      *rows
		into    string
		columns int
	}{
		{&s.leaf, `leaf (seq, body)`, 2},
		{&s.payload, `payload (seq, salts, tenant, actor, name, old, new, reason, context)`, 9},
		{&s.node, `node (id, hash)`, 2},
	} {
		p.to.columns = p.columns
		row := "(" + strings.TrimSuffix(strings.Repeat("?,", p.columns), ",") + ")"
		for i, n := range rowSteps {
			errs = append(errs, one(&p.to.by[i], "INSERT INTO "+p.into+" VALUES "+strings.TrimSuffix(strings.Repeat(row+",", n), ",")))
		}
	}
	return errors.Join(errs...)
}

func (s *statements) close() error {
	all := []*sql.Stmt{s.head, s.change, s.bare, s.status, s.open, s.revoke, s.purge, s.reply, s.erase, s.drop, s.salts}
	for _, r := range []*rows{&s.leaf, &s.payload, &s.node} {
		all = append(all, r.by[:]...)
	}
	var errs []error
	for _, st := range all {
		if st != nil {
			errs = append(errs, st.Close())
		}
	}
	return errors.Join(errs...)
}

// Commit writes the group in one transaction with one fsync.
func (s *Store) Commit(ctx context.Context, g *store.Group) error {
	tx, err := s.files.Writer.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback()
	w := writer{ctx: ctx, statements: &s.statements, tx: tx}
	w.changes(g.Changes)
	w.statuses(g.Statuses)
	w.leaves(g)
	w.erase(g)
	w.sessions(g)
	w.replies(g)
	h := &g.Head
	w.exec(w.head, Schema, h.Cell, h.Epoch, h.Revision, h.Time, h.Size, h.Root[:])
	if w.err != nil {
		return w.err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if len(g.Erase)+len(g.Drop) > 0 {
		s.forget(ctx)
	}
	return nil
}

// forget takes what was deleted out of the write-ahead log as well; the pages
// were overwritten already (secure_delete). A reader in the middle of the log
// keeps it for a while: the next erasure or a stop folds it in.
func (s *Store) forget(ctx context.Context) {
	var busy, log, done int
	_ = s.files.Writer.QueryRowContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`).Scan(&busy, &log, &done)
}

// writer keeps the first error, so that a group reads as a list of statements.
type writer struct {
	*statements
	ctx context.Context
	tx  *sql.Tx
	err error
}

func (w *writer) exec(st *sql.Stmt, args ...any) {
	w.run(w.tx.StmtContext(w.ctx, st), args...)
}

// run carries out a statement that is the transaction's already.
func (w *writer) run(st *sql.Stmt, args ...any) {
	if w.err != nil {
		return
	}
	if _, err := st.ExecContext(w.ctx, args...); err != nil {
		w.err = fmt.Errorf("write: %w", err)
	}
}

// null keeps "absent" apart from "empty" without trusting the driver with
// either: nothing empty is ever stored.
func null(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}

// insert writes rows whose values stand one behind the other.
func (w *writer) insert(r *rows, args []any) {
	for i, n := range rowSteps {
		for size := n * r.columns; len(args) >= size; args = args[size:] {
			w.exec(r.by[i], args[:size]...)
		}
	}
}

// changes writes a row at a time: names lie all over the index, and a statement
// of many rows first copies every page that it touches, to be able to undo them.
func (w *writer) changes(list []store.Change) {
	if len(list) == 0 {
		return
	}
	insert := w.tx.StmtContext(w.ctx, w.change)
	for i := range list {
		c := &list[i]
		w.run(insert, c.Revision, c.Kind, c.Tenant, c.Name, c.UID, c.Action, c.Actor, c.Request, c.Time, c.Seq, null(c.Data))
		if c.Data == nil {
			w.exec(w.bare, c.Kind, c.Tenant, c.Name)
		}
	}
}

func (w *writer) statuses(list []store.Status) {
	for i := range list {
		x := &list[i]
		w.exec(w.status, x.Kind, x.Tenant, x.Name, x.UID, x.Revision, x.Data)
	}
}

func (w *writer) leaves(g *store.Group) {
	var leaves, payload, nodes []any
	for i := range g.Leaves {
		l := &g.Leaves[i]
		leaves = append(leaves, l.Seq, l.Body)
		payload = append(payload, l.Seq, l.Salts, null(l.Tenant), null(l.Actor), null(l.Name), l.Old, l.New, null(l.Reason), null(l.Context))
	}
	for i := range g.Hashes {
		nodes = append(nodes, g.FirstHash+int64(i), g.Hashes[i][:])
	}
	w.insert(&w.leaf, leaves)
	w.insert(&w.payload, payload)
	w.insert(&w.node, nodes)
}

func (w *writer) erase(g *store.Group) {
	for i := range g.Salts {
		w.exec(w.salts, g.Salts[i].Salts, g.Salts[i].Seq)
	}
	for _, seq := range g.Erase {
		w.exec(w.statements.erase, seq)
	}
	for _, rev := range g.Drop {
		w.exec(w.drop, rev)
	}
}

func (w *writer) sessions(g *store.Group) {
	for i := range g.Open {
		x := &g.Open[i]
		w.exec(w.open, x.Hash, x.Kind, x.Tenant, x.Name, x.Epoch, x.Created, x.Expires, x.Source, x.Proof, x.MFA)
	}
	for _, h := range g.Revoke {
		w.exec(w.revoke, h)
	}
}

func (w *writer) replies(g *store.Group) {
	if g.PurgeReply > 0 {
		w.exec(w.purge, g.PurgeReply)
	}
	for i := range g.Replies {
		r := &g.Replies[i]
		results, err := json.Marshal(r.Results)
		if err != nil {
			w.err = fmt.Errorf("encode a reply: %w", err)
			return
		}
		w.exec(w.reply, r.Actor, r.Key, r.Epoch, r.Hash, r.Time, string(results))
	}
}
