package events

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// unsealed writes count events as a crash leaves them: without an index.
func unsealed(t *testing.T, count int) (name string, content []byte) {
	t.Helper()
	dir := t.TempDir()
	l := mustOpen(t, Options{Dir: dir})
	fill(t, l, 0, count)
	files := segmentFiles(t, dir)
	if len(files) != 1 {
		t.Fatalf("segments: %v", files)
	}
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Base(files[0]), content
}

// frames are the offsets of the frames of a whole segment.
func frames(t *testing.T, content []byte) []int64 {
	t.Helper()
	var at []int64
	if _, d, err := scan(bytes.NewReader(content), int64(len(content)), func(o int64, _ []byte) error { at = append(at, o); return nil }); d != whole || err != nil {
		t.Fatal(d, err)
	}
	return at
}

func folderWith(t *testing.T, name string, content []byte) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestTornTailIsCutAtEveryByte(t *testing.T) {
	name, content := unsealed(t, 3)
	at := frames(t, content)
	tails := map[string][]byte{
		"zeros after a power cut": append(bytes.Clone(content[:at[2]]), make([]byte, 5000)...),
		"last frame is changed":   append(bytes.Clone(content[:len(content)-1]), 'x'),
	}
	for n := at[2] + 1; n < int64(len(content)); n++ {
		tails[string(content[at[2]:n])] = content[:n]
	}
	for what, b := range tails {
		var j journal
		dir := folderWith(t, name, b)
		l := mustOpen(t, Options{Dir: dir, Log: j.logger()})
		same(t, what, all(t, l, Query{}), names(0, 2, nil))
		l.Add(sample(3))
		mustFlush(t, l)
		same(t, what, all(t, l, Query{}), []string{"e0", "e1", "e3"})
		mustClose(t, l)
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, content[:at[2]]) || j.count("torn end") != 1 {
			t.Errorf("%s: %d bytes are left, %v, %s", what, len(got), err, j.buf.String())
		}
	}
}

func TestSegmentOfNothingIsRemoved(t *testing.T) {
	name, content := unsealed(t, 1)
	dir := folderWith(t, name, content[:20])
	l := mustOpen(t, Options{Dir: dir})
	if files := segmentFiles(t, dir); len(files) != 0 {
		t.Errorf("left: %v", files)
	}
	same(t, "all", all(t, l, Query{}), nil)
}

func TestCorruptedMiddleIsKeptAndReadUpToIt(t *testing.T) {
	name, content := unsealed(t, 5)
	at := frames(t, content)
	for what, offset := range map[string]int64{"length": at[2], "checksum": at[2] + 4, "event": at[2] + 50} {
		b := bytes.Clone(content)
		b[offset] ^= 0x80
		var j journal
		dir := folderWith(t, name, b)
		for range 2 { // the damage is found again, or known from the index
			l := mustOpen(t, Options{Dir: dir, Log: j.logger()})
			same(t, what, all(t, l, Query{}), names(0, 2, nil))
			mustClose(t, l)
		}
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, b) || j.count("level=ERROR") != 1 {
			t.Errorf("%s: %v %s", what, err, j.buf.String())
		}
	}
}

func TestDamageAfterSealing(t *testing.T) {
	var j journal
	dir := t.TempDir()
	l := mustOpen(t, Options{Dir: dir, Log: j.logger()})
	fill(t, l, 0, 600) // about four blocks
	mustClose(t, l)
	path := segmentFiles(t, dir)[0]
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[frames(t, content)[5]+20] ^= 1
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, Options{Dir: dir, Log: j.logger()})
	for range 2 {
		got := all(t, l, Query{Limit: 1000})
		if len(got) < 300 || len(got) >= 595 || got[4] != "e4" || got[len(got)-1] != "e599" {
			t.Errorf("%d events, %v …", len(got), got[:6])
		}
	}
	if j.count("level=ERROR") != 1 {
		t.Errorf("said: %s", j.buf.String())
	}
}

func TestIndexIsRebuiltWhenItIsNotTrue(t *testing.T) {
	for what, spoil := range map[string]func(index string) error{
		"missing":   os.Remove,
		"empty":     func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"cut":       func(p string) error { return os.Truncate(p, 100) },
		"a byte":    func(p string) error { return change(p, 200) },
		"its sum":   func(p string) error { return change(p, -1) },
		"of others": func(p string) error { return change(strings.TrimSuffix(p, ".idx")+".seg", -1) },
	} {
		dir := t.TempDir()
		l := mustOpen(t, Options{Dir: dir})
		fill(t, l, 0, 50)
		mustClose(t, l)
		path := segmentFiles(t, dir)[0]
		if err := spoil(indexPath(path)); err != nil {
			t.Fatal(err)
		}
		want := names(0, 50, nil)
		if what == "of others" {
			want = want[:49] // the last event was changed and counts as torn
		}
		l = mustOpen(t, Options{Dir: dir})
		same(t, what, all(t, l, Query{}), want)
		if _, err := loadIndex(path); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// change flips a bit of a file, counted from the end when at is negative.
func change(path string, at int) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1
	return os.WriteFile(path, b, 0o600)
}

func TestOpenTidiesTheFolder(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"1700000000000-1.idx", "1700000000000-2.idx.tmp", "notes.txt", "17-1.seg"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mustOpen(t, Options{Dir: dir})
	left, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(left) != 2 {
		t.Errorf("left: %v", left)
	}
}

func TestFilesAreForTheOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "events")
	l := mustOpen(t, Options{Dir: dir})
	fill(t, l, 0, 1)
	mustClose(t, l)
	for path, want := range map[string]os.FileMode{dir: 0o700, segmentFiles(t, dir)[0]: 0o600, indexPath(segmentFiles(t, dir)[0]): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
}

func FuzzScan(f *testing.F) {
	good := appendFrame(appendFrame(nil, []byte(`{"v":1}`)), []byte(`{"v":1,"time":"2026-03-01T12:00:00Z"}`))
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(append(good[:len(good):len(good)], make([]byte, 20)...))
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 0, 'x', 'y'})
	f.Fuzz(func(t *testing.T, b []byte) {
		count := 0
		valid, d, err := scan(bytes.NewReader(b), int64(len(b)), func(int64, []byte) error { count++; return nil })
		if err != nil || valid < 0 || valid > int64(len(b)) || (d == whole) != (valid == int64(len(b))) {
			t.Fatalf("valid %d of %d, damage %d, %v", valid, len(b), d, err)
		}
		again := 0
		if v, d, err := scan(bytes.NewReader(b[:valid]), valid, func(int64, []byte) error { again++; return nil }); v != valid || d != whole || err != nil || again != count {
			t.Fatalf("the valid part scans to %d %d %v, %d of %d events", v, d, err, again, count)
		}
	})
}

func FuzzParseIndex(f *testing.F) {
	x := newIndex()
	for n := range 5 {
		e := sample(n)
		e.Request = "r"
		x.add(&e, 400)
	}
	good, _ := x.encode(2000, 7)
	f.Add(good)
	f.Add(good[:indexHead])
	f.Fuzz(func(t *testing.T, b []byte) {
		y, err := parseIndex(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if _, err := y.readBlocks(bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		if _, err := find(bytes.NewReader(b), y.requestsAt(), y.requests, hash("r")); err != nil {
			t.Fatal(err)
		}
	})
}
