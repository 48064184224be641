package secret_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dun-sec/dun/internal/core/db"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
)

var (
	actor = identity.Service("test")
	shop  = resource.Ref{Kind: "Site", Tenant: "acme", Name: "shop", UID: "u1"}
)

// bench is a store on a folder of its own, and what its log was told.
type bench struct {
	*secret.Store
	t    *testing.T
	dir  string
	db   *db.SQLite
	mu   sync.Mutex
	uses []secret.Use
	deaf error // of the audit log
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir()}
	k, err := secret.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Write(b.file("root.key")); err != nil {
		t.Fatal(err)
	}
	if b.db, err = db.OpenSQLite(t.Context(), b.file("meta.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.db.Close() })
	if b.Store, err = b.open(); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) open() (*secret.Store, error) {
	return secret.Open(b.t.Context(), secret.Options{DB: b.db, KeyFile: b.file("root.key"), Record: func(_ context.Context, _ identity.Actor, u secret.Use) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.deaf != nil {
			return b.deaf
		}
		b.uses = append(b.uses, u)
		return nil
	}})
}

func (b *bench) file(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) put(purpose, text string) secret.Ref {
	b.t.Helper()
	ref, err := b.Put(b.t.Context(), actor, shop, purpose, secret.New([]byte(text)))
	if err != nil {
		b.t.Fatal(err)
	}
	return ref
}

func (b *bench) opens(s *secret.Store, ref secret.Ref, purpose, want string) {
	b.t.Helper()
	if v, err := s.Open(b.t.Context(), actor, ref, purpose); err != nil || string(v.Reveal()) != want {
		b.t.Errorf("%s opens as %q (%v), want %q", ref, v.Reveal(), err, want)
	}
}

func (b *bench) exec(q string, args ...any) {
	b.t.Helper()
	if _, err := b.db.Writer.Exec(q, args...); err != nil {
		b.t.Fatal(err)
	}
}

func TestASecretOpensForItsPurposeAndIsTold(t *testing.T) {
	b := newBench(t)
	ref := b.put("origin-key", canary)
	if !ref.Valid() {
		t.Fatalf("reference %q", ref)
	}
	b.opens(b.Store, ref, "origin-key", canary)
	for _, c := range []struct {
		ref     secret.Ref
		purpose string
	}{{ref, "other"}, {ref, ""}, {"s-aaaaaaaaaaaaaaaaaaaaaaaaaa", "origin-key"}, {"'; DROP TABLE secrets", "origin-key"}} {
		if _, err := b.Open(t.Context(), actor, c.ref, c.purpose); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s for %q: %v", c.ref, c.purpose, err)
		}
	}
	if err := b.Delete(t.Context(), actor, ref); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Open(t.Context(), actor, ref, "origin-key"); !fault.Is(err, fault.NotFound) {
		t.Errorf("after it was deleted: %v", err)
	}
	if err := b.Delete(t.Context(), actor, ref); !fault.Is(err, fault.NotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	var told []string
	for _, u := range b.uses {
		told = append(told, u.Action)
		if u.Ref != ref || u.Owner != shop || u.Purpose != "origin-key" {
			t.Errorf("told %+v", u)
		}
	}
	if strings.Join(told, " ") != "put open delete" {
		t.Errorf("told %v", told)
	}
}

func TestWhatCannotBeToldIsNotGiven(t *testing.T) {
	b := newBench(t)
	ref := b.put("p", canary)
	k, err := secret.NewNodeKey()
	if err != nil {
		t.Fatal(err)
	}
	pub, err := k.Public()
	if err != nil {
		t.Fatal(err)
	}
	b.deaf = errors.New("full")
	if v, err := b.Open(t.Context(), actor, ref, "p"); err == nil || v.Reveal() != nil {
		t.Error("opened")
	}
	if v, err := b.Show(t.Context(), actor, ref); err == nil || v.Reveal() != nil {
		t.Error("shown")
	}
	if out, err := b.SealTo(t.Context(), actor, shop, ref, "p", shop, pub); err == nil || out != nil {
		t.Error("sealed")
	}
	if _, err := b.Put(t.Context(), actor, shop, "p", secret.New([]byte("x"))); err == nil {
		t.Error("put")
	}
	if err := b.Delete(t.Context(), actor, ref); err == nil {
		t.Error("deleted")
	}
	b.deaf = nil
	if v, err := b.Show(t.Context(), actor, ref); err != nil || string(v.Reveal()) != canary {
		t.Errorf("a showing that failed is used up: %v", err)
	}
}

