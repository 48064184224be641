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
const Schema = 4

//go:embed schema.sql
var schema1 string

//go:embed schema2.sql
var schema2 string

//go:embed schema3.sql
var schema3 string

//go:embed schema4.sql
var schema4 string

// steps lead from an empty file to the form of today; a step never changes
// once it was released.
func steps() [Schema]string { return [Schema]string{schema1, schema2, schema3, schema4} }

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

// tables brings the file to the form of today, in one transaction, and refuses
// a newer one.
func (s *Store) tables(ctx context.Context) error {
	from, err := s.form(ctx)
	if err != nil {
		return err
	}
	if from > Schema {
		return fmt.Errorf("the record store has schema %d; this release reads up to %d", from, Schema)
	}
	if from == Schema {
		return nil
	}
	tx, err := s.files.Writer.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("make the record store: %w", err)
	}
	defer tx.Rollback()
	all := steps()
	for _, step := range all[from:] {
		if _, err := tx.ExecContext(ctx, step); err != nil {
			return fmt.Errorf("make the record store: %w", err)
		}
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version=%d", Schema)); err != nil {
		return fmt.Errorf("make the record store: %w", err)
	}
	if _, err := tx.ExecContext(ctx, "UPDATE head SET schema=?", Schema); err != nil {
		return fmt.Errorf("make the record store: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("make the record store: %w", err)
	}
	return nil
}

// form reads the number of the tables' form, 0 for a new file. It stands in
// the file's own user_version, and in head from the first group on; a release
// before schema 2 wrote it to head alone.
func (s *Store) form(ctx context.Context) (int, error) {
	var tables, n, head int
	err := s.files.Writer.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM sqlite_master WHERE type='table'), user_version FROM pragma_user_version`).Scan(&tables, &n)
	if err != nil {
		return 0, fmt.Errorf("read the record store: %w", err)
	}
	if tables == 0 {
		return 0, nil
	}
	err = s.files.Writer.QueryRowContext(ctx, `SELECT schema FROM head`).Scan(&head)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("read the record store: %w", err)
	}
	return max(n, head, 1), nil
}

// Close closes the file.
func (s *Store) Close() error { return errors.Join(s.statements.close(), s.files.Close()) }
