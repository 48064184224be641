package events

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
)

// segment is one file of events. Everything but path, number and start is
// guarded by Log.mu.
type segment struct {
	path   string
	number uint64 // order of the segments
	start  int64  // ms since 1970 when it was made

	x     *index // not nil: the index is in memory
	y     layout // otherwise it is in the file beside
	bytes int64  // on disk, index included
	said  bool   // damage was reported
}

// segmentFile is what the writer needs of a file.
type segmentFile interface {
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Sync() error
}

func createSegment(path string) (segmentFile, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
}

func segmentPath(dir string, start int64, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%013d-%d.seg", start, number))
}

// parseSegmentPath reads the start and the number out of a file name.
func parseSegmentPath(path string) (start int64, number uint64, ok bool) {
	m := regexp.MustCompile(`^(\d{13,15})-(\d{1,18})\.seg$`).FindStringSubmatch(filepath.Base(path))
	if m == nil {
		return 0, 0, false
	}
	start, err1 := strconv.ParseInt(m[1], 10, 64)
	number, err2 := strconv.ParseUint(m[2], 10, 64)
	return start, number, err1 == nil && err2 == nil && number > 0
}

// times is the range of the events in it.
func (s *segment) times() span {
	if s.x != nil {
		return s.x.times
	}
	return s.y.times
}

// sealedWith moves the index out of memory.
func (s *segment) sealedWith(y layout) {
	s.x, s.y, s.bytes = nil, y, y.fileSize+y.size()
}
