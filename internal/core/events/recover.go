package events

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// recover lists the segments of the folder, sealed and indexed. It runs before
// the writer starts.
func (l *Log) recover() ([]*segment, error) {
	entries, err := os.ReadDir(l.opt.Dir)
	if err != nil {
		return nil, err
	}
	var list []*segment
	for _, e := range entries {
		path := filepath.Join(l.opt.Dir, e.Name())
		switch start, number, ok := parseSegmentPath(path); {
		case ok:
			s := &segment{path: path, start: start, number: number}
			if kept, err := l.recoverSegment(s); err != nil {
				return nil, err
			} else if kept {
				list = append(list, s)
			}
		case strings.HasSuffix(path, ".idx.tmp"):
			os.Remove(path)
		case strings.HasSuffix(path, ".idx"):
			// Retention removes the segment first; a stop in between leaves this.
			if _, err := os.Stat(strings.TrimSuffix(path, ".idx") + ".seg"); os.IsNotExist(err) {
				os.Remove(path)
			}
		}
	}
	slices.SortFunc(list, func(a, b *segment) int { return cmp.Compare(a.number, b.number) })
	for i := 1; i < len(list); i++ {
		if list[i].number == list[i-1].number {
			return nil, fmt.Errorf("two segments have the number %d", list[i].number)
		}
	}
	return list, nil
}

// recoverSegment makes sure that a segment has a true index. An unsealed
// segment loses a torn tail; one that was damaged later is kept as it is and
// read up to the damage. kept is false when nothing was in it.
func (l *Log) recoverSegment(s *segment) (kept bool, err error) {
	if y, err := loadIndex(s.path); err == nil {
		s.sealedWith(y)
		return true, nil
	}
	x, size, d, err := scanSegment(s.path)
	if err != nil {
		return false, fmt.Errorf("recover %s: %w", filepath.Base(s.path), err)
	}
	switch d {
	case torn:
		l.opt.Log.Warn("events: cut the torn end of a segment", "name", filepath.Base(s.path),
			"err", fmt.Sprintf("%d bytes after the last whole event", size-x.end))
		if err := os.Truncate(s.path, x.end); err != nil {
			return false, fmt.Errorf("recover %s: %w", filepath.Base(s.path), err)
		}
		size = x.end
	case corrupt:
		s.said = true
		l.opt.Log.Error("events: a segment is damaged and read no further", "name", filepath.Base(s.path),
			"err", fmt.Sprintf("bad frame at byte %d of %d", x.end, size))
	}
	if size == 0 {
		os.Remove(indexPath(s.path))
		if err := os.Remove(s.path); err != nil {
			return false, fmt.Errorf("recover %s: %w", filepath.Base(s.path), err)
		}
		return false, nil
	}
	y, err := writeIndex(s.path, x)
	if err != nil { // a full disk must not keep Dun from starting
		l.opt.Log.Error("events: keep an index in memory", "name", filepath.Base(s.path), "err", err)
		s.x, s.bytes = x, size
		return true, nil
	}
	s.sealedWith(y)
	return true, nil
}

// scanSegment builds the index of a segment file by reading it all.
func scanSegment(path string) (x *index, size int64, d damage, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, whole, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, whole, err
	}
	if info.Size() > maxSegment {
		return nil, 0, whole, fmt.Errorf("%d bytes are more than a segment can have", info.Size())
	}
	x = newIndex()
	_, d, err = scan(f, info.Size(), func(_ int64, raw []byte) error {
		e, err := decode(raw)
		if err == nil {
			x.add(&e, frameHead+len(raw))
		}
		return err
	})
	return x, info.Size(), d, err
}
