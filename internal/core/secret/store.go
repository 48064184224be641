package secret

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/dun-sec/dun/internal/core/db"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// Actions of a Use.
const (
	ActionPut    = "put"
	ActionOpen   = "open"
	ActionShow   = "show"
	ActionSeal   = "seal" // to a node
	ActionDelete = "delete"
)

// Use is what the audit log is told of a secret: never its content.
type Use struct {
	Action  string
	Ref     Ref
	Owner   resource.Ref
	Purpose string
	Node    string // whom it was sealed to; "" = nobody
}

// Options of a Store. DB, KeyFile and Record are needed.
type Options struct {
	DB      *db.SQLite // meta.db; the caller closes it
	KeyFile string     // of the root key; must exist

	// Record tells the audit log. A secret that it cannot tell of is not given.
	Record func(context.Context, identity.Actor, Use) error
	Now    func() time.Time
}

// Store is safe for concurrent use.
type Store struct {
	opt Options
	key keyring
}

const schema = `CREATE TABLE IF NOT EXISTS secrets (
	ref     TEXT PRIMARY KEY,
	kind    TEXT NOT NULL, tenant TEXT NOT NULL, name TEXT NOT NULL, uid TEXT NOT NULL, -- the owner
	purpose TEXT NOT NULL,
	created INTEGER NOT NULL, -- µs
	shown   INTEGER NOT NULL, -- 1 = was shown to a person
	keyid   TEXT NOT NULL,
	sealed  BLOB NOT NULL -- nonce | ciphertext | tag
) STRICT, WITHOUT ROWID`

const maxPurpose = 64 // bytes

