package events

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A segment is a sequence of frames: u32 length | u32 CRC-32C | event JSON,
// big endian. The checksum is of the JSON.
const frameHead = 8

// damage says why reading a segment stopped before its end.
type damage int

const (
	whole   damage = iota
	torn           // the last write was cut short, as by a crash: may be cut off
	corrupt        // bytes changed later: the rest is kept but not read
)

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func appendFrame(b, raw []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(raw)))
	b = binary.BigEndian.AppendUint32(b, checksum(raw))
	return append(b, raw...)
}

// errDamaged means a frame that fails its checksum.
type errDamaged struct{ at int64 }

func (e errDamaged) Error() string { return fmt.Sprintf("frame at byte %d is damaged", e.at) }

// cutFrame takes the first frame off b. ok is false when it is not whole.
func cutFrame(b []byte) (raw, rest []byte, ok bool) {
	if len(b) < frameHead {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint32(b))
	if n == 0 || n > maxEvent || len(b) < frameHead+n {
		return nil, nil, false
	}
	raw = b[frameHead : frameHead+n]
	if checksum(raw) != binary.BigEndian.Uint32(b[4:]) {
		return nil, nil, false
	}
	return raw, b[frameHead+n:], true
}

// readFrame reads the frame at offset at.
func readFrame(r io.ReaderAt, at int64) ([]byte, error) {
	b := make([]byte, frameHead+maxEvent)
	n, err := r.ReadAt(b, at)
	if err != nil && err != io.EOF {
		return nil, err
	}
	raw, _, ok := cutFrame(b[:n])
	if !ok {
		return nil, errDamaged{at}
	}
	return raw, nil
}

// scan calls found for each frame of a segment of size bytes, until one is bad
// or found refuses it. valid is where the bad one starts. raw is only good
// during the call.
func scan(r io.Reader, size int64, found func(at int64, raw []byte) error) (valid int64, d damage, err error) {
	in := bufio.NewReaderSize(r, 64<<10)
	buf := make([]byte, frameHead+maxEvent)
	for valid < size {
		if size-valid < frameHead {
			return valid, torn, nil
		}
		if _, err := io.ReadFull(in, buf[:frameHead]); err != nil {
			return valid, torn, notEnd(err)
		}
		n := int64(binary.BigEndian.Uint32(buf))
		switch {
		case n == 0 || n > maxEvent:
			d, err := emptyTail(in, buf[:frameHead])
			return valid, d, err
		case valid+frameHead+n > size:
			return valid, torn, nil
		}
		frame := buf[:frameHead+n]
		if _, err := io.ReadFull(in, frame[frameHead:]); err != nil {
			return valid, torn, notEnd(err)
		}
		raw, _, ok := cutFrame(frame)
		if !ok && valid+int64(len(frame)) == size {
			return valid, torn, nil
		}
		if !ok || found(valid, raw) != nil {
			return valid, corrupt, nil
		}
		valid += int64(len(frame))
	}
	return valid, whole, nil
}

// emptyTail tells the zeros that a file system leaves after a power cut from
// bytes that somebody wrote.
func emptyTail(in *bufio.Reader, head []byte) (damage, error) {
	for _, c := range head {
		if c != 0 {
			return corrupt, nil
		}
	}
	for {
		c, err := in.ReadByte()
		if err != nil {
			return torn, notEnd(err)
		}
		if c != 0 {
			return corrupt, nil
		}
	}
}

// notEnd drops the errors that only mean the end of the file.
func notEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