func TestShownExactlyOnce(t *testing.T) {
	b := newBench(t)
	ref := b.put("p", canary)
	var shown, refused atomic.Int32
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			v, err := b.Show(t.Context(), actor, ref)
			switch {
			case err == nil && string(v.Reveal()) == canary:
				shown.Add(1)
			case fault.Is(err, fault.Conflict) && v.Reveal() == nil:
				refused.Add(1)
			}
		})
	}
	all.Wait()
	if shown.Load() != 1 || refused.Load() != 15 {
		t.Errorf("shown %d times, refused %d", shown.Load(), refused.Load())
	}
	again, err := b.open() // a restart does not show it again
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Show(t.Context(), actor, ref); !fault.Is(err, fault.Conflict) {
		t.Errorf("after a restart: %v", err)
	}
	b.opens(again, ref, "p", canary)
}

// Whoever can write the file can break a secret, but not give one to another.
func TestRowsCannotBeSwapped(t *testing.T) {
	for what, q := range map[string]string{
		"content":      `UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE ref = ?2) WHERE ref = ?1`,
		"purpose":      `UPDATE secrets SET purpose = 'q' WHERE ref = ?1 AND ?2 <> ''`,
		"owner":        `UPDATE secrets SET name = 'other' WHERE ref = ?1 AND ?2 <> ''`,
		"owner's uid":  `UPDATE secrets SET uid = 'u2' WHERE ref = ?1 AND ?2 <> ''`,
		"split moved":  `UPDATE secrets SET tenant = 'acm', name = 'eshop' WHERE ref = ?1 AND ?2 <> ''`,
		"cut":          `UPDATE secrets SET sealed = substr(sealed, 1, 20) WHERE ref = ?1 AND ?2 <> ''`,
		"empty":        `UPDATE secrets SET sealed = x'' WHERE ref = ?1 AND ?2 <> ''`,
		"name of key":  `UPDATE secrets SET keyid = 'x' WHERE ref = ?1 AND ?2 <> ''`,
		"moved by ref": `UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE ref = ?2), keyid = keyid WHERE ref = ?1`,
	} {
		t.Run(what, func(t *testing.T) {
			b := newBench(t)
			one, two := b.put("p", "one"), b.put("p", canary)
			b.exec(q, one, two)
			for _, purpose := range []string{"p", "q"} {
				if v, err := b.Open(t.Context(), actor, one, purpose); err == nil {
					t.Errorf("opens as %q", v.Reveal())
				}
			}
			b.opens(b.Store, two, "p", canary)
		})
	}
}

func TestNothingOnDiskShowsTheContent(t *testing.T) {
	b := newBench(t)
	b.put("p", strings.Repeat(canary, 20))
	for _, name := range []string{"meta.db", "meta.db-wal"} {
		data, err := os.ReadFile(b.file(name))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte(canary)) {
			t.Errorf("%s holds it", name)
		}
	}
}

func TestPutRefuses(t *testing.T) {
	b := newBench(t)
	for what, c := range map[string]struct {
		size    int
		purpose string
		owner   resource.Ref
		ok      bool
	}{
		"largest": {secret.MaxValue, "p", shop, true}, "larger": {secret.MaxValue + 1, "p", shop, false}, "empty": {0, "p", shop, false},
		"no purpose": {1, "", shop, false}, "longest purpose": {1, strings.Repeat("p", 64), shop, true}, "longer purpose": {1, strings.Repeat("p", 65), shop, false}, "no owner": {1, "p", resource.Ref{}, false},
	} {
		if _, err := b.Put(t.Context(), actor, c.owner, c.purpose, secret.New(make([]byte, c.size))); (err == nil) != c.ok || err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAWrongKeySaysSoAtTheStart(t *testing.T) {
	b := newBench(t)
	b.put("p", canary)
	k, err := secret.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Write(b.file("root.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.open(); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), k.ID()) {
		t.Errorf("another key: %v", err)
	}
	for what, text := range map[string]string{"empty": "", "cut": "dun-root-key-1 aaaa\n", "no key": strings.Repeat("x", 67), "long": strings.Repeat("y", 1<<16)} {
		if err := os.WriteFile(b.file("root.key"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := b.open(); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := os.Chmod(b.file("root.key"), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := b.open(); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others may read: %v", err)
	}
	if err := os.Remove(b.file("root.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.open(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no key: %v", err)
	}
}