// Open checks that the key is the one that sealed what is there. A rotation
// that was cut short is finished or forgotten.
func Open(ctx context.Context, opt Options) (*Store, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if _, err := opt.DB.Writer.ExecContext(ctx, schema); err != nil {
		return nil, fmt.Errorf("open secrets: %w", err)
	}
	s := &Store{opt: opt}
	if err := s.unlock(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Put seals a secret of the record owner for a purpose, as in "origin-key". It
// opens again for that purpose only. When Put returns, it survives a power
// cut. The caller wipes v. A secret whose record was never made is found by
// its owner.
func (s *Store) Put(ctx context.Context, a identity.Actor, owner resource.Ref, purpose string, v Value) (Ref, error) {
	switch n := len(v.Reveal()); {
	case n == 0 || n > MaxValue:
		return "", fault.New(fault.Invalid, "a secret has 1 to %d bytes, not %d", "机密须为 1 至 %d 字节,而非 %d 字节", MaxValue, n)
	case purpose == "" || len(purpose) > maxPurpose || owner.Kind == "":
		return "", fault.New(fault.Invalid, "a secret has an owner and a purpose of 1 to %d bytes", "机密须有所有者和 1 至 %d 字节的用途", maxPurpose)
	}
	r := row{ref: newRef(), owner: owner, purpose: purpose}
	if err := s.opt.Record(ctx, a, r.use(ActionPut)); err != nil {
		return "", err
	}
	err := s.key.with(func(k Key) error {
		r.close(k, v)
		_, err := s.opt.DB.Writer.ExecContext(ctx, `INSERT INTO secrets VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?)`,
			r.ref, owner.Kind, owner.Tenant, owner.Name, owner.UID, purpose, s.opt.Now().UnixMicro(), r.keyID, r.sealed)
		return err
	})
	if err != nil {
		return "", unavailable(err)
	}
	return r.ref, nil
}

// Open gives a secret to an actor whom the caller has authorised, for the
// purpose that it was put for; any other is not_found, as a secret that is not
// there. The audit log is told before.
func (s *Store) Open(ctx context.Context, a identity.Actor, ref Ref, purpose string) (Value, error) {
	return s.open(ctx, a, ref, purpose, ActionOpen, "", nil)
}

// OpenOf is Open for a reference that stands in a record: the secret must have
// been put for this very record, so that whoever names another's reference has
// nothing of it.
func (s *Store) OpenOf(ctx context.Context, a identity.Actor, owner resource.Ref, ref Ref, purpose string) (Value, error) {
	return s.open(ctx, a, ref, purpose, ActionOpen, "", &owner)
}

func (s *Store) open(ctx context.Context, a identity.Actor, ref Ref, purpose, action, node string, owner *resource.Ref) (Value, error) {
	var r *row
	var v Value
	err := s.key.with(func(k Key) (err error) {
		if r, err = find(ctx, s.opt.DB.Reader, ref); err != nil {
			return err
		}
		if r.purpose != purpose || owner != nil && r.owner != *owner {
			return missing(ref)
		}
		v, err = r.open(k)
		return err
	})
	if err != nil {
		return Value{}, err
	}
	u := r.use(action)
	u.Node = node
	if err := s.opt.Record(ctx, a, u); err != nil {
		v.Wipe()
		return Value{}, err
	}
	return v, nil
}

// Show gives a secret to a person, exactly once: a second time is a conflict.
// It still opens for its purpose.
func (s *Store) Show(ctx context.Context, a identity.Actor, ref Ref) (v Value, err error) {
	err = s.key.with(func(k Key) (err error) {
		v, err = s.show(ctx, a, ref, k)
		return err
	})
	return v, err
}

func (s *Store) show(ctx context.Context, a identity.Actor, ref Ref, k Key) (v Value, err error) {
	tx, err := s.opt.DB.Writer.BeginTx(ctx, nil)
	if err != nil {
		return Value{}, unavailable(err)
	}
	defer func() {
		if err != nil {
			v.Wipe()
			v = Value{}
			err = errors.Join(err, ended(tx.Rollback()))
		}
	}()
	r, err := find(ctx, tx, ref)
	if err != nil {
		return v, err
	}
	if r.shown {
		return v, fault.New(fault.Conflict, "%s was shown before; a secret is shown once: make a new one", "%s 已显示过;机密只显示一次:请重新生成", ref)
	}
	if v, err = r.open(k); err != nil {
		return v, err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE secrets SET shown = 1 WHERE ref = ?`, ref); err != nil {
		return v, unavailable(err)
	}
	if err := s.opt.Record(ctx, a, r.use(ActionShow)); err != nil {
		return v, err
	}
	if err := tx.Commit(); err != nil {
		return v, unavailable(err)
	}
	return v, nil
}

// Delete forgets a secret.
func (s *Store) Delete(ctx context.Context, a identity.Actor, ref Ref) error {
	r, err := find(ctx, s.opt.DB.Reader, ref)
	if err != nil {
		return err
	}
	if err := s.opt.Record(ctx, a, r.use(ActionDelete)); err != nil {
		return err
	}
	if _, err := s.opt.DB.Writer.ExecContext(ctx, `DELETE FROM secrets WHERE ref = ?`, ref); err != nil {
		return unavailable(err)
	}
	return nil
}

func missing(ref Ref) error {
	if !ref.Valid() {
		return fault.New(fault.NotFound, "there is no such secret", "没有这样的机密")
	}
	return fault.New(fault.NotFound, "there is no secret %s for that purpose", "没有用于该用途的机密 %s", ref)
}

func unavailable(err error) error {
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	return fault.New(fault.Unavailable, "the secrets cannot be read or written now", "机密暂时无法读写").Because(err)
}

// ended is the error of an end that was not there already.
func ended(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// Owned is what may be known of a secret without opening it.
type Owned struct {
	Ref     Ref
	Owner   resource.Ref
	Purpose string
	Created time.Time
}

// Owned lists the secrets of all records of a kind, so that those can be
// forgotten whose record went.
func (s *Store) Owned(ctx context.Context, kind string) (out []Owned, err error) {
	rows, err := s.opt.DB.Reader.QueryContext(ctx, `SELECT ref, kind, tenant, name, uid, purpose, created FROM secrets WHERE kind = ? ORDER BY created, ref`, kind)
	if err != nil {
		return nil, unavailable(err)
	}
	defer rows.Close()
	for rows.Next() {
		var o Owned
		var at int64
		if err := rows.Scan(&o.Ref, &o.Owner.Kind, &o.Owner.Tenant, &o.Owner.Name, &o.Owner.UID, &o.Purpose, &at); err != nil {
			return nil, unavailable(err)
		}
		o.Created = time.UnixMicro(at).UTC()
		out = append(out, o)
	}
	return out, rows.Err()
}
