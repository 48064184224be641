// Package audit is the arithmetic of the audit log: leaves and their salted
// commitments, the RFC 6962 tree, signed checkpoints, and the bundles that an
// auditor verifies on a machine of his own.
//
// It owns the byte formats "dun/leaf/v1", "dun/commit/v1" and "dun/bundle/1",
// which are kept for ever. It never touches a database, a clock or a log, and
// it never stores a salt: whoever holds the salts decides what can be erased.
package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Class says what kind of fact a leaf proves.
type Class uint8

// The classes, 1 to 7; the numbers are in the leaf and never change.
const (
	Change Class = iota + 1
	Login
	Denial
	Export
	Check
	Erasure
	Restore
)

// String is the lower-case name of the class, or its number when unknown.
func (c Class) String() string {
	switch c {
	case Change:
		return "change"
	case Login:
		return "login"
	case Denial:
		return "denial"
	case Export:
		return "export"
	case Check:
		return "check"
	case Erasure:
		return "erasure"
	case Restore:
		return "restore"
	}
	return "class " + strconv.Itoa(int(c))
}

const (
	leafPrefix = "dun/leaf/v1\n"
	hashSize   = 32
	// fixed fields: seq, revision, time, class, two string lengths
	leafMin = len(leafPrefix) + 8 + 8 + 8 + 1 + 1 + 1 + Fields*hashSize
	// MaxLeaf is the longest leaf in bytes.
	MaxLeaf = leafMin + 255 + 255
)

// Leaf is one entry of the log. It holds no readable personal data: what it
// commits to lies elsewhere, with the salts, and can be erased.
type Leaf struct {
	Seq          uint64    // position in the log of its origin, from 0
	Revision     uint64    // revision of the cell that the fact belongs to; 0 = no record changed
	Time         time.Time // whole microseconds, UTC
	Class        Class
	Kind, Action string // at most 255 bytes each
	Commitments  [Fields][hashSize]byte
}

// MarshalBinary gives the bytes that are hashed into the tree. It fails when a
// string is over 255 bytes, the class is not one of the seven, or the time does
// not fit: a time finer than a microsecond is refused rather than rounded, so
// that the leaf and the record can never tell two times.
func (l Leaf) MarshalBinary() ([]byte, error) {
	if l.Class < Change || l.Class > Restore {
		return nil, fmt.Errorf("encode leaf %d: class %d is outside 1..7", l.Seq, l.Class)
	}
	if len(l.Kind) > 255 || len(l.Action) > 255 {
		return nil, fmt.Errorf("encode leaf %d: kind or action is over 255 bytes", l.Seq)
	}
	us := l.Time.UnixMicro()
	if !time.UnixMicro(us).Equal(l.Time) {
		return nil, fmt.Errorf("encode leaf %d: time is not in whole microseconds or out of range", l.Seq)
	}
	b := make([]byte, 0, leafMin+len(l.Kind)+len(l.Action))
	b = append(b, leafPrefix...)
	b = binary.BigEndian.AppendUint64(b, l.Seq)
	b = binary.BigEndian.AppendUint64(b, l.Revision)
	b = binary.BigEndian.AppendUint64(b, uint64(us))
	b = append(b, byte(l.Class), byte(len(l.Kind)))
	b = append(b, l.Kind...)
	b = append(b, byte(len(l.Action)))
	b = append(b, l.Action...)
	for i := range l.Commitments {
		b = append(b, l.Commitments[i][:]...)
	}
	return b, nil
}

// ParseLeaf reads exactly what MarshalBinary writes; the leaf that it returns
// encodes to b again. It refuses any other prefix, class or length.
func ParseLeaf(b []byte) (Leaf, error) {
	if len(b) < leafMin || len(b) > MaxLeaf {
		return Leaf{}, fmt.Errorf("parse leaf: length %d is outside %d..%d", len(b), leafMin, MaxLeaf)
	}
	if string(b[:len(leafPrefix)]) != leafPrefix {
		return Leaf{}, errors.New("parse leaf: unknown format")
	}
	b = b[len(leafPrefix):]
	l := Leaf{
		Seq:      binary.BigEndian.Uint64(b),
		Revision: binary.BigEndian.Uint64(b[8:]),
		Time:     time.UnixMicro(int64(binary.BigEndian.Uint64(b[16:]))).UTC(),
		Class:    Class(b[24]),
	}
	if l.Class < Change || l.Class > Restore {
		return Leaf{}, fmt.Errorf("parse leaf: class %d is outside 1..7", l.Class)
	}
	var ok bool
	if l.Kind, b, ok = cutStr8(b[25:]); !ok {
		return Leaf{}, errors.New("parse leaf: kind is cut short")
	}
	if l.Action, b, ok = cutStr8(b); !ok {
		return Leaf{}, errors.New("parse leaf: action is cut short")
	}
	if len(b) != Fields*hashSize {
		return Leaf{}, fmt.Errorf("parse leaf: %d bytes of commitments, want %d", len(b), Fields*hashSize)
	}
	for i := range l.Commitments {
		copy(l.Commitments[i][:], b[i*hashSize:])
	}
	return l, nil
}

// cutStr8 takes a string with a length of one byte off the front of b.
func cutStr8(b []byte) (s string, rest []byte, ok bool) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return "", nil, false
	}
	n := 1 + int(b[0])
	return string(b[1:n]), b[n:], true
}
