// Package bytes keeps what is too large for a record and must not be lost:
// captures, recordings, evidence (design section 2). Each object is sealed under
// a key of its own, named by a random reference, held at least as long as it was
// put for, and erased by forgetting its key. It owns DIR/bytes and the table
// `bytes` of meta.db. Today an object is one file of this machine; replicas on
// racks come behind the same calls. It decides nothing about who may read:
// whoever calls has asked policy about the owner, and core/secret tells the
// audit log of each use of a key.
package bytes

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/db"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/file"
	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
)

// Limits, in bytes and objects.
const (
	MaxObject   = 64 << 30 // so that segments can be counted
	DefaultRoom = 16 << 30 // of all objects together

	purpose   = "bytes"
	refPrefix = "b-"
)

// Ref names an object: "b-" and 26 base32 digits at random, never a hash of what
// it holds (formats.md, Bytes).
type Ref string

// Valid reports whether a reference has the form of one.
func (r Ref) Valid() bool {
	rest, ok := strings.CutPrefix(string(r), refPrefix)
	b, err := id.Encoding.DecodeString(rest)
	return ok && err == nil && len(b) == 16 && id.Encoding.EncodeToString(b) == rest
}

// Info is what is known of an object without opening it.
type Info struct {
	Ref     Ref
	Owner   resource.Ref
	Size    int64 // bytes of content
	Created time.Time
	Retain  time.Time // until then it is not erased; zero = not held
}

// Keys keeps the key of each object (core/secret).
type Keys interface {
	Put(ctx context.Context, a identity.Actor, owner resource.Ref, purpose string, v secret.Value) (secret.Ref, error)
	OpenOf(ctx context.Context, a identity.Actor, owner resource.Ref, ref secret.Ref, purpose string) (secret.Value, error)
	Delete(ctx context.Context, a identity.Actor, ref secret.Ref) error
}

// Options of a Store. DB, Dir and Keys are needed.
type Options struct {
	DB   *db.SQLite // meta.db; the caller closes it
	Dir  string
	Keys Keys
	Room int64 // of all objects together; 0 = DefaultRoom
	Now  func() time.Time
}

// Store is safe for concurrent use.
type Store struct{ opt Options }

const schema = `CREATE TABLE IF NOT EXISTS bytes (
	ref     TEXT PRIMARY KEY,
	kind    TEXT NOT NULL, tenant TEXT NOT NULL, name TEXT NOT NULL, uid TEXT NOT NULL, -- the owner
	size    INTEGER NOT NULL, -- of content; what is kept free for one that is being written
	created INTEGER NOT NULL, -- µs
	retain  INTEGER NOT NULL, -- µs, 0 = not held
	key     TEXT NOT NULL,
	whole   INTEGER NOT NULL -- 0 = being written, or being erased
) STRICT, WITHOUT ROWID`

// Open makes folder and table where they are missing, and clears away what a
// crash left: objects that were never whole.
func Open(ctx context.Context, opt Options) (*Store, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Room == 0 {
		opt.Room = DefaultRoom
	}
	if err := file.MakeDirs(opt.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open bytes: %w", err)
	}
	if _, err := opt.DB.Writer.ExecContext(ctx, schema); err != nil {
		return nil, fmt.Errorf("open bytes: %w", err)
	}
	s := &Store{opt}
	return s, s.clear(ctx)
}

func (s *Store) path(r Ref) string { return filepath.Join(s.opt.Dir, string(r)) }

// Stat tells of an object; not_found where none is.
func (s *Store) Stat(ctx context.Context, r Ref) (Info, error) {
	i, _, err := s.find(ctx, r)
	return i, err
}

func (s *Store) find(ctx context.Context, r Ref) (i Info, key secret.Ref, err error) {
	var created, retain int64
	i.Ref = r
	err = s.opt.DB.Reader.QueryRowContext(ctx, `SELECT kind, tenant, name, uid, size, created, retain, key FROM bytes WHERE ref = ? AND whole = 1`, r).
		Scan(&i.Owner.Kind, &i.Owner.Tenant, &i.Owner.Name, &i.Owner.UID, &i.Size, &created, &retain, &key)
	switch {
	case errors.Is(err, sql.ErrNoRows) || !r.Valid():
		return Info{}, "", fault.New(fault.NotFound, "there are no such bytes", "没有这样的字节对象")
	case err != nil:
		return Info{}, "", unavailable(err)
	}
	i.Created = time.UnixMicro(created).UTC()
	if retain != 0 {
		i.Retain = time.UnixMicro(retain).UTC()
	}
	return i, key, nil
}

