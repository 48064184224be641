package signin

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

const passkeySchema = `CREATE TABLE IF NOT EXISTS passkeys (
	id      BLOB PRIMARY KEY, -- as the authenticator names it
	uid     TEXT NOT NULL, tenant TEXT NOT NULL, name TEXT NOT NULL, -- of the user
	rp      TEXT NOT NULL, -- host name for which it was made
	title   TEXT NOT NULL,
	public  TEXT NOT NULL, -- JSON: the public key, flags and counter; nothing secret
	created INTEGER NOT NULL, used INTEGER NOT NULL -- µs
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS passkeys_of ON passkeys (uid)`

// Bounds of what one person may have.
const (
	MaxPasskeys  = 20
	maxTitle     = 64       // characters
	maxPublic    = 16 << 10 // bytes
	challengeFor = 5 * time.Minute
)

// Place is where a browser is: a passkey is bound to the host name.
type Place struct {
	Host   string // DNS name without a port
	Origin string // as in https://dun.example.com:7443
}

// Passkey is one of somebody's passkeys.
type Passkey struct {
	ID            string // as in Remove
	Title, Host   string
	Created, Used time.Time
}

// person is a user as the library asks about him.
type person struct {
	uid, title string
	keys       []webauthn.Credential
}

// WebAuthnID implements webauthn.User.
func (p *person) WebAuthnID() []byte { return []byte(p.uid) }

// WebAuthnName implements webauthn.User.
func (p *person) WebAuthnName() string { return p.title }

// WebAuthnDisplayName implements webauthn.User.
func (p *person) WebAuthnDisplayName() string { return p.title }

// WebAuthnCredentials implements webauthn.User.
func (p *person) WebAuthnCredentials() []webauthn.Credential { return p.keys }

// party is this cell at the place. User verification is required always: the
// device and what unlocks it are two factors.
func (s *Store) party(at Place) (*webauthn.WebAuthn, error) {
	w, err := webauthn.New(&webauthn.Config{
		RPID: at.Host, RPDisplayName: "Dun " + s.opt.Cell, RPOrigins: []string{at.Origin}, AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{ResidentKey: protocol.ResidentKeyRequirementRequired, UserVerification: protocol.VerificationRequired},
	})
	if err != nil {
		return nil, fault.New(fault.Invalid, "a passkey needs a DNS name, and %q is none", "通行密钥需要域名,而 %q 不是域名", at.Host).Because(err)
	}
	return w, nil
}

func (s *Store) person(ctx context.Context, user resource.Ref, uid string) (*person, error) {
	p := &person{uid: uid, title: user.Tenant + "/" + user.Name}
	rows, err := s.opt.DB.Reader.QueryContext(ctx, `SELECT public FROM passkeys WHERE uid = ? LIMIT ?`, uid, MaxPasskeys)
	if err != nil {
		return nil, unavailable(err)
	}
	defer rows.Close()
	for rows.Next() {
		var text []byte
		var c webauthn.Credential
		if err := rows.Scan(&text); err != nil {
			return nil, unavailable(err)
		}
		if err := json.Unmarshal(text, &c); err != nil {
			return nil, unavailable(err)
		}
		p.keys = append(p.keys, c)
	}
	return p, rows.Err()
}

// making holds what each person was asked to make.
type making struct {
	mu sync.Mutex
	of map[string]*webauthn.SessionData // by uid
}

func (m *making) put(uid string, d *webauthn.SessionData, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for u, x := range m.of {
		if !x.Expires.After(now) || len(m.of) >= maxDrafts {
			delete(m.of, u)
		}
	}
	m.of[uid] = d
}

func (m *making) take(uid string) *webauthn.SessionData {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.of[uid]
	delete(m.of, uid)
	return d
}

// AskNewPasskey is what a browser is asked to make, in JSON.
func (s *Store) AskNewPasskey(ctx context.Context, at Place, user resource.Ref, uid string) ([]byte, error) {
	w, err := s.party(at)
	if err != nil {
		return nil, err
	}
	p, err := s.person(ctx, user, uid)
	if err != nil {
		return nil, err
	}
	if len(p.keys) >= MaxPasskeys {
		return nil, fault.New(fault.Exhausted, "you have %d passkeys; remove one first", "您已有 %d 个通行密钥;请先移除一个", MaxPasskeys)
	}
	ask, d, err := w.BeginRegistration(p, webauthn.WithExclusions(webauthn.Credentials(p.keys).CredentialDescriptors()))
	if err != nil {
		return nil, fmt.Errorf("ask for a passkey: %w", err)
	}
	d.Expires = s.opt.Now().Add(challengeFor)
	s.making.put(uid, d, s.opt.Now())
	return json.Marshal(ask.Response)
}

// AddPasskey keeps what the browser made. Errors: invalid; exhausted.
func (s *Store) AddPasskey(ctx context.Context, by identity.Actor, at Place, user resource.Ref, uid, title string, answer []byte) error {
	w, err := s.party(at)
	if err != nil {
		return err
	}
	if title = strings.TrimSpace(title); title == "" || !utf8.ValidString(title) || utf8.RuneCountInString(title) > maxTitle {
		return fault.New(fault.Invalid, "a passkey needs a name of 1 to %d characters", "通行密钥名称须为 1 至 %d 个字符", maxTitle)
	}
	d := s.making.take(uid)
	if d == nil || !d.Expires.After(s.opt.Now()) {
		return again()
	}
	d.Expires = time.Time{} // judged above, by the cell's clock
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return badPasskey(err)
	}
	p, err := s.person(ctx, user, uid)
	if err != nil {
		return err
	}
	c, err := w.CreateCredential(p, *d, parsed)
	if err != nil {
		return badPasskey(err)
	}
	c.Attestation = webauthn.CredentialAttestation{} // nobody reads it again
	public, err := json.Marshal(c)
	if err != nil || len(public) > maxPublic {
		return badPasskey(err)
	}
	if err := s.opt.Record(ctx, by, user, "add-passkey"); err != nil {
		return err
	}
	now := s.opt.Now().UnixMicro()
	res, err := s.opt.DB.Writer.ExecContext(ctx, `INSERT INTO passkeys SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0
		WHERE (SELECT count(*) FROM passkeys WHERE uid = ?2) < ?9 ON CONFLICT DO NOTHING`, c.ID, uid, user.Tenant, user.Name, at.Host, title, string(public), now, MaxPasskeys)
	if err != nil {
		return unavailable(err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return fault.New(fault.Conflict, "this passkey is there already", "此通行密钥已存在")
	}
	return nil
}

