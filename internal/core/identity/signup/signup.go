// Package signup keeps who asked for a tenant of his own until somebody decides:
// a bounded number, for a week, with the hash of the one-time link by which he
// enters once his user is there. It owns the table `signups` of meta.db. It
// makes no record and lets nobody in who has none.
package signup

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dun-sec/dun/internal/core/db"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/resource"
)

// Limits of what strangers may leave here.
const (
	MaxPending = 64  // in all; then nobody more, until some are decided or a week old
	MaxNetwork = 3   // from an IPv4 /24, or an IPv6 /48
	MaxNote    = 200 // characters
	Life       = 7 * 24 * time.Hour
)

// Label is what a user's record has who was made for a request: its id, which
// nobody knows who asked.
const Label = "sign-up"

// Wish is what somebody asks for.
type Wish struct{ Tenant, Name, Note, Source string }

// Pending is a wish that waits.
type Pending struct {
	ID string
	Wish
	At time.Time
}

// User is whom the wish is for.
func (p *Pending) User() resource.Ref {
	return resource.Ref{Kind: "User", Tenant: p.Tenant, Name: p.Name}
}

// Store is safe for concurrent use.
type Store struct {
	db  *db.SQLite
	now func() time.Time
}

const schema = `CREATE TABLE IF NOT EXISTS signups (
	id TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, tenant TEXT NOT NULL, name TEXT NOT NULL, note TEXT NOT NULL,
	source TEXT NOT NULL, network TEXT NOT NULL, created INTEGER NOT NULL -- µs
) STRICT`

// Open makes the table where it is missing; the caller closes d later.
func Open(ctx context.Context, d *db.SQLite, now func() time.Time) (*Store, error) {
	if _, err := d.Writer.ExecContext(ctx, schema); err != nil {
		return nil, fmt.Errorf("open sign-ups: %w", err)
	}
	return &Store{d, now}, nil
}

// Ask keeps a wish and returns the token of its link, the only copy. It says
// nothing about which tenants there are: who decides sees what is taken. Errors:
// invalid, exhausted, unavailable.
func (s *Store) Ask(ctx context.Context, w Wish) (token string, err error) {
	switch {
	case !resource.ValidName(w.Tenant) || !resource.ValidName(w.Name):
		return "", fault.New(fault.Invalid, "names have small letters, digits and hyphens, at most 63, and no hyphen at either end", "名称由小写字母、数字和连字符组成,至多 63 个字符,首尾不能是连字符")
	case utf8.RuneCountInString(w.Note) > MaxNote || !plain(w.Note):
		return "", fault.New(fault.Invalid, "the note has at most %d characters, in one line", "说明至多 %d 个字符,且须为一行", MaxNote)
	}
	now := s.now()
	if _, err := s.db.Writer.ExecContext(ctx, `DELETE FROM signups WHERE created < ?`, now.Add(-Life).UnixMicro()); err != nil {
		return "", unavailable(err)
	}
	token = strconv.FormatInt(now.Add(Life).Unix(), 36) + "." + id.Random(32)
	hash := sha256.Sum256([]byte(token))
	res, err := s.db.Writer.ExecContext(ctx, `INSERT INTO signups SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
		WHERE (SELECT COUNT(*) FROM signups) < ?9 AND (SELECT COUNT(*) FROM signups WHERE network = ?7) < ?10`,
		id.Random(10), hash[:], w.Tenant, w.Name, w.Note, w.Source, network(w.Source), now.UnixMicro(), MaxPending, MaxNetwork)
	if err != nil {
		return "", unavailable(err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return "", fault.New(fault.Exhausted, "too many wait to be decided; come back in some days", "等待审核的申请过多;请过几天再来")
	}
	return token, nil
}

// Pending lists what waits, oldest first.
func (s *Store) Pending(ctx context.Context) (out []Pending, err error) {
	rows, err := s.db.Reader.QueryContext(ctx, `SELECT id, tenant, name, note, source, created FROM signups WHERE created >= ? ORDER BY created, id`, s.now().Add(-Life).UnixMicro())
	if err != nil {
		return nil, unavailable(err)
	}
	defer rows.Close()
	for rows.Next() {
		p, err := scan(rows)
		if err != nil {
			return nil, unavailable(err)
		}
		out = append(out, p)
	}
	return out, rows.Err()
}

// Find is one that waits; not_found where none does.
func (s *Store) Find(ctx context.Context, id string) (Pending, error) {
	return s.one(ctx, `id = ?`, id)
}

// Drop forgets one.
func (s *Store) Drop(ctx context.Context, id string) error {
	if _, err := s.db.Writer.ExecContext(ctx, `DELETE FROM signups WHERE id = ?`, id); err != nil {
		return unavailable(err)
	}
	return nil
}

// Enter burns the link that the token is of, where good says that the user of
// the wish is there; until then, and for a wrong one, it is unauthenticated.
func (s *Store) Enter(ctx context.Context, token string, good func(Pending) bool) (resource.Ref, error) {
	hash := sha256.Sum256([]byte(token))
	p, err := s.one(ctx, `hash = ?`, hash[:])
	if fault.Is(err, fault.NotFound) || err == nil && !good(p) {
		return resource.Ref{}, fault.New(fault.Unauthenticated, "this link is used up, wrong, too old, or not approved yet", "此链接已使用、无效、已过期,或尚未获批")
	}
	if err != nil {
		return resource.Ref{}, err
	}
	res, err := s.db.Writer.ExecContext(ctx, `DELETE FROM signups WHERE id = ?`, p.ID)
	if err != nil {
		return resource.Ref{}, unavailable(err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 { // somebody was faster
		return resource.Ref{}, fault.New(fault.Unauthenticated, "this link is used up", "此链接已使用")
	}
	return p.User(), nil
}

func (s *Store) one(ctx context.Context, where string, arg any) (Pending, error) {
	row := s.db.Reader.QueryRowContext(ctx, `SELECT id, tenant, name, note, source, created FROM signups WHERE `+where+` AND created >= ?`, arg, s.now().Add(-Life).UnixMicro())
	p, err := scan(row)
	if errors.Is(err, sql.ErrNoRows) {
		return p, fault.New(fault.NotFound, "there is no such request", "没有这样的申请")
	}
	if err != nil {
		return p, unavailable(err)
	}
	return p, nil
}

func scan(row interface{ Scan(...any) error }) (p Pending, err error) {
	var at int64
	err = row.Scan(&p.ID, &p.Tenant, &p.Name, &p.Note, &p.Source, &at)
	p.At = time.UnixMicro(at).UTC()
	return p, err
}

func plain(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// network is what one stranger easily has addresses of.
func network(source string) string {
	a, err := netip.ParseAddr(source)
	if err != nil {
		return source
	}
	bits := 24
	if a.Is6() {
		bits = 48
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return source
	}
	return p.String()
}

func unavailable(err error) error {
	return fault.New(fault.Unavailable, "requests for tenants cannot be read or written now", "暂时无法读写租户申请").Because(err)
}
