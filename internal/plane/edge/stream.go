package edge

import (
	"io"
	"sync"
	"sync/atomic"
)

// bodyStream passes a body that is not inspected, up to the site's limit.
type bodyStream struct {
	from  *paced
	left  int64         // owned by the one reader
	taken atomic.Bool   // a byte was asked for
	moved *atomic.Int64 // nil, or counts what a call in both directions moves
	mu    sync.Mutex
	err   error // guarded by mu: why the client's body failed
}

// Read implements io.Reader.
func (s *bodyStream) Read(p []byte) (int, error) {
	s.taken.Store(true)
	if int64(len(p)) > s.left+1 {
		p = p[:s.left+1] // one more, to see a body that is too long
	}
	n, err := s.from.Read(p)
	if s.moved != nil {
		s.moved.Add(int64(n))
	}
	if s.left -= int64(n); s.left < 0 {
		n, err = 0, errTooLarge
	}
	switch {
	case err == io.EOF:
		s.from.clear()
	case err != nil:
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
	}
	return n, err
}

// Close implements io.Closer. The body stays open: net/http's server closes
// it, and another origin may still want it.
func (s *bodyStream) Close() error { return nil }

func (s *bodyStream) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
