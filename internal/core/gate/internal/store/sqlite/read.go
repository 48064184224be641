package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/dun-sec/dun/internal/core/gate/internal/store"
)

// Head implements store.Store.
func (s *Store) Head(ctx context.Context) (store.Head, error) {
	var h store.Head
	var root []byte
	err := s.files.Reader.QueryRowContext(ctx, `SELECT cell, epoch, revision, time, size, root FROM head`).
		Scan(&h.Cell, &h.Epoch, &h.Revision, &h.Time, &h.Size, &root)
	if errors.Is(err, sql.ErrNoRows) {
		return h, store.ErrNotFound
	}
	if err != nil {
		return h, fmt.Errorf("read head: %w", err)
	}
	if len(root) != len(h.Root) {
		return h, fmt.Errorf("read head: a root of %d bytes", len(root))
	}
	copy(h.Root[:], root)
	return h, nil
}

// Records implements store.Store. The grouping reads history_of alone, in its
// own order.
func (s *Store) Records(ctx context.Context, yield func([]byte) error) error {
	return each(ctx, s.files.Reader, func(r *sql.Rows) error {
		var data []byte
		if err := r.Scan(&data); err != nil {
			return err
		}
		return yield(data)
	}, `SELECT h.data FROM (SELECT max(revision) AS newest FROM history GROUP BY kind, tenant, name) JOIN history h ON h.revision = newest WHERE h.data IS NOT NULL`)
}

const changeColumns = `revision, kind, tenant, name, uid, action, actor, request, time, seq, data`

func scanChange(r interface{ Scan(...any) error }) (store.Change, error) {
	var c store.Change
	err := r.Scan(&c.Revision, &c.Kind, &c.Tenant, &c.Name, &c.UID, &c.Action, &c.Actor, &c.Request, &c.Time, &c.Seq, &c.Data)
	return c, err
}

// History implements store.Store.
func (s *Store) History(ctx context.Context, kind, tenant, name string, before uint64, limit int) ([]store.Change, error) {
	if before == 0 {
		before = 1 << 62
	}
	var out []store.Change
	err := each(ctx, s.files.Reader, func(r *sql.Rows) error {
		c, err := scanChange(r)
		out = append(out, c)
		return err
	}, `SELECT `+changeColumns+` FROM history WHERE kind=? AND tenant=? AND name=? AND revision<? ORDER BY revision DESC LIMIT ?`,
		kind, tenant, name, before, limit)
	return out, err
}

// Change implements store.Store.
func (s *Store) Change(ctx context.Context, revision uint64) (store.Change, error) {
	c, err := scanChange(s.files.Reader.QueryRowContext(ctx, `SELECT `+changeColumns+` FROM history WHERE revision=?`, revision))
	if errors.Is(err, sql.ErrNoRows) {
		return c, store.ErrNotFound
	}
	if err != nil {
		return c, fmt.Errorf("read revision %d: %w", revision, err)
	}
	return c, nil
}

// Changes implements store.Store.
func (s *Store) Changes(ctx context.Context, after uint64, limit int) ([]store.Change, error) {
	var out []store.Change
	err := each(ctx, s.files.Reader, func(r *sql.Rows) error {
		c, err := scanChange(r)
		out = append(out, c)
		return err
	}, `SELECT `+changeColumns+` FROM history WHERE revision>? ORDER BY revision LIMIT ?`, after, limit)
	return out, err
}

// Expired implements store.Store. Times ascend with revisions, so what is older
// is a first part of the table and needs no index of its own.
func (s *Store) Expired(ctx context.Context, kind string, before int64, limit int) ([]store.Expired, error) {
	var cut sql.NullInt64
	if err := s.files.Reader.QueryRowContext(ctx, `SELECT (SELECT revision FROM history WHERE time>=? ORDER BY revision LIMIT 1)`, before).Scan(&cut); err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	if !cut.Valid {
		cut.Int64 = 1 << 62
	}
	var out []store.Expired
	err := each(ctx, s.files.Reader, func(r *sql.Rows) error {
		var x store.Expired
		var next sql.NullInt64
		err := r.Scan(&x.Revision, &x.Seq, &next, &x.Deletion)
		x.Next = uint64(next.Int64)
		out = append(out, x)
		return err
	}, `SELECT h.revision, h.seq, n.seq, h.data IS NULL FROM history h
		LEFT JOIN history n ON n.revision = (SELECT min(x.revision) FROM history x WHERE x.kind=h.kind AND x.tenant=h.tenant AND x.name=h.name AND x.revision>h.revision)
		WHERE h.revision<? AND h.kind=? AND (h.data IS NULL OR n.revision<?) ORDER BY h.revision LIMIT ?`, cut.Int64, kind, cut.Int64, limit)
	return out, err
}

