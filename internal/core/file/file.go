// Package file writes what must be there after a power cut: a file is old or
// new, never torn, and when a call returns, its name is on the disk too. It
// owns that order (write aside, sync, rename, sync the folder) and knows no
// content.
package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Temporary begins the name of every file that Replace has not finished; a
// process that was killed may leave one.
const Temporary = ".new-"

// Replace writes b to name with the mode. Its folder must exist.
func Replace(name string, mode fs.FileMode, b []byte) error {
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, Temporary+"*") // 0600
	if err != nil {
		return fmt.Errorf("replace file: %w", err)
	}
	defer os.Remove(f.Name())
	_, werr := f.Write(b)
	if err := errors.Join(werr, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("replace file: %w", err)
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return fmt.Errorf("replace file: %w", err)
	}
	return SyncDir(dir)
}

// SyncDir puts the names in a folder on the disk: without it a file that was
// made, renamed or synced may be gone after a power cut.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}

// MakeDirs makes a folder and what is missing above it with the mode, and
// syncs the name of each that it made.
func MakeDirs(path string, mode fs.FileMode) error {
	err := os.Mkdir(path, mode)
	parent := filepath.Dir(path)
	if errors.Is(err, fs.ErrNotExist) && parent != path {
		if err := MakeDirs(parent, mode); err != nil {
			return err
		}
		err = os.Mkdir(path, mode)
	}
	if err == nil {
		return SyncDir(parent)
	}
	if st, statErr := os.Stat(path); statErr == nil && st.IsDir() {
		return nil // also where a read-only parent refuses the attempt
	}
	return fmt.Errorf("make folder: %w", err)
}
