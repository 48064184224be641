package disk

import (
	"bytes"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
)

const seeds = 300

func file(t *testing.T, d *Disk, dir *Node, name string) *Node {
	t.Helper()
	n, err := d.Make(dir, name, Attr{Mode: syscall.S_IFREG | 0o600})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestWhatWasSyncedSurvives plays random histories, syncs all of it and cuts.
func TestWhatWasSyncedSurvives(t *testing.T) {
	for seed := range uint64(seeds) {
		r := rand.New(rand.NewPCG(seed, 1))
		d := New()
		n := file(t, d, d.Root, "f")
		for range 30 {
			switch r.IntN(8) {
			case 0:
				d.Change(n, Attr{Mode: n.Attr.Mode, Size: r.Int64N(5000)})
			case 1:
				d.SyncFile(n)
			default:
				d.Write(n, r.Int64N(4000), bytes.Repeat([]byte{byte(r.IntN(255) + 1)}, 1+r.IntN(1500)))
			}
		}
		want := bytes.Clone(n.data)
		d.SyncFile(n)
		d.SyncDir(d.Root)
		if l := d.Cut(seed); l != (Lost{}) {
			t.Fatalf("seed %d: lost %+v", seed, l)
		}
		if got := d.Root.platted["f"]; got != n || !bytes.Equal(got.platter, want) || got.kept.Size != int64(len(want)) {
			t.Fatalf("seed %d: other bytes after the cut", seed)
		}
	}
}

// TestUnsyncedSectorsAreLostOneByOne overwrites four synced sectors twice.
func TestUnsyncedSectorsAreLostOneByOne(t *testing.T) {
	all := map[string]int{} // which version each sector has
	for seed := range uint64(seeds) {
		d := New()
		n := file(t, d, d.Root, "f")
		d.Write(n, 0, bytes.Repeat([]byte("a"), 4*Sector))
		d.SyncFile(n)
		d.SyncDir(d.Root)
		d.Write(n, 0, bytes.Repeat([]byte("b"), 4*Sector))
		d.Write(n, 0, bytes.Repeat([]byte("c"), 4*Sector))
		d.Cut(seed)
		var versions []byte
		for s := range 4 {
			sector := n.platter[s*Sector : (s+1)*Sector]
			if !bytes.Equal(sector, bytes.Repeat(sector[:1], Sector)) {
				t.Fatalf("seed %d: sector %d is torn", seed, s)
			}
			versions = append(versions, sector[0])
		}
		all[string(versions)]++
	}
	if all["aaaa"] == 0 || all["cccc"] == 0 || len(all) < 20 {
		t.Errorf("cuts are not at random: %v", all)
	}
}

// TestASectorNeverHoldsTheLaterWithoutTheEarlier writes two halves of one.
func TestASectorNeverHoldsTheLaterWithoutTheEarlier(t *testing.T) {
	all := map[string]int{}
	for seed := range uint64(seeds) {
		d := New()
		n := file(t, d, d.Root, "f")
		d.Write(n, 0, []byte("...."))
		d.SyncFile(n)
		d.Write(n, 0, []byte("ab"))
		d.Write(n, 2, []byte("cd"))
		d.Cut(seed)
		all[string(n.platter)]++
	}
	if all["..cd"] > 0 || all["...."] == 0 || all["ab.."] == 0 || all["abcd"] == 0 || len(all) != 3 {
		t.Errorf("%v", all)
	}
}

func TestAFileMayHaveGrownWithoutItsBytes(t *testing.T) {
	all := map[string]int{}
	for seed := range uint64(seeds) {
		d := New()
		n := file(t, d, d.Root, "f")
		d.Write(n, 0, []byte("new"))
		d.Cut(seed)
		if int64(len(n.platter)) != n.kept.Size {
			t.Fatalf("%d bytes, size %d", len(n.platter), n.kept.Size)
		}
		all[string(n.platter)]++
	}
	if all[""] == 0 || all["\x00\x00\x00"] == 0 || all["new"] == 0 || len(all) != 3 {
		t.Errorf("%v", all)
	}
}

// TestANameNeedsItsFoldersSync renames a synced file over another.
func TestANameNeedsItsFoldersSync(t *testing.T) {
	all := map[string]int{}
	for seed := range uint64(seeds) {
		d := New()
		for _, name := range []string{"old", "tmp"} {
			n := file(t, d, d.Root, name)
			d.Write(n, 0, []byte(name))
			d.SyncFile(n)
			if name == "old" {
				d.SyncDir(d.Root)
			}
		}
		if err := d.Rename(d.Root, "tmp", d.Root, "old", 0); err != nil {
			t.Fatal(err)
		}
		d.Cut(seed)
		got := string(d.Root.platted["old"].platter)
		if d.Root.platted["tmp"] != nil {
			got += "+tmp"
		}
		all[got]++
	}
	if all["old"] == 0 || all["old+tmp"] == 0 || all["tmp"] == 0 || len(all) != 3 {
		t.Errorf("%v", all)
	}
}

// TestARenameBetweenFoldersIsOneOperation also checks what a sync of one of
// them brings along.
func TestARenameBetweenFoldersIsOneOperation(t *testing.T) {
	moved := 0
	for seed := range uint64(seeds) {
		d := New()
		a, errA := d.Make(d.Root, "a", Attr{Mode: syscall.S_IFDIR | 0o700})
		b, errB := d.Make(d.Root, "b", Attr{Mode: syscall.S_IFDIR | 0o700})
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		file(t, d, a, "f")
		d.SyncDir(a)
		d.SyncDir(d.Root)
		file(t, d, b, "before")
		if err := d.Rename(a, "f", b, "f", 0); err != nil {
			t.Fatal(err)
		}
		file(t, d, b, "after")
		if seed%2 == 0 {
			d.SyncDir(a)
			if b.platted["before"] == nil || b.platted["f"] == nil || b.platted["after"] != nil {
				t.Fatal("a sync of one folder brings the rename and what the other had before it")
			}
		}
		d.Cut(seed)
		if (a.platted["f"] == nil) == (b.platted["f"] == nil) {
			t.Fatalf("seed %d: the file has two names or none", seed)
		}
		if b.platted["f"] != nil {
			moved++
		}
		if b.platted["after"] != nil && b.platted["f"] == nil {
			t.Fatalf("seed %d: a later operation survived an earlier one", seed)
		}
	}
	if moved <= seeds/2 || moved == seeds {
		t.Errorf("moved in %d of %d", moved, seeds)
	}
}

func TestACutRepeatsWithItsSeed(t *testing.T) {
	play := func() (*Disk, Lost) {
		d := New()
		for _, name := range []string{"x", "y", "z"} {
			d.Write(file(t, d, d.Root, name), 0, bytes.Repeat([]byte(name), 9000))
		}
		return d, d.Cut(7)
	}
	one, l1 := play()
	two, l2 := play()
	if l1 != l2 || l1.Sectors == 0 || len(one.Root.platted) != len(two.Root.platted) {
		t.Fatalf("%+v %+v", l1, l2)
	}
	for name, n := range one.Root.platted {
		if !bytes.Equal(n.platter, two.Root.platted[name].platter) {
			t.Errorf("%s differs", name)
		}
	}
}

func TestAPlainFolderHoldsTheDisk(t *testing.T) {
	d := New()
	sub, err := d.Make(d.Root, "sub", Attr{Mode: syscall.S_IFDIR | 0o750})
	if err != nil {
		t.Fatal(err)
	}
	n := file(t, d, sub, "f")
	d.Write(n, 0, []byte("text"))
	if _, err := d.Symlink(d.Root, "s", "sub/f"); err != nil {
		t.Fatal(err)
	}
	if err := d.Hard(n, d.Root, "hard"); err != nil {
		t.Fatal(err)
	}
	d.SyncFile(n)
	d.SyncDir(sub)
	d.SyncDir(d.Root)
	file(t, d, d.Root, "unsynced")
	path := t.TempDir()
	if err := os.WriteFile(path+"/earlier", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Store(path); err != nil {
		t.Fatal(err)
	}
	back, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if names := back.Names(back.Root); len(names) != 3 {
		t.Errorf("names %v", names)
	}
	if f := back.Lookup(back.Lookup(back.Root, "sub"), "f"); string(f.data) != "text" || f.Attr.Mode != syscall.S_IFREG|0o600 {
		t.Errorf("%q %o", f.data, f.Attr.Mode)
	}
	if s := back.Lookup(back.Root, "s"); s.Link != "sub/f" {
		t.Errorf("link %q", s.Link)
	}
}