// AskPasskey is what a browser is asked to prove, in JSON. It costs no memory:
// everybody may ask.
func (s *Store) AskPasskey(at Place) ([]byte, error) {
	w, err := s.party(at)
	if err != nil {
		return nil, err
	}
	ask, _, err := w.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired), webauthn.WithChallenge(s.challenges.make(s.opt.Now())))
	if err != nil {
		return nil, fmt.Errorf("ask for a passkey: %w", err)
	}
	return json.Marshal(ask.Response)
}

// Passkey checks a browser's proof, each good for once. Errors:
// unauthenticated, for every reason the same; exhausted.
func (s *Store) Passkey(ctx context.Context, by identity.Actor, at Place, answer []byte) (Passed, error) {
	try := brake{kind: sourceOf, key: network(by.Source)}
	if err := s.slow.take(s.opt.Now(), try); err != nil {
		return Passed{}, err
	}
	w, err := s.party(at)
	if err != nil {
		return Passed{}, err
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return Passed{}, refused().(*fault.Error).Because(err)
	}
	challenge := parsed.Response.CollectedClientData.Challenge
	if !s.challenges.fresh(challenge, s.opt.Now()) {
		return Passed{}, refused()
	}
	d := webauthn.SessionData{Challenge: challenge, RelyingPartyID: at.Host, UserVerification: protocol.VerificationRequired}
	var user resource.Ref
	var uid string
	_, c, err := w.ValidatePasskeyLogin(func(id, handle []byte) (webauthn.User, error) {
		user.Kind, uid = "User", string(handle)
		err := s.opt.DB.Reader.QueryRowContext(ctx, `SELECT tenant, name FROM passkeys WHERE id = ? AND uid = ?`, id, uid).Scan(&user.Tenant, &user.Name)
		if err != nil {
			return nil, err
		}
		if now, ok := s.opt.Find(user.Tenant, user.Name); !ok || now != uid {
			return nil, errors.New("nobody")
		}
		return s.person(ctx, user, uid)
	}, d, parsed)
	if err != nil {
		return Passed{}, refused().(*fault.Error).Because(err)
	}
	if c.Authenticator.CloneWarning {
		return Passed{}, refused() // its counter went back: there are two of it
	}
	public, err := json.Marshal(c)
	if err != nil {
		return Passed{}, fmt.Errorf("write a passkey: %w", err)
	}
	if !s.challenges.burn(challenge, s.opt.Now()) {
		return Passed{}, refused()
	}
	if err := s.exec(ctx, `UPDATE passkeys SET public = ?, used = ? WHERE id = ? AND uid = ?`, string(public), s.opt.Now().UnixMicro(), c.ID, uid); err != nil {
		return Passed{}, err
	}
	s.slow.give(try)
	return Passed{User: user, Proof: identity.ProofPasskey, uid: uid}, nil
}

func (s *Store) passkeys(ctx context.Context, uid string) ([]Passkey, error) {
	rows, err := s.opt.DB.Reader.QueryContext(ctx, `SELECT hex(id), title, rp, created, used FROM passkeys WHERE uid = ? ORDER BY created, id LIMIT ?`, uid, MaxPasskeys)
	if err != nil {
		return nil, unavailable(err)
	}
	defer rows.Close()
	var out []Passkey
	for rows.Next() {
		var p Passkey
		var created, used int64
		if err := rows.Scan(&p.ID, &p.Title, &p.Host, &created, &used); err != nil {
			return nil, unavailable(err)
		}
		p.Created = time.UnixMicro(created).UTC()
		if used > 0 {
			p.Used = time.UnixMicro(used).UTC()
		}
		out = append(out, p)
	}
	return out, rows.Err()
}

// RemovePasskey forgets one; the last proof that somebody has stays. Errors:
// not_found; conflict.
func (s *Store) RemovePasskey(ctx context.Context, by identity.Actor, user resource.Ref, uid, id string) error {
	if err := s.opt.Record(ctx, by, user, "remove-passkey"); err != nil {
		return err
	}
	var n int
	err := s.opt.DB.Writer.QueryRowContext(ctx, `DELETE FROM passkeys WHERE hex(id) = ?2 AND uid = ?1 AND
		((SELECT count(*) FROM passkeys WHERE uid = ?1) > 1 OR EXISTS (SELECT 1 FROM credentials WHERE uid = ?1)) RETURNING 1`, uid, id).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return fault.New(fault.Conflict, "there is no such passkey, or it is your only way to sign in: set a password first", "没有此通行密钥,或它是您唯一的登录方式:请先设置密码")
	}
	if err != nil {
		return unavailable(err)
	}
	return nil
}

func badPasskey(err error) error {
	return fault.New(fault.Invalid, "this passkey cannot be used here", "此通行密钥无法在此使用").Because(err)
}
