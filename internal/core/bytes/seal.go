package bytes

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/dun-sec/dun/internal/core/secret"
)

// An object is a row of segments, each sealed for its place and the last one as
// the last (STREAM: Hoang, Reyhanitabar, Rogaway, Vizár, CRYPTO 2015), under a
// key that seals nothing else. So none is cut off, moved or taken from another
// object unseen, and any can be read without those before it:
//
//	nonce    = 7 x 0 | u32 number of the segment | u8 1 for the last, else 0
//	data     = "dun/bytes/v1" | reference
//	segment  = AES-256-GCM of 64 KiB; the last one has 0 to 64 KiB
const (
	domain      = "dun/bytes/v1"
	keySize     = 32
	segmentSize = 64 << 10
	tagSize     = 16
	nonceSize   = 12
)

var errTooLong = errors.New("too long")

type sealer struct {
	aead cipher.AEAD
	data []byte
}

func newSealer(ref Ref, key secret.Value) (*sealer, error) {
	block, err := aes.NewCipher(key.Reveal())
	if err != nil {
		return nil, fmt.Errorf("the key of %s: %w", ref, err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("the key of %s: %w", ref, err)
	}
	return &sealer{aead, append([]byte(domain), ref...)}, nil
}

func nonce(number uint32, last bool) []byte {
	n := make([]byte, nonceSize)
	binary.BigEndian.PutUint32(n[7:], number)
	if last {
		n[11] = 1
	}
	return n
}

// sealTo seals what r gives, at most most bytes.
func sealTo(ctx context.Context, w io.Writer, ref Ref, key secret.Value, r io.Reader, most int64) (size int64, err error) {
	s, err := newSealer(ref, key)
	if err != nil {
		return 0, err
	}
	now, next := make([]byte, segmentSize), make([]byte, segmentSize)
	defer clear(now)
	defer clear(next)
	out := make([]byte, 0, segmentSize+tagSize)
	n, end, err := fill(r, now)
	for number := uint32(0); err == nil; number++ {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		var more int
		if !end {
			if more, end, err = fill(r, next); err != nil {
				break
			}
		}
		// One that is full is the last where nothing follows it.
		last := end && more == 0
		if size += int64(n); size > most {
			return 0, errTooLong
		}
		if _, err := w.Write(s.aead.Seal(out, nonce(number, last), now[:n], s.data)); err != nil {
			return 0, err
		}
		if last {
			return size, nil
		}
		now, next, n = next, now, more
	}
	return 0, err
}

// fill reads until b is full or r ends.
func fill(r io.Reader, b []byte) (n int, end bool, err error) {
	n, err = io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return n, true, nil
	}
	return n, false, err
}

// segments is how many an object of a size has: one at least.
func segments(size int64) int64 { return max(1, (size+segmentSize-1)/segmentSize) }
