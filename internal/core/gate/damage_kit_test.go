package gate_test

import (
	"database/sql"
	"os"
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

// snapshot closes the cell and returns its files.
func (c *cell) snapshot(t testing.TB) map[string][]byte {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, name := range []string{"records.db", "checkpoint"} {
		b, err := os.ReadFile(c.file(name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = b
	}
	return files
}

// restore puts the files back; the cell stays closed.
func (c *cell) restore(t testing.TB, files map[string][]byte) {
	t.Helper()
	c.Close()
	for name, b := range files {
		if err := os.WriteFile(c.file(name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
