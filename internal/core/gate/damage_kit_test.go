package gate_test

import (
	"database/sql"
	"testing"

	_ "modernc.org/sqlite"
)

// damage closes the cell, edits its file behind its back and opens it again.
func (c *cell) damage(t testing.TB, edit func(*sql.DB) error) {
	t.Helper()
	if err := c.tryDamage(t, edit); err != nil {
		t.Fatal(err)
	}
}

// tryDamage is damage whose last step may be refused.
func (c *cell) tryDamage(t testing.TB, edit func(*sql.DB) error) error {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := sql.Open("sqlite", c.file("records.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := edit(d); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return c.tryOpen()
}
