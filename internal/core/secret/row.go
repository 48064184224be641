package secret

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
)

// row is one sealed secret.
type row struct {
	ref     Ref
	owner   resource.Ref
	purpose string
	shown   bool
	keyID   string
	sealed  []byte
}

func (r *row) use(action string) Use {
	return Use{Action: action, Ref: r.ref, Owner: r.owner, Purpose: r.purpose}
}

// bound is what the seal covers beside the content, so that whoever can write
// the file cannot put a secret in another's place.
func (r *row) bound() []byte {
	return bind("dun/secret/v1", r.owner, r.ref, r.purpose)
}

// bind writes its parts so that no two lists of them look alike.
func bind(domain string, r resource.Ref, ref Ref, purpose string) []byte {
	b := []byte(domain + "\n")
	for _, s := range []string{r.Kind, r.Tenant, r.Name, r.UID, string(ref), purpose} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
		b = append(b, s...)
	}
	return b
}

// close seals v into the row, under a random nonce of 96 bits: a key may seal
// 2^32 times before two are likely to meet.
func (r *row) close(k Key, v Value) {
	r.keyID, r.sealed = k.id, make([]byte, k.seal().NonceSize(), k.seal().NonceSize()+len(v.Reveal())+k.seal().Overhead())
	rand.Read(r.sealed)
	r.sealed = k.seal().Seal(r.sealed, r.sealed, v.Reveal(), r.bound())
}

func (r *row) open(k Key) (Value, error) {
	n := k.seal().NonceSize()
	if r.keyID != k.id || len(r.sealed) < n {
		return Value{}, damaged(r.ref, errors.New("sealed by another key"))
	}
	b, err := k.seal().Open(nil, r.sealed[:n], r.sealed[n:], r.bound())
	if err != nil {
		return Value{}, damaged(r.ref, err)
	}
	return New(b), nil
}

func damaged(ref Ref, err error) error {
	return fault.New(fault.Internal, "the secret %s does not open: its row was changed or belongs elsewhere; restore it from the backup", "机密 %s 无法开启:其记录被改动或不属于此处;请从备份恢复", ref).Because(err)
}

const columns = `ref, kind, tenant, name, uid, purpose, shown, keyid, sealed`

type asker interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func find(ctx context.Context, q asker, ref Ref) (*row, error) {
	if !ref.Valid() {
		return nil, missing(ref)
	}
	r, err := scan(q.QueryRowContext(ctx, `SELECT `+columns+` FROM secrets WHERE ref = ?`, ref).Scan)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, missing(ref)
	case err != nil:
		return nil, unavailable(err)
	}
	return r, nil
}

func scan(into func(...any) error) (*row, error) {
	var r row
	if err := into(&r.ref, &r.owner.Kind, &r.owner.Tenant, &r.owner.Name, &r.owner.UID, &r.purpose, &r.shown, &r.keyID, &r.sealed); err != nil {
		return nil, fmt.Errorf("read a secret's row: %w", err)
	}
	return &r, nil
}
