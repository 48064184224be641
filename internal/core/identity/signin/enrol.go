package signin

import (
	"context"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/identity/password"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
)

// Proofs is what somebody can prove himself by.
type Proofs struct {
	Password bool // and the codes of an app
	Changed  time.Time
	Passkeys []Passkey
}

// Any reports whether he can sign in at all.
func (p Proofs) Any() bool { return p.Password || len(p.Passkeys) > 0 }

// Proofs lists them.
func (s *Store) Proofs(ctx context.Context, uid string) (Proofs, error) {
	c, err := s.credentials(ctx, uid)
	if err != nil {
		return Proofs{}, err
	}
	p := Proofs{Password: c.password != "", Changed: time.UnixMicro(c.changed).UTC()}
	p.Passkeys, err = s.passkeys(ctx, uid)
	return p, err
}

// App is what an authenticator app has to be told: as text to type, and as the
// address that a picture carries. It is a secret of the person who sees it.
type App struct{ Key, URI string }

// DraftApp makes the secret of a new app, or shows the one made before. It
// counts once SetPassword or SetApp saw a code of it.
func (s *Store) DraftApp(user resource.Ref, uid string) App {
	key := s.drafts.of(s.opt.Now(), uid)
	return App{Key: key, URI: appURI(s.opt.Cell, user, key)}
}

const (
	draftLife = 30 * time.Minute
	maxDrafts = 1024 // each is of somebody signed in
)

// drafts are the secrets of apps of which no code was seen.
type drafts struct {
	mu   sync.Mutex
	made map[string]draft // by uid
}

type draft struct {
	key     string
	expires time.Time
}

func newDrafts() *drafts { return &drafts{made: map[string]draft{}} }

func (d *drafts) of(now time.Time, uid string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if x := d.made[uid]; x.expires.After(now) {
		return x.key
	}
	for u, x := range d.made {
		if !x.expires.After(now) || len(d.made) >= maxDrafts {
			delete(d.made, u)
		}
	}
	d.made[uid] = draft{newSecret(), now.Add(draftLife)}
	return d.made[uid].key
}

func (d *drafts) end(uid string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.made, uid)
}

// Set gives somebody a password and an app at once; what he had is replaced.
// The door has made sure that it is he. Errors: invalid, with the reason;
// exhausted; unavailable.
func (s *Store) Set(ctx context.Context, by identity.Actor, user resource.Ref, uid, typed, code string) error {
	hash, err := s.fresh(ctx, user, typed)
	if err != nil {
		return err
	}
	return s.save(ctx, by, user, uid, "set-password-and-codes", code, func(ref secret.Ref, step int64) error {
		return s.exec(ctx, `INSERT INTO credentials VALUES (?1, ?2, ?3, ?4, ?5)
			ON CONFLICT (uid) DO UPDATE SET password = ?2, changed = ?3, code = ?4, step = ?5`, uid, hash, s.opt.Now().UnixMicro(), string(ref), step)
	})
}

// SetApp replaces the app of somebody who typed his password again. Errors: as
// Set; forbidden for a wrong password.
func (s *Store) SetApp(ctx context.Context, by identity.Actor, user resource.Ref, uid, typed, code string) error {
	if err := s.Confirm(ctx, by, user, uid, typed); err != nil {
		return err
	}
	return s.save(ctx, by, user, uid, "set-codes", code, func(ref secret.Ref, step int64) error {
		return s.exec(ctx, `UPDATE credentials SET code = ?, step = ? WHERE uid = ?`, string(ref), step, uid)
	})
}

// SetPassword replaces the password of somebody who typed the old one. Errors:
// as SetApp.
func (s *Store) SetPassword(ctx context.Context, by identity.Actor, user resource.Ref, uid, old, typed string) error {
	if err := s.Confirm(ctx, by, user, uid, old); err != nil {
		return err
	}
	if old == typed {
		return fault.New(fault.Invalid, "the new password is the old one", "新密码与旧密码相同")
	}
	hash, err := s.fresh(ctx, user, typed)
	if err != nil {
		return err
	}
	if err := s.opt.Record(ctx, by, user, "set-password"); err != nil {
		return err
	}
	return s.exec(ctx, `UPDATE credentials SET password = ?, changed = ? WHERE uid = ?`, hash, s.opt.Now().UnixMicro(), uid)
}

// fresh hashes a password that may be set.
func (s *Store) fresh(ctx context.Context, user resource.Ref, typed string) (string, error) {
	p, err := password.Prepare(typed)
	if err != nil {
		return "", err
	}
	if err := s.judge.Check(p, user.Tenant, user.Name); err != nil {
		return "", err
	}
	return s.hasher.Hash(ctx, p)
}

// Confirm asks somebody who is signed in for his password again. Errors:
// forbidden; exhausted.
func (s *Store) Confirm(ctx context.Context, by identity.Actor, user resource.Ref, uid, typed string) error {
	try := brake{kind: browser, key: uid}
	if err := s.slow.take(s.opt.Now(), try); err != nil {
		return err
	}
	c, err := s.credentials(ctx, uid)
	if err != nil {
		return err
	}
	p, err := password.Prepare(typed)
	if err != nil {
		c.password = ""
	}
	right, err := s.hasher.Verify(ctx, c.password, p, true)
	if err != nil {
		return err
	}
	if !right {
		return fault.New(fault.Forbidden, "the current password is not right", "当前密码不正确")
	}
	s.slow.give(try)
	return nil
}

// save checks a code of the drafted app, seals its secret, and writes the row;
// the secret that was there before goes last.
func (s *Store) save(ctx context.Context, by identity.Actor, user resource.Ref, uid, action, code string, write func(ref secret.Ref, step int64) error) error {
	key := s.drafts.of(s.opt.Now(), uid)
	step := matching(key, code, s.opt.Now(), 0)
	if step == 0 {
		return fault.New(fault.Invalid, "this code is not one of the new app; is the clock of the phone right?", "此验证码与新应用不符;请检查手机时间是否准确")
	}
	old, err := s.credentials(ctx, uid)
	if err != nil {
		return err
	}
	if err := s.opt.Record(ctx, by, user, action); err != nil {
		return err
	}
	owner := user
	owner.UID = uid
	ref, err := s.opt.Secrets.Put(ctx, by, owner, codePurpose, secret.New([]byte(key)))
	if err != nil {
		return err
	}
	if err := write(ref, step); err != nil {
		return err
	}
	s.drafts.end(uid)
	if old.code == "" {
		return nil
	}
	if err := s.opt.Secrets.Delete(ctx, by, secret.Ref(old.code)); err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	return nil
}

func (s *Store) exec(ctx context.Context, text string, args ...any) error {
	if _, err := s.opt.DB.Writer.ExecContext(ctx, text, args...); err != nil {
		return unavailable(err)
	}
	return nil
}
