// Package db opens the database files of DIR. It owns the settings that make a
// commit durable; it knows no table. Only core/gate may open `records`.
package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/dun-sec/dun/internal/core/file"
)

// Readers is how many connections read beside the one that writes.
const Readers = 4

// SQLite is one database file: one connection that writes and a few that read.
type SQLite struct {
	Writer *sql.DB // exactly one connection, BEGIN IMMEDIATE
	Reader *sql.DB // query_only
	Path   string
}

// OpenSQLite opens or creates the file with mode 0600, in WAL with
// synchronous=FULL: a commit that returned has reached the disk, also when the
// power goes (NORMAL would lose the last commits).
func OpenSQLite(ctx context.Context, path string) (*SQLite, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	created := false
	if st, err := f.Stat(); err == nil {
		created = st.Size() == 0
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if created {
		if err := file.SyncDir(filepath.Dir(path)); err != nil {
			return nil, err
		}
	}
	d := &SQLite{Path: path}
	if d.Writer, err = sql.Open("sqlite", dsn(path, "_txlock=immediate")); err != nil {
		return nil, fmt.Errorf("open database %s: %w", filepath.Base(path), err)
	}
	d.Writer.SetMaxOpenConns(1)
	if err := d.Writer.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", filepath.Base(path), err), d.Writer.Close())
	}
	if d.Reader, err = sql.Open("sqlite", dsn(path, "_pragma=query_only(1)")); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", filepath.Base(path), err), d.Writer.Close())
	}
	d.Reader.SetMaxOpenConns(Readers)
	return d, nil
}

func dsn(path, more string) string {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}
	u.RawQuery = "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=trusted_schema(0)&_pragma=secure_delete(1)&_pragma=wal_autocheckpoint(4000)&" + more
	return u.String()
}

// Close closes both sides; the write-ahead log is folded in by SQLite.
func (d *SQLite) Close() error { return errors.Join(d.Reader.Close(), d.Writer.Close()) }
