// Package control keeps timers that survive restarts: a row says when somebody
// wants to be told what. It owns the table `timers` of meta.db and the order
// and repetition of delivery; it never knows what a timer means, and nothing in
// a payload may be secret.
//
// Delivery is at least once: a row goes only after its handler returned nil, so
// that a handler must bear to be told twice.
package control

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/btree"

	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/core/db"
	"github.com/dun-sec/dun/internal/core/fault"
)

// Limits of a timer.
const (
	MaxKey     = 256     // bytes
	MaxPayload = 8 << 10 // bytes
	MaxTimers  = 100_000 // default of Options.Most
)

// Options of Timers. DB and Clock are needed.
type Options struct {
	DB    *db.SQLite // meta.db; the caller closes it, after the last Run
	Clock clock.Clock
	Most  int // timers at once; 0 = MaxTimers
	Log   *slog.Logger
}

// Timer is one that is due.
type Timer struct {
	Key     string
	At      time.Time // when it was to be told, UTC, microseconds
	Payload []byte
	Attempt int // from 1; counts from this start of the program
}

// Timers is safe for concurrent use.
type Timers struct {
	opt  Options
	wake chan struct{} // one slot: the earliest moved

	mu      sync.Mutex // also held over each write, so that memory and rows agree
	running bool
	byKey   map[string]*entry
	waiting *btree.BTreeG[*entry] // by wall
	again   *btree.BTreeG[*entry] // failed; by passed time, which no jump moves
}

// entry is a row without its payload.
type entry struct {
	id      int64
	key     string
	at      int64         // µs
	attempt int           // deliveries so far
	next    time.Duration // of clock.Passed; in again
	told    bool          // the handler is content, the row could not be removed
}

const schema = `CREATE TABLE IF NOT EXISTS timers (
	id      INTEGER PRIMARY KEY AUTOINCREMENT, -- a replaced timer is another row
	key     TEXT NOT NULL UNIQUE,
	at      INTEGER NOT NULL, -- µs
	payload BLOB NOT NULL
) STRICT`

// Open reads the timers that an earlier program left.
func Open(ctx context.Context, opt Options) (*Timers, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	opt.Most = cmp.Or(opt.Most, MaxTimers)
	t := &Timers{
		opt: opt, wake: make(chan struct{}, 1), byKey: map[string]*entry{},
		waiting: btree.NewG(32, func(a, b *entry) bool { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.id, b.id)) < 0 }),
		again:   btree.NewG(32, func(a, b *entry) bool { return cmp.Or(cmp.Compare(a.next, b.next), cmp.Compare(a.id, b.id)) < 0 }),
	}
	if _, err := opt.DB.Writer.ExecContext(ctx, schema); err != nil {
		return nil, fmt.Errorf("open timers: %w", err)
	}
	rows, err := opt.DB.Reader.QueryContext(ctx, `SELECT id, key, at FROM timers`)
	if err != nil {
		return nil, fmt.Errorf("read timers: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var e entry
		if err := rows.Scan(&e.id, &e.key, &e.at); err != nil {
			return nil, fmt.Errorf("read timers: %w", err)
		}
		t.byKey[e.key] = &e
		t.waiting.ReplaceOrInsert(&e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read timers: %w", err)
	}
	return t, nil
}

// Set asks to be told under the key at that time of the wall, or as soon as
// possible when it has passed. It replaces the timer of that key, also one
// whose handler runs just now: the new one is told, too. When it returns nil
// the timer survives a power cut. Errors: invalid for a key or payload beyond
// the limits, exhausted for too many, unavailable when the disk refuses.
func (t *Timers) Set(ctx context.Context, key string, at time.Time, payload []byte) error {
	switch {
	case key == "" || len(key) > MaxKey:
		return fault.New(fault.Invalid, "a timer's key has 1 to %d bytes, not %d", "定时器的键须为 1 至 %d 字节,而非 %d 字节", MaxKey, len(key))
	case len(payload) > MaxPayload:
		return fault.New(fault.Invalid, "a timer carries at most %d bytes, not %d", "定时器最多携带 %d 字节,而非 %d 字节", MaxPayload, len(payload))
	case at.Year() < 1970 || at.Year() > 9999:
		return fault.New(fault.Invalid, "a timer cannot be set to the year %d", "定时器不能设为 %d 年", at.Year())
	}
	if payload == nil {
		payload = []byte{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.byKey[key]
	if old == nil && len(t.byKey) >= t.opt.Most {
		return fault.New(fault.Exhausted, "%d timers are set; no more fit", "已设 %d 个定时器,无法再添加", len(t.byKey))
	}
	e := &entry{key: key, at: at.UnixMicro()}
	res, err := t.opt.DB.Writer.ExecContext(ctx, `INSERT OR REPLACE INTO timers (key, at, payload) VALUES (?, ?, ?)`, key, e.at, payload)
	if err == nil {
		e.id, err = res.LastInsertId()
	}
	if err != nil {
		return unavailable(err)
	}
	t.forget(old)
	t.byKey[key] = e
	t.waiting.ReplaceOrInsert(e)
	t.look()
	return nil
}

// Cancel drops the timer of the key; without one it does nothing. A handler
// that runs just now is not stopped.
func (t *Timers) Cancel(ctx context.Context, key string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.byKey[key]
	if e == nil {
		return nil
	}
	return t.drop(ctx, e)
}

// Len is how many timers are set.
func (t *Timers) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byKey)
}

// drop removes the row, and only then what memory knows of it; mu is held.
func (t *Timers) drop(ctx context.Context, e *entry) error {
	if _, err := t.opt.DB.Writer.ExecContext(ctx, `DELETE FROM timers WHERE id = ?`, e.id); err != nil {
		return unavailable(err)
	}
	t.forget(e)
	return nil
}

// forget drops what memory knows of an entry, wherever it stands; mu is held.
func (t *Timers) forget(e *entry) {
	if e == nil {
		return
	}
	t.waiting.Delete(e)
	t.again.Delete(e)
	if t.byKey[e.key] == e {
		delete(t.byKey, e.key)
	}
}

// look wakes Run.
func (t *Timers) look() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// payload reads what the row carries; errors.Is(err, sql.ErrNoRows) when it was
// replaced or cancelled since.
func (t *Timers) payload(ctx context.Context, e *entry) (b []byte, err error) {
	err = t.opt.DB.Reader.QueryRowContext(ctx, `SELECT payload FROM timers WHERE id = ?`, e.id).Scan(&b)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		err = unavailable(err)
	}
	return b, err
}

func unavailable(err error) error {
	return fault.New(fault.Unavailable, "the timers cannot be read or written now", "定时器暂时无法读写").Because(err)
}

// backoff is how long to wait after a number of failed deliveries.
func backoff(attempt int) time.Duration {
	return min(maxBackoff, minBackoff<<min(max(attempt-1, 0), 16))
}
