package lkg

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds"
)

func keys(n byte) Keys {
	k := Keys{Sign: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, 32))}
	k.Seal[0] = n
	return k
}

var (
	here = Place{Role: "edge", Cell: "testcell", Node: "n1"}
	then = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
)

func snapshot(n uint64) Snapshot {
	return Snapshot{Epoch: "e", Number: n, Time: then.Add(time.Duration(n) * time.Minute), Payload: bytes.Repeat([]byte("secret-site.test "), 20)}
}

func save(t *testing.T, f *File, n uint64) {
	t.Helper()
	if err := f.Save(snapshot(n)); err != nil {
		t.Fatal(err)
	}
}

func TestWhatWasSavedComesBackSealed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lkg")
	f := Open(dir, here, keys(1))
	if _, err := f.Load(then); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
	save(t, f, 7)
	save(t, f, 9)
	s, err := Open(dir, here, keys(1)).Load(then)
	if err != nil || s.Number != 9 || s.Epoch != "e" || !bytes.Equal(s.Payload, snapshot(9).Payload) || !s.Time.Equal(snapshot(9).Time) {
		t.Errorf("%+v %v", s, err)
	}
	b, err := os.ReadFile(f.Path())
	if err != nil || bytes.Contains(b, []byte("secret-site")) {
		t.Error("what is sealed can be read")
	}
	st, err := os.Stat(f.Path())
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Error(st.Mode())
	}
	if err := f.Save(snapshot(8)); err == nil {
		t.Error("an older number was saved")
	}
}

func TestEveryOtherFileIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lkg")
	f := Open(dir, here, keys(1))
	save(t, f, 7)
	old, err := os.ReadFile(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	save(t, f, 9)
	good, err := os.ReadFile(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	of := func(p Place, k Keys) []byte {
		d := t.TempDir()
		save(t, Open(d, p, k), 9)
		b, err := os.ReadFile(filepath.Join(d, p.Role+".snap"))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	mixed := keys(1)
	mixed.Seal = keys(2).Seal
	for name, tt := range map[string]struct {
		b    []byte
		want string
	}{
		"an older one":           {old, "an older file was put in its place"},
		"another role":           {of(Place{"scrub", "testcell", "n1"}, keys(1)), "role scrub"},
		"another node":           {of(Place{"edge", "testcell", "n2"}, keys(1)), "node n2"},
		"another cell":           {of(Place{"edge", "othercel", "n1"}, keys(1)), "cell othercel"},
		"another signer":         {of(here, keys(2)), "signature"},
		"sealed to another node": {of(here, mixed), "sealed to another node"},
		"empty":                  {nil, "cut"},
		"cut":                    {good[:len(good)-1], "signature"},
		"cut to the magic":       {good[:len(magic)], "cut"},
		"longer":                 {append(bytes.Clone(good), 0), "signature"},
		"no snapshot":            {[]byte(strings.Repeat("not a snapshot ", 40)), "no last-known-good"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(f.Path(), tt.b, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(dir, here, keys(1)).Load(then); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v", err)
			}
		})
	}
	for i := range good {
		b := bytes.Clone(good)
		b[i] ^= 1
		if err := os.WriteFile(f.Path(), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, here, keys(1)).Load(then); err == nil {
			t.Fatalf("with bit 0 of byte %d flipped it was taken", i)
		}
	}
	if err := os.WriteFile(f.Path(), good, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, here, keys(1)).Load(snapshot(9).Time.Add(MaxAge + time.Second)); err == nil || !strings.Contains(err.Error(), "older than 30 days") {
		t.Error(err)
	}
	if _, err := Open(dir, here, keys(1)).Load(snapshot(9).Time.Add(MaxAge)); err != nil {
		t.Error(err)
	}
	// Without its floor the power went between the two writes; it is taken.
	if err := os.Remove(filepath.Join(dir, "edge.floor")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, here, keys(1)).Load(then); err != nil {
		t.Error(err)
	}
}

func FuzzOpen(f *testing.F) {
	b, err := seal(keys(1), header{Schema: 1, Role: "edge", Number: 3, Time: then}, []byte("x"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		// Signed by ourselves, so that what lies behind the signature is met too.
		signed := append(bytes.Clone(b), ed25519.Sign(keys(1).Sign, b)...)
		if h, _, err := open(keys(1), signed); err == nil && h.Schema > 1<<40 {
			t.Log(h)
		}
		open(keys(1), b)
	})
}

// source is a feed of batches that are given to it.
type source chan resource.Batch

func (s source) Next(ctx context.Context) (resource.Batch, error) {
	select {
	case b := <-s:
		return b, nil
	case <-ctx.Done():
		return resource.Batch{}, ctx.Err()
	}
}

func site(t *testing.T, reg *resource.Registry, name string, rev uint64) resource.Change {
	t.Helper()
	docs, err := resource.ParseYAML([]byte("kind: Site\nmetadata: {tenant: platform, name: " + name + "}\nspec: {hosts: [" + name + ".test], origins: [{url: 'http://127.0.0.1:1'}]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	o, _, err := reg.Decode(docs[0])
	if err != nil {
		t.Fatal(err)
	}
	o.Metadata.Revision = rev
	return resource.Change{Ref: o.Ref(), Object: o, Revision: rev}
}

func TestAKeeperSavesWhatIsEnforcedAndStartsFromIt(t *testing.T) {
	reg, err := resource.NewRegistry(kinds.All()...)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	at := func(n uint64) resource.Position { return resource.Position{Epoch: "e", Revision: n} }
	saved := func() uint64 {
		s, err := Open(dir, here, keys(1)).Load(time.Now())
		if err != nil {
			return 0
		}
		return s.Number
	}
	synctest.Test(t, func(t *testing.T) {
		k := NewKeeper(Open(dir, here, keys(1)), reg, time.Now, slog.New(slog.DiscardHandler))
		if err := k.Start(); !errors.Is(err, ErrNone) {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { k.Run(ctx); close(done) }()
		src, feed := make(source, 100), k.Feed()
		k.Use(src)
		next := func() resource.Batch {
			b, err := feed.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		src <- resource.Batch{Reset: true, Synced: true, At: at(5), Changes: []resource.Change{site(t, reg, "a", 4), site(t, reg, "b", 5)}}
		next()
		synctest.Wait()
		if saved() != 0 {
			t.Error("saved before it is enforced")
		}
		for n := uint64(6); n < 60; n++ {
			src <- resource.Batch{Synced: true, At: at(n), Changes: []resource.Change{site(t, reg, "c", n)}}
			next() // and says that the batch before is enforced
		}
		synctest.Wait()
		if n := saved(); n == 0 || n > 59 {
			t.Errorf("saved %d", n)
		}
		src <- resource.Batch{Synced: true, At: at(60), Changes: []resource.Change{{Ref: site(t, reg, "a", 0).Ref, Revision: 60}}}
		next()
		if k.Get(site(t, reg, "a", 0).Ref) != nil || k.Get(site(t, reg, "b", 0).Ref) == nil {
			t.Error("the records are not those that were handed on")
		}
		src <- resource.Batch{Synced: true, At: at(61)}
		next()
		cancel()
		<-done
		if n := saved(); n != 61 {
			t.Errorf("at the stop %d was saved", n)
		}
	})
	// Start from it, then go over to a live feed.
	synctest.Test(t, func(t *testing.T) {
		k := NewKeeper(Open(dir, here, keys(1)), reg, time.Now, slog.New(slog.DiscardHandler))
		if err := k.Start(); err != nil {
			t.Fatal(err)
		}
		feed := k.Feed()
		b, err := feed.Next(t.Context())
		if err != nil || !b.Reset || !b.Synced || b.At != at(61) || len(b.Changes) != 2 {
			t.Fatalf("%+v %v", b, err)
		}
		if k.Since().IsZero() {
			t.Error("what was loaded passes for live")
		}
		src := make(source, 1)
		src <- resource.Batch{Reset: true, Synced: true, At: at(70), Changes: []resource.Change{site(t, reg, "z", 70)}}
		k.Use(src)
		if b, err = feed.Next(t.Context()); err != nil || b.At != at(70) || !k.Since().IsZero() || k.Get(site(t, reg, "b", 0).Ref) != nil {
			t.Errorf("%+v %v", b, err)
		}
	})
	if b, err := os.ReadFile(filepath.Join(dir, "edge.snap")); err != nil || bytes.Contains(b, []byte("a.test")) {
		t.Error("records lie in the clear")
	}
}

func TestAFullDiskIsAnAlarmAndNothingElse(t *testing.T) {
	reg, err := resource.NewRegistry(kinds.All()...)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "lkg"), nil, 0o600); err != nil { // no folder can be there
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		k := NewKeeper(Open(filepath.Join(dir, "lkg"), here, keys(1)), reg, time.Now, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { k.Run(ctx); close(done) }()
		src, feed := make(source, 3), k.Feed()
		k.Use(src)
		for n := range uint64(3) {
			src <- resource.Batch{Synced: true, At: resource.Position{Epoch: "e", Revision: n + 1}}
			if _, err := feed.Next(ctx); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if k.Failed() == nil {
			t.Error("nobody is told")
		}
		cancel()
		<-done
	})
}

// TestViewsSeeWhatTheRoleSees: any number of views, from the loaded snapshot on,
// of their kinds alone, and over a stream that begins anew.
func TestViewsSeeWhatTheRoleSees(t *testing.T) {
	reg, err := resource.NewRegistry(kinds.All()...)
	if err != nil {
		t.Fatal(err)
	}
	at := func(n uint64) resource.Position { return resource.Position{Epoch: "e", Revision: n} }
	synctest.Test(t, func(t *testing.T) {
		k := NewKeeper(Open(t.TempDir(), here, keys(1)), reg, time.Now, slog.New(slog.DiscardHandler))
		src, feed := make(source, 10), k.Feed()
		k.Use(src)
		views := []resource.Feed{k.View("Site"), k.View("Site", "Tenant"), k.View("Tenant")}
		give := func(b resource.Batch) {
			src <- b
			if _, err := feed.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		see := func(v int, reset bool, rev uint64, want ...string) {
			t.Helper()
			b, err := views[v].Next(t.Context())
			var got []string
			for _, c := range b.Changes {
				what := "+" + c.Ref.Name
				if c.Object == nil {
					what = "-" + c.Ref.Name
				}
				got = append(got, what)
			}
			slices.Sort(got)
			if err != nil || !slices.Equal(got, want) || b.Reset != reset || !b.Synced || b.At != at(rev) {
				t.Errorf("view %d: %v %v, reset %v, synced %v at %v; want %v", v, got, err, b.Reset, b.Synced, b.At, want)
			}
		}
		blind := func(v int) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if b, err := views[v].Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("view %d: %+v %v", v, b, err)
			}
		}
		give(resource.Batch{Reset: true, Changes: []resource.Change{site(t, reg, "a", 1)}, At: at(1)}) // half of it
		blind(0)
		give(resource.Batch{Changes: []resource.Change{site(t, reg, "b", 2)}, At: at(2), Synced: true})
		see(0, true, 2, "+a", "+b")
		see(2, true, 2)
		blind(0)
		give(resource.Batch{Changes: []resource.Change{site(t, reg, "a", 3), {Ref: site(t, reg, "b", 2).Ref, Revision: 3}}, At: at(3), Synced: true})
		see(0, false, 3, "+a", "-b")
		see(1, true, 3, "+a")
		see(2, false, 3)
		give(resource.Batch{Reset: true, Changes: []resource.Change{site(t, reg, "c", 4)}, At: at(4), Synced: true})
		see(0, false, 4, "+c", "-a")
		see(1, false, 4, "+c", "-a")
	})
}