// Leaves implements store.Store.
func (s *Store) Leaves(ctx context.Context, from uint64, limit int) ([]store.Leaf, error) {
	var out []store.Leaf
	err := each(ctx, s.files.Reader, func(r *sql.Rows) error {
		var l store.Leaf
		var old, next sql.NullInt64
		err := r.Scan(&l.Seq, &l.Body, &l.Salts, &l.Tenant, &l.Actor, &l.Name, &old, &next, &l.Reason, &l.Context, &l.OldData, &l.NewData)
		l.Old, l.New = uint64(old.Int64), uint64(next.Int64)
		out = append(out, l)
		return err
	}, `SELECT l.seq, l.body, p.salts, p.tenant, p.actor, p.name, p.old, p.new, p.reason, p.context, o.data, n.data
		FROM leaf l LEFT JOIN payload p ON p.seq=l.seq LEFT JOIN history o ON o.revision=p.old LEFT JOIN history n ON n.revision=p.new
		WHERE l.seq>=? ORDER BY l.seq LIMIT ?`, from, limit)
	return out, err
}

// ReadHashes implements store.Store and tlog.HashReader.
func (s *Store) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, id := range indexes {
		var b []byte
		if err := s.files.Reader.QueryRow(`SELECT hash FROM node WHERE id=?`, id).Scan(&b); err != nil {
			return nil, fmt.Errorf("read tree hash %d: %w", id, err)
		}
		if copy(out[i][:], b) != tlog.HashSize {
			return nil, fmt.Errorf("read tree hash %d: %d bytes", id, len(b))
		}
	}
	return out, nil
}

// Reply implements store.Store.
func (s *Store) Reply(ctx context.Context, actor, key string) (store.Reply, error) {
	r := store.Reply{Actor: actor, Key: key}
	var results string
	err := s.files.Reader.QueryRowContext(ctx, `SELECT epoch, hash, time, results FROM reply WHERE actor=? AND key=?`, actor, key).
		Scan(&r.Epoch, &r.Hash, &r.Time, &results)
	if errors.Is(err, sql.ErrNoRows) {
		return r, store.ErrNotFound
	}
	if err != nil {
		return r, fmt.Errorf("read a reply: %w", err)
	}
	if err := json.Unmarshal([]byte(results), &r.Results); err != nil {
		return r, fmt.Errorf("read a reply: %w", err)
	}
	return r, nil
}

// Statuses implements store.Store.
func (s *Store) Statuses(ctx context.Context) ([]store.Status, error) {
	var out []store.Status
	err := each(ctx, s.files.Reader, func(r *sql.Rows) error {
		var x store.Status
		err := r.Scan(&x.Kind, &x.Tenant, &x.Name, &x.UID, &x.Revision, &x.Data)
		out = append(out, x)
		return err
	}, `SELECT kind, tenant, name, uid, revision, data FROM status`)
	return out, err
}

// Sessions implements store.Store.
func (s *Store) Sessions(ctx context.Context) ([]store.Session, error) {
	var out []store.Session
	err := each(ctx, s.files.Reader, func(r *sql.Rows) error {
		var x store.Session
		err := r.Scan(&x.Hash, &x.Kind, &x.Tenant, &x.Name, &x.Epoch, &x.Created, &x.Expires, &x.Source, &x.Proof, &x.MFA)
		out = append(out, x)
		return err
	}, `SELECT hash, kind, tenant, name, epoch, created, expires, source, proof, mfa FROM session`)
	return out, err
}

func each(ctx context.Context, d *sql.DB, row func(*sql.Rows) error, text string, args ...any) error {
	rows, err := d.QueryContext(ctx, text, args...)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return fmt.Errorf("read: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return nil
}
