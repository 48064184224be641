package supervisor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
)

var nobody = User{65534, 65534}

func anything(string) error { return nil }

// needRoot fails: who cannot give a file away cannot test that.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("giving files away needs root: run the tests as root")
	}
}

func owner(t *testing.T, path string) uint32 {
	t.Helper()
	st, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.Sys().(*syscall.Stat_t).Uid
}

// dataDir is a directory with some of what Dun makes, owned by root.
func dataDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.MkdirAll(filepath.Join(dir, "events/2026"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"VERSION", "records.db-wal", "events/2026/a"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestADirectoryOfRootIsTakenOver(t *testing.T) {
	needRoot(t)
	dir := dataDir(t)
	for range 2 { // again, with nothing left to do
		got, err := give(dir, nobody, anything)
		if err != nil || got != dir {
			t.Fatal(got, err)
		}
	}
	for _, name := range []string{"", "VERSION", "records.db-wal", "events", "events/2026", "events/2026/a"} {
		if uid := owner(t, filepath.Join(dir, name)); uid != nobody.UID {
			t.Errorf("%s belongs to %d", name, uid)
		}
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", st.Mode(), err)
	}
}

func TestANewDirectoryIsMade(t *testing.T) {
	needRoot(t)
	above := t.TempDir()
	dir := filepath.Join(above, "a/b/d")
	if _, err := give(dir, nobody, anything); err != nil {
		t.Fatal(err)
	}
	if owner(t, dir) != nobody.UID || owner(t, filepath.Dir(dir)) != 0 {
		t.Error("the directory is the user's, what lies above stays root's")
	}
}

// TestNothingElseIsGivenAway: each of these is refused, and nothing in the
// directory has changed hands when it is.
func TestNothingElseIsGivenAway(t *testing.T) {
	needRoot(t)
	for name, plant := range map[string]func(dir, outside string) error{
		"symbolic link":    func(dir, outside string) error { return os.Symlink(outside, filepath.Join(dir, "events/x")) },
		"link as a folder": func(dir, outside string) error { return os.Symlink(filepath.Dir(outside), filepath.Join(dir, "keys")) },
		"hard link":        func(dir, outside string) error { return os.Link(outside, filepath.Join(dir, "events/x")) },
		"third user":       func(dir, _ string) error { return os.Chown(filepath.Join(dir, "VERSION"), 4711, 4711) },
		"third user's":     func(dir, _ string) error { return os.Chown(dir, 4711, 4711) },
		"pipe":             func(dir, _ string) error { return syscall.Mkfifo(filepath.Join(dir, "run"), 0o600) },
		"not Dun's":        func(dir, _ string) error { return os.WriteFile(filepath.Join(dir, "thesis.tex"), nil, 0o600) },
		"too deep":         func(dir, _ string) error { return os.MkdirAll(dir+"/events"+strings.Repeat("/d", depth+1), 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, outside := dataDir(t), filepath.Join(t.TempDir(), "secret")
			if err := os.WriteFile(outside, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := plant(dir, outside); err != nil {
				t.Fatal(err)
			}
			if _, err := give(dir, nobody, anything); !fault.Is(err, fault.Invalid) {
				t.Errorf("got %v", err)
			}
			if owner(t, outside) != 0 || owner(t, filepath.Join(dir, "events/2026/a")) != 0 {
				t.Error("something was given away")
			}
		})
	}
}

func TestFoldersOfTheSystemAndLinksAreRefused(t *testing.T) {
	link := filepath.Join(t.TempDir(), "l")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"/", "/etc", "/home", "/tmp/../root", "/proc/self/x", "/var/lib", link} {
		if _, err := give(dir, nobody, func(string) error { return errors.New("looked too late") }); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestARefusedFolderIsNotTouched(t *testing.T) {
	needRoot(t)
	dir, want := dataDir(t), errors.New("not ours")
	if _, err := give(dir, nobody, func(string) error { return want }); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o755 || owner(t, dir) != 0 {
		t.Error("it was changed")
	}
}

func TestWhichFolderIsClosed(t *testing.T) {
	needRoot(t)
	base, err := os.MkdirTemp("/tmp", "dun-closed-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	dir := filepath.Join(base, "home/x/d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		mode os.FileMode
		want string
	}{{0o755, ""}, {0o711, ""}, {0o750, base}, {0o700, base}} {
		if err := os.Chmod(base, x.mode); err != nil {
			t.Fatal(err)
		}
		if got, err := closed(dir, nobody); err != nil || got != x.want {
			t.Errorf("%o: %q %v, want %q", x.mode, got, err, x.want)
		}
	}
}

func TestUsers(t *testing.T) {
	for name, want := range map[string]User{"root": {0, 0}, "0": {0, 0}, "4711": {4711, 4711}} {
		if u, err := FindUser(name); err != nil || u != want {
			t.Errorf("%s: %v %v", name, u, err)
		}
	}
	for _, name := range []string{"no-such-user-here", "-1", "4294967295", "99999999999"} {
		if u, err := FindUser(name); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v %v", name, u, err)
		}
	}
	if u, err := FindUser(""); err != nil || u.Root() {
		t.Errorf("the standard is %v %v", u, err)
	}
}
