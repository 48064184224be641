// Package signin finds out who wants in: by password and one-time code, or by
// passkey. It owns what people prove themselves by (tables of meta.db; the
// secrets of codes lie sealed in core/secret), how often anybody may try, and
// the state between two steps. It opens no session and decides no right: it
// says who somebody is, and a door goes on from there.
package signin

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/dun-sec/dun/internal/core/db"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/identity/password"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
)

// Options of a Store. All but Breached and Now are needed.
type Options struct {
	DB      *db.SQLite // meta.db; the caller closes it
	Secrets *secret.Store

	// Find gives the uid of a user who may sign in at all.
	Find func(tenant, name string) (uid string, ok bool)
	// Record tells the audit log that somebody's proof was set or removed.
	Record func(ctx context.Context, a identity.Actor, user resource.Ref, action string) error

	Cell     string // as an authenticator app shows it
	Breached string // file of leaked passwords; "" = the built-in list alone
	Now      func() time.Time
}

// Store is safe for concurrent use.
type Store struct {
	opt     Options
	hasher  *password.Hasher
	judge   *password.Judge
	slow    *brakes
	tickets *tickets
	drafts  *drafts

	making     making
	challenges *challenges
}

const schema = `CREATE TABLE IF NOT EXISTS credentials (
	uid      TEXT PRIMARY KEY, -- of the user: another one under an old name has none
	password TEXT NOT NULL, -- PHC form
	changed  INTEGER NOT NULL, -- µs, of the password
	code     TEXT NOT NULL, -- reference of the secret of the codes
	step     INTEGER NOT NULL -- the newest time step that was used
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS browsers (
	hash BLOB PRIMARY KEY, -- SHA-256 of the cookie
	uid  TEXT NOT NULL,
	used INTEGER NOT NULL -- µs
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS browsers_of ON browsers (uid, used);
`

// Open makes the tables where they are missing.
func Open(ctx context.Context, opt Options) (*Store, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if _, err := opt.DB.Writer.ExecContext(ctx, schema+passkeySchema+upstreamSchema); err != nil {
		return nil, fmt.Errorf("open credentials: %w", err)
	}
	j, err := password.NewJudge(opt.Breached)
	if err != nil {
		return nil, err
	}
	return &Store{opt: opt, hasher: password.NewHasher(), judge: j, slow: newBrakes(), tickets: newTickets(), drafts: newDrafts(),
		making: making{of: map[string]*webauthn.SessionData{}}, challenges: newChallenges()}, nil
}

// Close closes the list of breached passwords.
func (s *Store) Close() error { return s.judge.Close() }

// Login is who somebody says he is, and how he proves it.
type Login struct {
	Tenant, Name string
	Password     string // as it was typed
	Browser      string // cookie of a browser that signed in before; may be wrong
}

// Passed is who proved himself.
type Passed struct {
	User  resource.Ref
	Proof identity.Proof
	uid   string
}

// Proven is of somebody whom a door knows, and who just set what he proves
// himself by.
func Proven(user resource.Ref, uid string, p identity.Proof) Passed { return Passed{user, p, uid} }

type credentials struct {
	password, code string
	changed, step  int64
}

func (s *Store) credentials(ctx context.Context, uid string) (c credentials, err error) {
	err = s.opt.DB.Reader.QueryRowContext(ctx, `SELECT password, changed, code, step FROM credentials WHERE uid = ?`, uid).Scan(&c.password, &c.changed, &c.code, &c.step)
	if errors.Is(err, sql.ErrNoRows) {
		return credentials{}, nil
	}
	if err != nil {
		return c, unavailable(err)
	}
	return c, nil
}

// Password is the first of two steps. It gives a ticket for the second, which
// holds for some minutes and is worth nothing by itself. Errors:
// unauthenticated, for every reason the same and as late; exhausted.
func (s *Store) Password(ctx context.Context, by identity.Actor, l Login) (ticket string, err error) {
	uid, exists := s.opt.Find(l.Tenant, l.Name)
	known := exists && s.knows(ctx, uid, l.Browser)
	try := s.attempt(by.Source, l, known)
	if err := s.slow.take(s.opt.Now(), try...); err != nil {
		return "", err
	}
	var c credentials
	if exists {
		if c, err = s.credentials(ctx, uid); err != nil {
			return "", err
		}
	}
	typed, err := password.Prepare(l.Password)
	if err != nil {
		c.password = "" // as late as any wrong one
	}
	right, err := s.hasher.Verify(ctx, c.password, typed, known)
	if err != nil {
		return "", err
	}
	if !right {
		return "", refused()
	}
	user := resource.Ref{Kind: "User", Tenant: l.Tenant, Name: l.Name}
	return s.tickets.issue(s.opt.Now(), pending{user: user, uid: uid, try: try, known: known, changed: c.changed, proof: identity.ProofPassword}), nil
}

// Code is the second step: a code of the user's app, each good for once.
// Errors: unauthenticated; exhausted.
func (s *Store) Code(ctx context.Context, by identity.Actor, ticket, code string) (Passed, error) {
	p, err := s.tickets.use(s.opt.Now(), ticket)
	if err != nil {
		return Passed{}, err
	}
	limit := brake{kind: codesOf, key: p.uid}
	if p.known {
		limit.kind = codesKnown
	}
	if err := s.slow.take(s.opt.Now(), limit); err != nil {
		return Passed{}, err
	}
	c, err := s.credentials(ctx, p.uid)
	if err != nil {
		return Passed{}, err
	}
	if uid, ok := s.opt.Find(p.user.Tenant, p.user.Name); !ok || uid != p.uid || c.changed != p.changed {
		s.tickets.end(ticket)
		return Passed{}, refused() // disabled, or another password, between the steps
	}
	by.Principal = p.user
	if err := s.burn(ctx, by, p.uid, c, code); err != nil {
		return Passed{}, err
	}
	s.tickets.end(ticket)
	s.slow.give(append(p.try, limit)...)
	return Passed{User: p.user, Proof: p.proof, uid: p.uid}, nil
}

// Both is both steps at once, for doors where nobody waits between them. Errors:
// as Password; which of the two was wrong is not told.
func (s *Store) Both(ctx context.Context, by identity.Actor, l Login, code string) (Passed, error) {
	ticket, err := s.Password(ctx, by, l)
	if err != nil {
		return Passed{}, err
	}
	defer s.tickets.end(ticket)
	return s.Code(ctx, by, ticket, code)
}

// attempt is what one try counts against.
func (s *Store) attempt(source string, l Login, known bool) []brake {
	if known {
		return []brake{{kind: browser, key: l.Browser}}
	}
	return []brake{{kind: sourceOf, key: network(source)}, {kind: account, key: l.Tenant + "/" + l.Name}}
}

func refused() error {
	return fault.New(fault.Unauthenticated, "that was not right; nothing more is said of why", "验证未通过;出于安全考虑不说明原因")
}

func unavailable(err error) error {
	return fault.New(fault.Unavailable, "signing in is not possible now", "暂时无法登录").Because(err)
}
