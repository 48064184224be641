package bytes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
)

// Reader reads an object from any place. It is not safe for concurrent use.
type Reader struct {
	Info
	f      *os.File
	sealer *sealer
	at     int64 // of content
	number int64 // of the segment in plain; -1 = none
	plain  []byte
	buf    []byte
}

// Open gives an object to an actor whom the caller has authorised. The audit log
// is told of it before (core/secret). What was changed on the disk is refused
// where it is read.
func (s *Store) Open(ctx context.Context, a identity.Actor, r Ref) (*Reader, error) {
	i, ref, err := s.find(ctx, r)
	if err != nil {
		return nil, err
	}
	v, err := s.opt.Keys.OpenOf(ctx, a, i.Owner, ref, purpose)
	if err != nil {
		return nil, err
	}
	defer v.Wipe()
	sealer, err := newSealer(r, v)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(s.path(r))
	if err != nil {
		return nil, fault.New(fault.Unavailable, "the bytes %s are lost", "字节对象 %s 已丢失", r).Because(err)
	}
	if st, err := f.Stat(); err != nil || st.Size() != i.Size+segments(i.Size)*tagSize {
		return nil, errors.Join(damaged(r), err, f.Close())
	}
	return &Reader{Info: i, f: f, sealer: sealer, number: -1, buf: make([]byte, segmentSize+tagSize)}, nil
}

func damaged(r Ref) error {
	return fault.New(fault.Unavailable, "the bytes %s were changed or cut on the disk", "字节对象 %s 在磁盘上被改动或截断", r)
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.at >= r.Size {
		if r.Size == 0 { // an empty object has a segment, too
			if err := r.load(0); err != nil {
				return 0, err
			}
		}
		return 0, io.EOF
	}
	if err := r.load(r.at / segmentSize); err != nil {
		return 0, err
	}
	n := copy(p, r.plain[r.at%segmentSize:])
	r.at += int64(n)
	return n, nil
}

// load opens a segment.
func (r *Reader) load(number int64) error {
	if r.number == number {
		return nil
	}
	r.number = -1
	start := number * segmentSize
	n := min(r.Size-start, segmentSize)
	b := r.buf[:n+tagSize]
	if _, err := r.f.ReadAt(b, number*(segmentSize+tagSize)); err != nil {
		return fmt.Errorf("read %s: %w", r.Ref, errors.Join(damaged(r.Ref), err))
	}
	plain, err := r.sealer.aead.Open(b[:0], nonce(uint32(number), start+n == r.Size), b, r.sealer.data)
	if err != nil {
		return damaged(r.Ref)
	}
	r.number, r.plain = number, plain
	return nil
}

// Seek implements io.Seeker.
func (r *Reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.Size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	r.at = offset
	return offset, nil
}

// Close forgets what was read.
func (r *Reader) Close() error {
	clear(r.buf)
	return r.f.Close()
}
