// Package views keeps what people saved for their own eyes: the filters of
// lists. It owns the table `views` of meta.db. It never shows one person's to
// another, decides nothing, and holds nothing that a record should.
package views

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/dun-sec/dun/internal/core/db"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
)

// Limits of what one person may save.
const (
	MaxViews = 50   // per person
	MaxTitle = 64   // characters
	MaxQuery = 1024 // bytes
)

// View is one saved filter.
type View struct{ List, Title, Query string }

// Store is safe for concurrent use.
type Store struct{ db *db.SQLite }

const schema = `CREATE TABLE IF NOT EXISTS views (
	owner TEXT NOT NULL, -- Kind tenant/name
	list  TEXT NOT NULL,
	title TEXT NOT NULL,
	query TEXT NOT NULL,
	PRIMARY KEY (owner, list, title)
) STRICT`

// Open makes the table where it is missing; the caller closes d later.
func Open(ctx context.Context, d *db.SQLite) (*Store, error) {
	if _, err := d.Writer.ExecContext(ctx, schema); err != nil {
		return nil, fmt.Errorf("open views: %w", err)
	}
	return &Store{d}, nil
}

func owner(who resource.Ref) string { return who.Kind + " " + who.Tenant + "/" + who.Name }

// Views lists what the person saved, by list and title.
func (s *Store) Views(ctx context.Context, who resource.Ref) ([]View, error) {
	rows, err := s.db.Reader.QueryContext(ctx, `SELECT list, title, query FROM views WHERE owner = ? ORDER BY list, title LIMIT ?`, owner(who), MaxViews)
	if err != nil {
		return nil, unavailable(err)
	}
	defer rows.Close()
	var out []View
	for rows.Next() {
		var v View
		if err := rows.Scan(&v.List, &v.Title, &v.Query); err != nil {
			return nil, unavailable(err)
		}
		out = append(out, v)
	}
	if err := rows.Err(); err != nil {
		return nil, unavailable(err)
	}
	return out, nil
}

// Save keeps a view; one of the same list and title is replaced. Errors:
// invalid beyond the limits, exhausted for too many, unavailable.
func (s *Store) Save(ctx context.Context, who resource.Ref, v View) error {
	v.Title = strings.TrimSpace(v.Title)
	switch {
	case v.Title == "" || !utf8.ValidString(v.Title) || utf8.RuneCountInString(v.Title) > MaxTitle:
		return fault.New(fault.Invalid, "a filter needs a name of 1 to %d characters", "筛选器名称须为 1 至 %d 个字符", MaxTitle)
	case len(v.Query) > MaxQuery || len(v.List) > MaxTitle:
		return fault.New(fault.Invalid, "this filter is too long to be kept", "此筛选条件过长,无法保存")
	}
	res, err := s.db.Writer.ExecContext(ctx, `INSERT OR REPLACE INTO views (owner, list, title, query)
		SELECT ?1, ?2, ?3, ?4 WHERE (SELECT COUNT(*) FROM views WHERE owner = ?1 AND NOT (list = ?2 AND title = ?3)) < ?5`, owner(who), v.List, v.Title, v.Query, MaxViews)
	if err != nil {
		return unavailable(err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return fault.New(fault.Exhausted, "you keep %d filters; no more fit", "您已保存 %d 个筛选器,无法再添加", MaxViews)
	}
	return nil
}

// Drop forgets a view; without one it does nothing.
func (s *Store) Drop(ctx context.Context, who resource.Ref, list, title string) error {
	if _, err := s.db.Writer.ExecContext(ctx, `DELETE FROM views WHERE owner = ? AND list = ? AND title = ?`, owner(who), list, title); err != nil {
		return unavailable(err)
	}
	return nil
}

func unavailable(err error) error {
	return fault.New(fault.Unavailable, "saved filters cannot be read or written now", "暂时无法读写已保存的筛选器").Because(err)
}
