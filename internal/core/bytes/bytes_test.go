package bytes_test

import (
	stdbytes "bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/bytes"
	"github.com/dun-sec/dun/internal/core/db"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
)

var (
	me    = identity.Service("test")
	owner = resource.Ref{Kind: "Attack", Tenant: "acme", Name: "flood", UID: "u"}
)

// place is a store in a folder, with the uses of its keys.
type place struct {
	*bytes.Store
	t    *testing.T
	dir  string
	opt  bytes.Options
	mu   sync.Mutex
	uses []secret.Use
	now  time.Time
}

func open(t *testing.T) *place {
	t.Helper()
	p := &place{t: t, dir: t.TempDir(), now: time.Now()}
	k, err := secret.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(p.dir, "root.key")
	if err := k.Write(root); err != nil {
		t.Fatal(err)
	}
	d, err := db.OpenSQLite(t.Context(), filepath.Join(p.dir, "meta.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	keys, err := secret.Open(t.Context(), secret.Options{DB: d, KeyFile: root, Record: func(_ context.Context, _ identity.Actor, u secret.Use) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.uses = append(p.uses, u)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	p.opt = bytes.Options{DB: d, Dir: filepath.Join(p.dir, "bytes"), Keys: keys, Now: func() time.Time { return p.now }}
	p.again()
	return p
}

// again is a start.
func (p *place) again() {
	p.t.Helper()
	var err error
	if p.Store, err = bytes.Open(p.t.Context(), p.opt); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) put(b []byte, retain time.Time) bytes.Info {
	p.t.Helper()
	i, err := p.Put(p.t.Context(), me, owner, retain, stdbytes.NewReader(b), int64(len(b))+1)
	if err != nil {
		p.t.Fatal(err)
	}
	return i
}

func (p *place) read(r bytes.Ref) ([]byte, error) {
	p.t.Helper()
	f, err := p.Open(p.t.Context(), me, r)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	r.Read(b)
	return b
}

func TestWhatIsPutIsOpened(t *testing.T) {
	p := open(t)
	for _, n := range []int{0, 1, 65535, 65536, 65537, 131072, 1_000_000} {
		want := random(n)
		i := p.put(want, time.Time{})
		if !i.Ref.Valid() || i.Size != int64(n) || i.Owner != owner {
			t.Errorf("%+v", i)
		}
		p.again()
		got, err := p.read(i.Ref)
		if err != nil || !stdbytes.Equal(got, want) {
			t.Errorf("%d bytes: %d came back, %v", n, len(got), err)
		}
		f, err := p.Open(t.Context(), me, i.Ref)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if n == 0 {
				break
			}
			at := rand.IntN(n)
			part := make([]byte, min(100, n-at))
			if _, err := f.Seek(int64(at), io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(f, part); err != nil || !stdbytes.Equal(part, want[at:at+len(part)]) {
				t.Errorf("at %d of %d: %v", at, n, err)
			}
		}
		f.Close()
	}
	if n := len(p.uses); n < 14 {
		t.Errorf("the audit log was told of %d uses", n)
	}
}

// TestNothingIsPlainOnTheDisk looks for the content in every file.
func TestNothingIsPlainOnTheDisk(t *testing.T) {
	p := open(t)
	canary := []byte("a canary that nobody may find on this disk")
	i := p.put(stdbytes.Repeat(canary, 5000), time.Time{})
	found := func(word []byte) (out []string) {
		err := filepath.Walk(p.dir, func(path string, st os.FileInfo, err error) error {
			if err != nil || st.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if stdbytes.Contains(b, word) {
				out = append(out, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if at := found(canary); len(at) > 0 {
		t.Errorf("found in %v", at)
	}
	if at := found([]byte(owner.Name)); len(at) == 0 {
		t.Error("the search finds nothing that is there")
	}
	file := filepath.Join(p.opt.Dir, string(i.Ref))
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st, err)
	}
}

func TestChangedBytesAreRefused(t *testing.T) {
	p := open(t)
	want := random(200_000)
	a, b := p.put(want, time.Time{}), p.put(random(200_000), time.Time{})
	fileOf := func(i bytes.Info) string { return filepath.Join(p.opt.Dir, string(i.Ref)) }
	whole, err := os.ReadFile(fileOf(a))
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(fileOf(b))
	if err != nil {
		t.Fatal(err)
	}
	const segment = 64<<10 + 16
	for what, change := range map[string]func() []byte{
		"a bit":             func() []byte { c := stdbytes.Clone(whole); c[100_000] ^= 1; return c },
		"cut":               func() []byte { return whole[:len(whole)-1] },
		"a segment cut off": func() []byte { return whole[:segment*3] },
		"longer":            func() []byte { return append(stdbytes.Clone(whole), 0) },
		"segments swapped": func() []byte {
			c := stdbytes.Clone(whole)
			copy(c, whole[segment:2*segment])
			copy(c[segment:], whole[:segment])
			return c
		},
		"another object's": func() []byte { return other },
		"a segment of another's": func() []byte {
			c := stdbytes.Clone(whole)
			copy(c[segment:], other[segment:2*segment])
			return c
		},
		"nothing": func() []byte { return nil },
	} {
		if err := os.WriteFile(fileOf(a), change(), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := p.read(a.Ref); !fault.Is(err, fault.Unavailable) && !errors.Is(err, io.ErrUnexpectedEOF) || stdbytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", what, len(got), err)
		}
	}
	if err := os.WriteFile(fileOf(a), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := p.read(a.Ref); err != nil || !stdbytes.Equal(got, want) {
		t.Errorf("put back: %v", err)
	}
}

func TestRetainAndErase(t *testing.T) {
	p := open(t)
	i := p.put([]byte("evidence"), p.now.Add(time.Hour))
	if err := p.Erase(t.Context(), me, i.Ref); !fault.Is(err, fault.Conflict) {
		t.Errorf("held: %v", err)
	}
	if err := p.Retain(t.Context(), i.Ref, p.now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got, err := p.Stat(t.Context(), i.Ref); err != nil || got.Retain.Before(p.now.Add(59*time.Minute)) {
		t.Errorf("it was made shorter: %+v %v", got, err)
	}
	if list, err := p.Expired(t.Context(), p.now.Add(time.Hour), 10); err != nil || len(list) != 0 {
		t.Errorf("%v %v", list, err)
	}
	p.now = p.now.Add(2 * time.Hour)
	if list, err := p.Expired(t.Context(), p.now, 10); err != nil || len(list) != 1 || list[0].Ref != i.Ref {
		t.Errorf("%v %v", list, err)
	}
	if err := p.Erase(t.Context(), me, i.Ref); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"open": second(p.read(i.Ref)), "stat": second(p.Stat(t.Context(), i.Ref)), "erase": p.Erase(t.Context(), me, i.Ref), "retain": p.Retain(t.Context(), i.Ref, p.now)} {
		if !fault.Is(err, fault.NotFound) {
			t.Errorf("%s after it was erased: %v", what, err)
		}
	}
	if list, err := os.ReadDir(p.opt.Dir); err != nil || len(list) != 0 {
		t.Errorf("%v %v", list, err)
	}
	// A copy of the file that was made before opens no more: its key is gone.
	last := p.uses[len(p.uses)-1]
	if last.Action != secret.ActionDelete {
		t.Errorf("the last use is %+v", last)
	}
}

func second[T any](_ T, err error) error { return err }

// failing ends with an error of its own.
type failing struct {
	r   io.Reader
	err error
}

func (f failing) Read(b []byte) (int, error) {
	n, err := f.r.Read(b)
	if errors.Is(err, io.EOF) {
		err = f.err
	}
	return n, err
}

func TestNothingStaysOfWhatFails(t *testing.T) {
	p := open(t)
	p.opt.Room = 1 << 20
	p.again()
	broken := errors.New("the wire was cut")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for what, x := range map[string]struct {
		ctx  context.Context
		r    io.Reader
		most int64
		want func(error) bool
	}{
		"longer than said":    {t.Context(), strings.NewReader("12345"), 4, func(err error) bool { return fault.Is(err, fault.Invalid) }},
		"more than is free":   {t.Context(), strings.NewReader("1"), 2 << 20, func(err error) bool { return fault.Is(err, fault.Exhausted) }},
		"the source breaks":   {t.Context(), failing{strings.NewReader("123"), broken}, 100, func(err error) bool { return errors.Is(err, broken) }},
		"who put it has left": {gone, strings.NewReader("123"), 100, func(err error) bool { return err != nil }},
	} {
		if _, err := p.Put(x.ctx, me, owner, time.Time{}, x.r, x.most); !x.want(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if list, err := os.ReadDir(p.opt.Dir); err != nil || len(list) != 0 {
		t.Errorf("%v %v", list, err)
	}
	if _, err := p.Put(t.Context(), me, owner, time.Time{}, strings.NewReader("x"), 1<<20); err != nil {
		t.Errorf("the room was not given back: %v", err)
	}
}

// TestACrashLeavesNothing starts again after each place where a process may be
// cut: rows that were not whole, and files without a row.
func TestACrashLeavesNothing(t *testing.T) {
	p := open(t)
	kept := p.put([]byte("kept"), time.Time{})
	torn := p.put([]byte("torn"), time.Time{})
	if _, err := p.opt.DB.Writer.Exec(`UPDATE bytes SET whole = 0 WHERE ref = ?`, torn.Ref); err != nil {
		t.Fatal(err)
	}
	stray := filepath.Join(p.opt.Dir, strings.Replace(string(kept.Ref), string(kept.Ref[4:8]), "aaaa", 1))
	if err := os.WriteFile(stray, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.again()
	list, err := os.ReadDir(p.opt.Dir)
	if err != nil || len(list) != 1 || list[0].Name() != string(kept.Ref) {
		t.Errorf("%v %v", list, err)
	}
	if _, err := p.read(torn.Ref); !fault.Is(err, fault.NotFound) {
		t.Errorf("torn: %v", err)
	}
	if b, err := p.read(kept.Ref); err != nil || string(b) != "kept" {
		t.Errorf("%q %v", b, err)
	}
}

func TestManyAtOnceKeepWithinTheRoom(t *testing.T) {
	p := open(t)
	p.opt.Room = 10_000
	p.again()
	var run sync.WaitGroup
	var mu sync.Mutex
	good := 0
	for n := range 40 {
		run.Go(func() {
			_, err := p.Put(t.Context(), me, owner, time.Time{}, strings.NewReader(fmt.Sprintf("%1000d", n)), 1000)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				good++
			} else if !fault.Is(err, fault.Exhausted) {
				t.Error(err)
			}
		})
	}
	run.Wait()
	if good != 10 {
		t.Errorf("%d of 1000 bytes are in a room of 10 000", good)
	}
}

func TestReferencesAreStrict(t *testing.T) {
	p := open(t)
	for _, r := range []bytes.Ref{"", "b-", "../meta.db", "b-../../x", "b-" + bytes.Ref(strings.Repeat("a", 25)), "s-" + bytes.Ref(strings.Repeat("a", 26))} {
		if r.Valid() {
			t.Errorf("%q is one", r)
		}
		if _, err := p.read(r); !fault.Is(err, fault.NotFound) {
			t.Errorf("%q: %v", r, err)
		}
	}
}

// FuzzObject flips what lies on the disk: it is refused, or as it was.
func FuzzObject(f *testing.F) {
	f.Add(uint32(0), byte(1), uint32(0))
	f.Add(uint32(70_000), byte(0x80), uint32(1))
	f.Fuzz(func(t *testing.T, at uint32, bit byte, cut uint32) {
		p := open(t)
		want := random(70_000)
		i := p.put(want, time.Time{})
		name := filepath.Join(p.opt.Dir, string(i.Ref))
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b[int(at)%len(b)] ^= bit
		b = b[:len(b)-int(cut)%len(b)]
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := p.read(i.Ref)
		if changed := bit != 0 || int(cut)%len(b) != 0; err == nil && (changed || !stdbytes.Equal(got, want)) && !stdbytes.Equal(got, want) {
			t.Fatal("changed bytes were given")
		}
	})
}