// Retain holds an object until then, or longer where it is held longer; nobody
// makes that shorter.
func (s *Store) Retain(ctx context.Context, r Ref, until time.Time) error {
	res, err := s.opt.DB.Writer.ExecContext(ctx, `UPDATE bytes SET retain = max(retain, ?) WHERE ref = ? AND whole = 1`, until.UnixMicro(), r)
	if err != nil {
		return unavailable(err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return fault.New(fault.NotFound, "there are no such bytes", "没有这样的字节对象")
	}
	return nil
}

// Erase forgets the key of an object, and then the file: what a backup still
// has of it opens no more. It is a conflict while the object is held.
func (s *Store) Erase(ctx context.Context, a identity.Actor, r Ref) error {
	i, key, err := s.find(ctx, r)
	if err != nil {
		return err
	}
	res, err := s.opt.DB.Writer.ExecContext(ctx, `UPDATE bytes SET whole = 0 WHERE ref = ? AND whole = 1 AND retain <= ?`, r, s.opt.Now().UnixMicro())
	if err != nil {
		return unavailable(err)
	}
	if n, err := res.RowsAffected(); err != nil {
		return unavailable(err)
	} else if n == 0 {
		if i, _, err = s.find(ctx, r); err != nil {
			return err // somebody was faster
		}
		return fault.New(fault.Conflict, "it is held until %s", "须保留至 %s", i.Retain.Format(time.RFC3339))
	}
	return s.forget(ctx, a, r, key)
}

// forget ends what is marked: key, file, row, in this order, so that a crash in
// between leaves something that clear finds.
func (s *Store) forget(ctx context.Context, a identity.Actor, r Ref, key secret.Ref) error {
	if key != "" {
		if err := s.opt.Keys.Delete(ctx, a, key); err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	if err := os.Remove(s.path(r)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unavailable(err)
	}
	if err := file.SyncDir(s.opt.Dir); err != nil {
		return unavailable(err)
	}
	if _, err := s.opt.DB.Writer.ExecContext(ctx, `DELETE FROM bytes WHERE ref = ? AND whole = 0`, r); err != nil {
		return unavailable(err)
	}
	return nil
}

// clear ends what was not whole when the last process ended, and files that no
// row names. A key that a crash left before its row opens nothing.
func (s *Store) clear(ctx context.Context) error {
	me := identity.Service("bytes")
	rows, err := s.opt.DB.Reader.QueryContext(ctx, `SELECT ref, key, whole FROM bytes`)
	if err != nil {
		return unavailable(err)
	}
	defer rows.Close()
	known, torn := map[string]bool{}, map[Ref]secret.Ref{}
	for rows.Next() {
		var r Ref
		var key secret.Ref
		var whole bool
		if err := rows.Scan(&r, &key, &whole); err != nil {
			return unavailable(err)
		}
		if !whole {
			torn[r] = key
			continue
		}
		known[string(r)] = true
	}
	if err := rows.Err(); err != nil {
		return unavailable(err)
	}
	for r, key := range torn {
		if err := s.forget(ctx, me, r, key); err != nil {
			return err
		}
	}
	list, err := os.ReadDir(s.opt.Dir)
	if err != nil {
		return unavailable(err)
	}
	for _, e := range list {
		if known[e.Name()] || !Ref(e.Name()).Valid() && !strings.HasPrefix(e.Name(), file.Temporary) {
			continue
		}
		if err := os.Remove(filepath.Join(s.opt.Dir, e.Name())); err != nil {
			return unavailable(err)
		}
	}
	return nil
}

// List lists whole objects whose owners are of a kind, in the order of their
// references, at most n that come after one.
func (s *Store) List(ctx context.Context, kind string, after Ref, n int) (out []Info, err error) {
	rows, err := s.opt.DB.Reader.QueryContext(ctx, `SELECT ref FROM bytes WHERE whole = 1 AND kind = ? AND ref > ? ORDER BY ref LIMIT ?`, kind, after, n)
	if err != nil {
		return nil, unavailable(err)
	}
	return s.infos(ctx, rows)
}

// Expired lists whole objects that are held no longer and were put before, oldest
// first, at most n: who owns them decides what goes.
func (s *Store) Expired(ctx context.Context, before time.Time, n int) (out []Info, err error) {
	rows, err := s.opt.DB.Reader.QueryContext(ctx, `SELECT ref FROM bytes WHERE whole = 1 AND created < ? AND retain <= ? ORDER BY created, ref LIMIT ?`, before.UnixMicro(), s.opt.Now().UnixMicro(), n)
	if err != nil {
		return nil, unavailable(err)
	}
	return s.infos(ctx, rows)
}

func (s *Store) infos(ctx context.Context, rows *sql.Rows) (out []Info, err error) {
	defer rows.Close()
	var refs []Ref
	for rows.Next() {
		var r Ref
		if err := rows.Scan(&r); err != nil {
			return nil, unavailable(err)
		}
		refs = append(refs, r)
	}
	if err := rows.Err(); err != nil {
		return nil, unavailable(err)
	}
	for _, r := range refs {
		i, err := s.Stat(ctx, r)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, i)
	}
	return out, nil
}

func unavailable(err error) error {
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	return fault.New(fault.Unavailable, "bytes cannot be read or written now", "暂时无法读写字节对象").Because(err)
}
