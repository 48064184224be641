package bytes

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/file"
	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
)

// Put keeps what r gives, at most most bytes, for the record owner, at least
// until retain (zero = not held). When it returns, the object survives a power
// cut; until then nothing of it is seen. Errors: invalid (more than most),
// exhausted (no room), unavailable; what r returns is given back.
func (s *Store) Put(ctx context.Context, a identity.Actor, owner resource.Ref, retain time.Time, r io.Reader, most int64) (Info, error) {
	if most <= 0 || most > MaxObject || owner.Kind == "" {
		return Info{}, fmt.Errorf("put bytes: want an owner and 1 to %d bytes, not %d", int64(MaxObject), most)
	}
	i := Info{Ref: Ref(refPrefix + id.UID()), Owner: owner, Created: s.opt.Now().UTC().Truncate(time.Microsecond), Retain: retain}
	raw := make([]byte, keySize)
	rand.Read(raw)
	v := secret.New(raw)
	defer v.Wipe()
	key, err := s.opt.Keys.Put(ctx, a, owner, purpose, v)
	if err != nil {
		return Info{}, err
	}
	if err := s.reserve(ctx, i, key, most); err != nil {
		return Info{}, errors.Join(err, s.opt.Keys.Delete(context.WithoutCancel(ctx), a, key))
	}
	if i.Size, err = s.write(ctx, i.Ref, v, r, most); err == nil {
		_, err = s.opt.DB.Writer.ExecContext(ctx, `UPDATE bytes SET size = ?, whole = 1 WHERE ref = ?`, i.Size, i.Ref)
		if err != nil {
			err = unavailable(err)
		}
	}
	if err != nil {
		return Info{}, errors.Join(err, s.forget(context.WithoutCancel(ctx), a, i.Ref, key))
	}
	return i, nil
}

func micro(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// reserve names key and room before anything is written: a crash leaves nothing
// that clear does not find.
func (s *Store) reserve(ctx context.Context, i Info, key secret.Ref, most int64) error {
	res, err := s.opt.DB.Writer.ExecContext(ctx, `INSERT INTO bytes SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0
		WHERE (SELECT coalesce(sum(size), 0) FROM bytes) + ?6 <= ?10`,
		i.Ref, i.Owner.Kind, i.Owner.Tenant, i.Owner.Name, i.Owner.UID, most, i.Created.UnixMicro(), micro(i.Retain), key, s.opt.Room)
	if err != nil {
		return unavailable(err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return full()
	}
	return nil
}

func full() error {
	return fault.New(fault.Exhausted, "there is no room for more bytes; erase some that are held no longer", "字节对象空间已满;请删除不再需要保留的对象")
}

func (s *Store) write(ctx context.Context, ref Ref, key secret.Value, r io.Reader, most int64) (size int64, err error) {
	f, err := os.OpenFile(s.path(ref), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, unavailable(err)
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = unavailable(cerr)
		}
	}()
	w := bufio.NewWriterSize(f, segmentSize)
	size, err = sealTo(ctx, w, ref, key, r, most)
	switch {
	case errors.Is(err, errTooLong):
		return 0, fault.New(fault.Invalid, "it has more than %d bytes", "超过 %d 字节", most)
	case errors.Is(err, syscall.ENOSPC):
		return 0, full()
	case err != nil:
		return 0, err
	}
	if err := errors.Join(w.Flush(), f.Sync()); err != nil {
		if errors.Is(err, syscall.ENOSPC) {
			return 0, full()
		}
		return 0, unavailable(err)
	}
	if err := file.SyncDir(s.opt.Dir); err != nil {
		return 0, unavailable(err)
	}
	return size, nil
}
