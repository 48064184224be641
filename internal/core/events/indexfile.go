package events

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sort"
	"strings"
)

func indexPath(segment string) string { return strings.TrimSuffix(segment, ".seg") + ".idx" }

// writeIndex writes the index of a segment beside it, whole or not at all.
func writeIndex(segment string, x *index) (layout, error) {
	info, err := os.Stat(segment)
	if err != nil {
		return layout{}, fmt.Errorf("write index: %w", err)
	}
	tail, err := tailSum(segment, info.Size())
	if err != nil {
		return layout{}, fmt.Errorf("write index: %w", err)
	}
	b, y := x.encode(info.Size(), tail)
	temporary := indexPath(segment) + ".tmp"
	if err := os.WriteFile(temporary, b, 0o600); err != nil {
		os.Remove(temporary) // room for the next try; recovery removes it otherwise
		return layout{}, fmt.Errorf("write index: %w", err)
	}
	if err := os.Rename(temporary, indexPath(segment)); err != nil {
		return layout{}, fmt.Errorf("write index: %w", err)
	}
	return y, nil
}

// loadIndex reads the layout of an index file. It fails when the file is
// missing, damaged or of another segment file.
func loadIndex(segment string) (layout, error) {
	f, err := os.Open(indexPath(segment))
	if err != nil {
		return layout{}, fmt.Errorf("load index: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return layout{}, fmt.Errorf("load index: %w", err)
	}
	y, err := parseIndex(f, info.Size())
	if err != nil {
		return layout{}, fmt.Errorf("load index: %w", err)
	}
	if info, err = os.Stat(segment); err != nil {
		return layout{}, fmt.Errorf("load index: %w", err)
	}
	tail, err := tailSum(segment, info.Size())
	if err != nil {
		return layout{}, fmt.Errorf("load index: %w", err)
	}
	if info.Size() != y.fileSize || tail != y.tail {
		return layout{}, errors.New("load index: it is of another segment")
	}
	return y, nil
}

// parseIndex reads the head of an index and checks the sum of all of it.
func parseIndex(r io.Reader, size int64) (layout, error) {
	head := make([]byte, indexHead)
	if _, err := io.ReadFull(r, head); err != nil {
		return layout{}, err
	}
	if string(head[:len(indexMagic)]) != indexMagic {
		return layout{}, errors.New("unknown format")
	}
	b := head[len(indexMagic):]
	y := layout{
		fileSize: int64(binary.BigEndian.Uint64(b)),
		end:      int64(binary.BigEndian.Uint64(b[8:])),
		tail:     binary.BigEndian.Uint32(b[16:]),
		count:    binary.BigEndian.Uint64(b[20:]),
		times:    span{int64(binary.BigEndian.Uint64(b[28:])), int64(binary.BigEndian.Uint64(b[36:]))},
		blocks:   int(binary.BigEndian.Uint32(b[44:])),
		tenants:  int(binary.BigEndian.Uint32(b[48:])),
		requests: int(binary.BigEndian.Uint32(b[52:])),
	}
	if y.size() != size || y.end < 0 || y.end > y.fileSize || y.fileSize > maxSegment {
		return layout{}, errors.New("sizes do not agree")
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	sum.Write(head)
	if _, err := io.CopyN(sum, r, size-int64(indexHead)-4); err != nil {
		return layout{}, err
	}
	var want [4]byte
	if _, err := io.ReadFull(r, want[:]); err != nil {
		return layout{}, err
	}
	if sum.Sum32() != binary.BigEndian.Uint32(want[:]) {
		return layout{}, errors.New("checksum differs")
	}
	return y, nil
}

// tailSum is the checksum of the last bytes of a segment file.
func tailSum(segment string, size int64) (uint32, error) {
	f, err := os.Open(segment)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b := make([]byte, min(size, tailBytes))
	if _, err := f.ReadAt(b, size-int64(len(b))); err != nil && len(b) > 0 {
		return 0, err
	}
	return checksum(b), nil
}

// readBlocks reads the time index.
func (y layout) readBlocks(r io.ReaderAt) ([]block, error) {
	b := make([]byte, y.blocks*blockSize)
	if _, err := r.ReadAt(b, int64(indexHead)); err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	list := make([]block, y.blocks)
	for i := range list {
		k := b[i*blockSize:]
		list[i] = block{binary.BigEndian.Uint32(k), int64(binary.BigEndian.Uint64(k[4:])), int64(binary.BigEndian.Uint64(k[12:]))}
	}
	return list, nil
}

// find returns the second half of every pair with the hash, in a sorted table
// of n pairs at offset at: about log2 n reads of 12 bytes.
func find(r io.ReaderAt, at int64, n int, hash uint64) ([]uint32, error) {
	var failed error
	pair := func(i int) request {
		var b [pairSize]byte
		if _, err := r.ReadAt(b[:], at+int64(i)*pairSize); err != nil {
			failed = fmt.Errorf("read index: %w", err)
		}
		return request{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint32(b[8:])}
	}
	var found []uint32
	for i := sort.Search(n, func(i int) bool { return pair(i).hash >= hash }); i < n && failed == nil; i++ {
		p := pair(i)
		if p.hash != hash {
			break
		}
		found = append(found, p.at)
	}
	return found, failed
}
