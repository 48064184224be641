// Package id makes and reads the identifiers of formats.md: uids, cell names
// and request ids. It owns their alphabet (lower-case RFC 4648 base32, no
// padding) and never uses a predictable source of randomness.
package id

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"time"
)

// Encoding is lower-case base32 without padding.
var Encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// RequestLen is the length of a request id in characters.
const RequestLen = 20

// UID returns 26 characters that carry 128 random bits.
func UID() string { return Random(16) }

// Random returns n random bytes as text.
func Random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return Encoding.EncodeToString(b)
}

// Cell returns a new cell name, [a-z0-9]{8}.
func Cell() string { return Random(5) }

// Request returns a request id made at now on the node: 48-bit ms | 16-bit
// node | 32-bit random.
func Request(now time.Time, node uint16) string {
	var b [12]byte
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(now.UnixMilli()))
	copy(b[:6], ms[2:])
	binary.BigEndian.PutUint16(b[6:8], node)
	rand.Read(b[8:])
	return Encoding.EncodeToString(b[:])
}

// ParseRequest reads the time and the node of a request id; ok is false when s
// is not the one canonical form of a request id.
func ParseRequest(s string) (at time.Time, node uint16, ok bool) {
	if len(s) != RequestLen {
		return time.Time{}, 0, false
	}
	b, err := Encoding.DecodeString(s)
	if err != nil || len(b) != 12 || Encoding.EncodeToString(b) != s {
		return time.Time{}, 0, false
	}
	var ms [8]byte
	copy(ms[2:], b[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(ms[:]))).UTC(), binary.BigEndian.Uint16(b[6:8]), true
}
