package signin

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/dun-sec/dun/internal/core/id"
)

// Bounds of the browsers that are known for an account.
const (
	BrowserLife = 90 * 24 * time.Hour
	maxBrowsers = 16
)

// knows reports whether the cookie is of a browser that signed in to the
// account before. Its tries are counted apart, so that nobody who guesses at an
// account keeps its owner out.
func (s *Store) knows(ctx context.Context, uid, cookie string) bool {
	if len(cookie) != browserLen {
		return false
	}
	h := sha256.Sum256([]byte(cookie))
	var n int
	err := s.opt.DB.Reader.QueryRowContext(ctx, `SELECT count(*) FROM browsers WHERE hash = ? AND uid = ? AND used > ?`, h[:], uid, s.opt.Now().Add(-BrowserLife).UnixMicro()).Scan(&n)
	return err == nil && n == 1 // not knowing costs nobody more than a wait
}

var browserLen = len(id.Random(32))

// Remember gives a new cookie for the browser by which somebody signed in; old
// is what it had. The oldest browsers of the account are forgotten.
func (s *Store) Remember(ctx context.Context, who Passed, old string) (string, error) {
	cookie := id.Random(32)
	h, o := sha256.Sum256([]byte(cookie)), sha256.Sum256([]byte(old))
	now := s.opt.Now()
	tx, err := s.opt.DB.Writer.BeginTx(ctx, nil)
	if err != nil {
		return "", unavailable(err)
	}
	defer tx.Rollback()
	for _, q := range []struct {
		text string
		args []any
	}{
		{`DELETE FROM browsers WHERE hash = ? AND uid = ? OR used < ?`, []any{o[:], who.uid, now.Add(-BrowserLife).UnixMicro()}},
		{`INSERT INTO browsers VALUES (?, ?, ?)`, []any{h[:], who.uid, now.UnixMicro()}},
		{`DELETE FROM browsers WHERE uid = ?1 AND hash NOT IN (SELECT hash FROM browsers WHERE uid = ?1 ORDER BY used DESC, hash LIMIT ?2)`, []any{who.uid, maxBrowsers}},
	} {
		if _, err := tx.ExecContext(ctx, q.text, q.args...); err != nil {
			return "", unavailable(err)
		}
	}
	if err := tx.Commit(); err != nil {
		return "", unavailable(err)
	}
	return cookie, nil
}
