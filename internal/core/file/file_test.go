package file_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/dun-sec/dun/internal/core/file"
)

func TestReplaceLeavesTheNewFileAloneInItsFolder(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	for _, text := range []string{"first, and longer", "second"} {
		if err := file.Replace(name, 0o640, []byte(text)); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(name)
		st, serr := os.Stat(name)
		if err != nil || serr != nil || string(b) != text || st.Mode() != 0o640 {
			t.Errorf("%q %v %v %v", b, st.Mode(), err, serr)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v %v", entries, err)
	}
}

func TestReplaceThatFailsLeavesTheOldAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "f")
	if err := os.MkdirAll(filepath.Join(name, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := file.Replace(name, 0o600, []byte("x")); err == nil {
		t.Error("a folder was replaced")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v %v", entries, err)
	}
	if err := file.Replace(filepath.Join(dir, "none", "f"), 0o600, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

func TestMakeDirsMakesWhatIsMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "c")
	for range 2 {
		if err := file.MakeDirs(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := os.Stat(path); err != nil || !st.IsDir() {
		t.Errorf("%v %v", st, err)
	}
	if err := os.WriteFile(filepath.Join(path, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := file.MakeDirs(filepath.Join(path, "f"), 0o700); err == nil {
		t.Error("a file is no folder")
	}
	if err := file.MakeDirs(filepath.Join(path, "f", "below"), 0o700); err == nil {
		t.Error("a file has nothing below it")
	}
}
