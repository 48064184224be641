package secret

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/file"
)

// keyring holds the key in force. A rotation waits for whoever seals or opens,
// and they for it: who needs the database too takes it inside of with, in this
// order, so that a row is never met by the key before or after its own.
type keyring struct {
	mu  sync.RWMutex
	key Key
}

func (r *keyring) with(f func(Key) error) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return f(r.key)
}

// unlock reads the key and checks that it is the one that sealed the rows. Of
// a rotation that was cut short the next key lies beside: the rows say whether
// it is in force.
func (s *Store) unlock(ctx context.Context) error {
	name := s.opt.KeyFile
	key, err := ReadKey(name)
	if err != nil {
		return err
	}
	following, has, err := next(name)
	if err != nil {
		return err
	}
	used, err := s.usedKeys(ctx)
	if err != nil {
		return err
	}
	if has && len(used) == 1 && used[0] == following.id {
		key = following
		if err := key.Write(name); err != nil {
			return err
		}
	}
	for _, u := range used {
		if u != key.id {
			return fault.New(fault.Invalid, "the root key %s (id %s) is not the one that sealed the secrets (id %s); restore the right one", "根密钥 %s(编号 %s)不是封存机密所用的密钥(编号 %s);请恢复正确的密钥", name, key.id, u)
		}
	}
	s.key.key = key
	if has {
		return forgetNext(name)
	}
	return nil
}

func (s *Store) usedKeys(ctx context.Context) (used []string, err error) {
	rows, err := s.opt.DB.Reader.QueryContext(ctx, `SELECT DISTINCT keyid FROM secrets`)
	if err != nil {
		return nil, fmt.Errorf("read the keys of secrets: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("read the keys of secrets: %w", err)
		}
		used = append(used, id)
	}
	return used, rows.Err()
}

// Rewrap seals everything anew under another key, which then stands in the key
// file. It is whole or has not happened, also when the power goes: the new key
// is on the disk before the rows need it, and the old one until they do not.
func (s *Store) Rewrap(ctx context.Context, key Key) error {
	s.key.mu.Lock()
	defer s.key.mu.Unlock()
	if err := key.Write(s.opt.KeyFile + nextKey); err != nil {
		return err
	}
	if err := s.reseal(ctx, key); err != nil {
		return unavailable(err)
	}
	s.key.key = key
	if err := key.Write(s.opt.KeyFile); err != nil {
		return err // the rows know the key that lies beside; the next start puts it in place
	}
	return forgetNext(s.opt.KeyFile)
}

func (s *Store) reseal(ctx context.Context, key Key) (err error) {
	tx, err := s.opt.DB.Writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ended(tx.Rollback()))
		}
	}()
	for after := Ref(""); ; {
		page, err := rowsAfter(ctx, tx, after)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return tx.Commit()
		}
		for _, r := range page {
			v, err := r.open(s.key.key)
			if err != nil {
				return err
			}
			r.close(key, v)
			v.Wipe()
			if _, err := tx.ExecContext(ctx, `UPDATE secrets SET keyid = ?, sealed = ? WHERE ref = ?`, r.keyID, r.sealed, r.ref); err != nil {
				return err
			}
			after = r.ref
		}
	}
}

// rowsAfter is one page: a transaction has one connection, which cannot write
// while it reads.
func rowsAfter(ctx context.Context, tx *sql.Tx, after Ref) (page []*row, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT `+columns+` FROM secrets WHERE ref > ? ORDER BY ref LIMIT 256`, after)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		r, err := scan(rows.Scan)
		if err != nil {
			return nil, err
		}
		page = append(page, r)
	}
	return page, rows.Err()
}

func forgetNext(name string) error {
	if err := os.Remove(name + nextKey); err != nil {
		return fmt.Errorf("forget the next root key: %w", err)
	}
	return file.SyncDir(filepath.Dir(name))
}
