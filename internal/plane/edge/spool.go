package edge

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
)

// spoolBudget is what all buffered request bodies together may hold.
type spoolBudget struct {
	dir           string
	memory, disk  int64
	inMem, onDisk atomic.Int64
}

func take(used *atomic.Int64, n, limit int64) bool {
	if used.Add(n) > limit {
		used.Add(-n)
		return false
	}
	return true
}

var (
	errTooLarge  = errors.New("request body over the limit")
	errSpoolFull = errors.New("no room for request bodies")
)

// spool is one request body: memoryBody bytes in memory, the rest in a file
// that has no name any more, so that no crash leaves a body behind.
type spool struct {
	budget   *spoolBudget
	mem      []byte
	reserved int64 // of the memory budget
	file     *os.File
	inFile   int64
}

const spoolStep = 4 << 10 // smallest reservation of memory

// fill reads r to its end. It fails with errTooLarge after limit bytes, with
// errSpoolFull when the process has no room, and with the reader's error. The
// caller closes the spool in each case.
func (s *spool) fill(r io.Reader, limit int64, chunk []byte) error {
	for {
		n, err := r.Read(chunk)
		if n > 0 {
			if s.size()+int64(n) > limit {
				return errTooLarge
			}
			if werr := s.write(chunk[:n]); werr != nil {
				return werr
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *spool) size() int64 { return int64(len(s.mem)) + s.inFile }

func (s *spool) write(p []byte) error {
	if room := memoryBody - len(s.mem); room > 0 && s.file == nil {
		head := p[:min(room, len(p))]
		if err := s.grow(len(head)); err != nil {
			return err
		}
		s.mem = append(s.mem, head...)
		p = p[len(head):]
	}
	if len(p) == 0 {
		return nil
	}
	if s.file == nil {
		f, err := anonymous(s.budget.dir)
		if err != nil {
			return err
		}
		s.file = f
	}
	if !take(&s.budget.onDisk, int64(len(p)), s.budget.disk) {
		return errSpoolFull
	}
	s.inFile += int64(len(p)) // before the write: close gives back what was taken
	if _, err := s.file.Write(p); err != nil {
		return fmt.Errorf("write request body: %w", err)
	}
	return nil
}

// grow makes room for n bytes and reserves what the slice will really hold.
func (s *spool) grow(n int) error {
	if need := len(s.mem) + n; need > cap(s.mem) {
		size := min(max(2*cap(s.mem), need, spoolStep), memoryBody)
		if !take(&s.budget.inMem, int64(size)-s.reserved, s.budget.memory) {
			return errSpoolFull
		}
		s.reserved = int64(size)
		s.mem = append(make([]byte, 0, size), s.mem...)
	}
	return nil
}

// reader gives the body from its start; many may read at once.
func (s *spool) reader() io.Reader {
	if s.file == nil {
		return bytes.NewReader(s.mem)
	}
	return io.MultiReader(bytes.NewReader(s.mem), io.NewSectionReader(s.file, 0, s.inFile))
}

func (s *spool) close() {
	if s.reserved > 0 {
		s.budget.inMem.Add(-s.reserved)
	}
	if s.file != nil {
		s.budget.onDisk.Add(-s.inFile)
		s.file.Close()
	}
	*s = spool{budget: s.budget}
}

// anonymous opens a file without a name.
func anonymous(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "spool-*")
	if err != nil {
		return nil, fmt.Errorf("create spool file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("unlink spool file: %w", err)
	}
	return f, nil
}

// spoolDir makes the directory of our own below dir and empties it of what a
// crash left. Another edge that uses the same directory loses names only, not
// open files. Without dir it is a fresh one, since a fixed name in the
// system's shared directory could be anybody's.
func spoolDir(dir string) (string, error) {
	if dir == "" {
		d, err := os.MkdirTemp("", "dun-edge-")
		if err != nil {
			return "", fmt.Errorf("make spool directory: %w", err)
		}
		return d, nil
	}
	dir = filepath.Join(dir, "edge-bodies")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make spool directory: %w", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("list spool directory: %w", err)
	}
	for _, f := range left {
		if f.Type().IsRegular() {
			os.Remove(filepath.Join(dir, f.Name()))
		}
	}
	return dir, nil
}
