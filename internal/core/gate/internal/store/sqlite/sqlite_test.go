package sqlite_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/gate/internal/store"
	"github.com/dun-sec/dun/internal/core/gate/internal/store/sqlite"
	"github.com/dun-sec/dun/internal/core/gate/internal/store/storetest"
)

func TestConformance(t *testing.T) {
	dirs := map[string]string{}
	storetest.Run(t, func(t *testing.T) store.Store {
		if dirs[t.Name()] == "" {
			dirs[t.Name()] = t.TempDir()
		}
		s, err := sqlite.Open(t.Context(), filepath.Join(dirs[t.Name()], "records.db"))
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

// A page limit makes SQLite refuse in the middle of a transaction, as it does
// on a full disk.
func TestAFullFileTakesNothingOfAGroup(t *testing.T) {
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "records.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	group := func(rev uint64) *store.Group {
		g := &store.Group{Head: store.Head{Cell: "testcell", Revision: rev + 9}}
		for i := range uint64(10) {
			g.Changes = append(g.Changes, store.Change{Revision: rev + i, Kind: "Site", Tenant: "a", Name: fmt.Sprint("n", rev+i), Data: []byte(strings.Repeat("x", 2000))})
		}
		return g
	}
	if err := s.LimitPages(60); err != nil {
		t.Fatal(err)
	}
	rev := uint64(1)
	for ; rev < 2000; rev += 10 {
		if err = s.Commit(t.Context(), group(rev)); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "full") {
		t.Fatalf("no refusal: %v", err)
	}
	intact := func(want uint64) {
		t.Helper()
		h, err := s.Head(t.Context())
		if err != nil || h.Revision != want {
			t.Errorf("head %+v, want revision %d, %v", h, want, err)
		}
		list, err := s.Changes(t.Context(), 0, 10_000)
		if err != nil || uint64(len(list)) != want {
			t.Errorf("%d changes, want %d, %v", len(list), want, err)
		}
	}
	intact(rev - 1)
	if err := s.LimitPages(1 << 20); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), group(rev)); err != nil {
		t.Fatal(err)
	}
	intact(rev + 9)
}

func TestOpenRefusesWhatIsNoStore(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database ", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{text, dir, filepath.Join(dir, "missing", "records.db")} {
		if s, err := sqlite.Open(t.Context(), path); err == nil {
			t.Errorf("%s was opened", path)
			s.Close()
		}
	}
	s, err := sqlite.Open(t.Context(), filepath.Join(dir, "records.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Head(t.Context()); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
}
