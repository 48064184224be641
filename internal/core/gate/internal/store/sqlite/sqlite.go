// Package sqlite is the embedded engine of the record store. It owns the
// file records.db and its schema, and decides nothing.
package sqlite

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"

	"github.com/dun-sec/dun/internal/core/db"
	"github.com/dun-sec/dun/internal/core/gate/internal/store"
)

// Schema is the number of the tables' form; a store with a higher one is refused.
const Schema = 1

//go:embed schema.sql
var schema string

// Store is a store.Store in one SQLite file.
type Store struct {
	files      *db.SQLite
	statements // used by Commit alone
}

var _ store.Store = (*Store)(nil)

// Open opens the file and makes the tables on the first start.
func Open(ctx context.Context, path string) (*Store, error) {
	files, err := db.OpenSQLite(ctx, path)
	if err != nil {
		return nil, err
	}
	s := &Store{files: files}
	if err := s.tables(ctx); err != nil {
		return nil, errors.Join(err, files.Close())
	}
	if err := s.prepare(ctx, files.Writer); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// tables makes the tables of a new file and refuses a newer form.
func (s *Store) tables(ctx context.Context) error {
	var tables int
	if err := s.files.Writer.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master WHERE type='table'`).Scan(&tables); err != nil {
		return fmt.Errorf("read the record store: %w", err)
	}
	if tables > 0 {
		var n int
		err := s.files.Writer.QueryRowContext(ctx, `SELECT schema FROM head`).Scan(&n)
		if err == nil && n > Schema {
			return fmt.Errorf("the record store has schema %d; this release reads up to %d", n, Schema)
		}
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("read the record store: %w", err)
		}
		return nil
	}
	tx, err := s.files.Writer.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("make the record store: %w", err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, schema); err != nil {
		return fmt.Errorf("make the record store: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("make the record store: %w", err)
	}
	return nil
}

// Close closes the file.
func (s *Store) Close() error { return errors.Join(s.statements.close(), s.files.Close()) }
