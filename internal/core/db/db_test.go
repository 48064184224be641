package db_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/db"
)

func TestOpenMakesAPrivateDurableFile(t *testing.T) {
	for _, name := range []string{"records.db", "with space.db", "a?b#c%41&d=e.db", "盾.db"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			d, err := db.OpenSQLite(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if _, err := d.Writer.Exec(`CREATE TABLE x (a TEXT)`); err != nil {
				t.Fatal(err)
			}
			for what, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "busy_timeout": "5000", "trusted_schema": "0"} {
				for who, side := range map[string]*sql.DB{"writer": d.Writer, "reader": d.Reader} {
					var got string
					if err := side.QueryRow("PRAGMA " + what).Scan(&got); err != nil || got != want {
						t.Errorf("%s: %s is %q, want %q (%v)", who, what, got, want, err)
					}
				}
			}
			if _, err := d.Reader.Exec(`INSERT INTO x VALUES ('b')`); err == nil {
				t.Error("the reader wrote")
			}
			entries, err := os.ReadDir(filepath.Dir(path))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				st, err := e.Info()
				if err != nil || st.Mode().Perm() != 0o600 || !strings.HasPrefix(e.Name(), name) {
					t.Errorf("%s has mode %v (%v)", e.Name(), st.Mode(), err)
				}
			}
		})
	}
}

func TestAReaderSeesACommitThatReturned(t *testing.T) {
	d, err := db.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Writer.Exec(`CREATE TABLE x (a INTEGER)`); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if _, err := d.Writer.Exec(`INSERT INTO x VALUES (?)`, i); err != nil {
			t.Fatal(err)
		}
		var n int
		if err := d.Reader.QueryRow(`SELECT count(*) FROM x`).Scan(&n); err != nil || n != i+1 {
			t.Fatalf("%d rows after %d (%v)", n, i+1, err)
		}
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(d.Path + "-wal"); !os.IsNotExist(err) {
		t.Errorf("the write-ahead log was left: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database ", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{text, dir, filepath.Join(dir, "no", "folder.db")} {
		if d, err := db.OpenSQLite(t.Context(), path); err == nil {
			t.Errorf("%s was opened", path)
			d.Close()
		}
	}
}
