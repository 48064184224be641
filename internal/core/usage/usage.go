// Package usage keeps what each tenant's sites took: requests, refusals, bytes
// and CPU time, by the minute for a day, by the hour for five weeks and by the
// day for two years: at most 3 010 rows for each site. It owns the table `usage`
// of meta.db. Whoever counts adds sums, not single requests; it never decides
// who may read, and it bills nobody.
package usage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/dun-sec/dun/internal/core/db"
	"github.com/dun-sec/dun/internal/core/fault"
)

// Limits of what is kept and asked.
const (
	KeepMinutes = 24 * time.Hour
	KeepHours   = 35 * day
	KeepDays    = 730 * day
	MaxStep     = 31 * day
	MaxBuckets  = 10_000 // of one answer

	day = 24 * time.Hour
)

// grain is one width of rows and how long they are kept.
type grain struct{ width, keep time.Duration }

func grains() []grain {
	return []grain{{time.Minute, KeepMinutes}, {time.Hour, KeepHours}, {day, KeepDays}}
}

// Sum is what was taken.
type Sum struct {
	Requests uint64 `json:"requests"`
	Blocks   uint64 `json:"blocks"`
	In       uint64 `json:"in"`  // bytes of bodies from clients
	Out      uint64 `json:"out"` // bytes of bodies to clients
	CPU      uint64 `json:"cpu"` // µs of this machine's processors
}

// Entry is what one site took since it was told last.
type Entry struct {
	Tenant string `json:"tenant"`
	Site   string `json:"site"`
	Sum
}

// Bucket is what one site took in a step of time.
type Bucket struct {
	Start time.Time `json:"start"`
	Site  string    `json:"site"`
	Sum
}

const schema = `CREATE TABLE IF NOT EXISTS usage (
	tenant TEXT NOT NULL,
	width  INTEGER NOT NULL, -- s
	start  INTEGER NOT NULL, -- s
	site   TEXT NOT NULL,
	requests INTEGER NOT NULL, blocks INTEGER NOT NULL, bytesin INTEGER NOT NULL, bytesout INTEGER NOT NULL, cpu INTEGER NOT NULL,
	PRIMARY KEY (tenant, width, start, site)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS usage_age ON usage (width, start)`

// Book is safe for concurrent use.
type Book struct{ db *db.SQLite }

// Open makes the table where it is missing; the caller closes d later.
func Open(ctx context.Context, d *db.SQLite) (*Book, error) {
	if _, err := d.Writer.ExecContext(ctx, schema); err != nil {
		return nil, fmt.Errorf("open usage: %w", err)
	}
	return &Book{d}, nil
}

// Add notes what was taken up to at, all of it or nothing, and forgets what is
// too old. When it returns nil, that survives a power cut.
func (b *Book) Add(ctx context.Context, at time.Time, entries []Entry) (err error) {
	tx, err := b.db.Writer.BeginTx(ctx, nil)
	if err != nil {
		return unavailable(err)
	}
	defer func() {
		if err != nil {
			if rerr := tx.Rollback(); !errors.Is(rerr, sql.ErrTxDone) {
				err = errors.Join(err, rerr)
			}
		}
	}()
	insert, err := tx.PrepareContext(ctx, `INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (tenant, width, start, site) DO UPDATE SET requests = requests + excluded.requests, blocks = blocks + excluded.blocks,
		bytesin = bytesin + excluded.bytesin, bytesout = bytesout + excluded.bytesout, cpu = cpu + excluded.cpu`)
	if err != nil {
		return unavailable(err)
	}
	defer insert.Close()
	for _, g := range grains() {
		w := int64(g.width / time.Second)
		for _, e := range entries {
			if _, err = insert.ExecContext(ctx, e.Tenant, w, at.Unix()/w*w, e.Site, e.Requests, e.Blocks, e.In, e.Out, e.CPU); err != nil {
				return unavailable(err)
			}
		}
		if _, err = tx.ExecContext(ctx, `DELETE FROM usage WHERE width = ? AND start < ?`, w, at.Add(-g.keep).Unix()); err != nil {
			return unavailable(err)
		}
	}
	if err = tx.Commit(); err != nil {
		return unavailable(err)
	}
	return nil
}

// Read sums up a tenant's usage from..to (to left out) in steps that begin at
// whole multiples of step since 1970: whole minutes, hours or days, which are
// kept as long as the package says.
func (b *Book) Read(ctx context.Context, tenant string, from, to time.Time, step time.Duration) ([]Bucket, error) {
	switch {
	case step < time.Minute || step > MaxStep || step%time.Minute != 0:
		return nil, fault.New(fault.Invalid, "step: want 1m to 31d in whole minutes", "step:应为 1m 到 31d 的整分钟")
	case !from.Before(to):
		return nil, fault.New(fault.Invalid, "from: want a time before to", "from:应早于 to")
	case to.Sub(from) > KeepDays+MaxStep:
		return nil, fault.New(fault.Invalid, "from: usage is kept for 730 days", "from:用量保留 730 天")
	}
	width := time.Minute
	for _, g := range grains() {
		if step%g.width == 0 {
			width = g.width
		}
	}
	w, s := int64(width/time.Second), int64(step/time.Second)
	rows, err := b.db.Reader.QueryContext(ctx, `SELECT start / ? * ?, site, SUM(requests), SUM(blocks), SUM(bytesin), SUM(bytesout), SUM(cpu)
		FROM usage WHERE tenant = ? AND width = ? AND start >= ? AND start < ? GROUP BY 1, 2 ORDER BY 1, 2 LIMIT ?`,
		s, s, tenant, w, from.Unix()/w*w, to.Unix(), MaxBuckets+1)
	if err != nil {
		return nil, unavailable(err)
	}
	defer rows.Close()
	out := []Bucket{}
	for rows.Next() {
		var x Bucket
		var start int64
		if err := rows.Scan(&start, &x.Site, &x.Requests, &x.Blocks, &x.In, &x.Out, &x.CPU); err != nil {
			return nil, unavailable(err)
		}
		x.Start = time.Unix(start, 0).UTC()
		if out = append(out, x); len(out) > MaxBuckets {
			return nil, fault.New(fault.Invalid, "the answer would have more than %d entries: ask for a shorter time or a longer step", "结果超过 %d 项:请缩短时间或加大 step", MaxBuckets)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, unavailable(err)
	}
	return out, nil
}

func unavailable(err error) error {
	return fault.New(fault.Unavailable, "usage cannot be read or written just now", "用量暂时无法读写").Because(err)
}
