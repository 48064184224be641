package audit

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"strconv"
)

// Field is one committed field of a leaf, by its position.
type Field int

// The fields, in the order of the leaf.
const (
	FieldTenant Field = iota
	FieldActor
	FieldName
	FieldOld
	FieldNew
	FieldReason
	FieldContext

	// Fields is the number of committed fields.
	Fields = 7
)

// String is the lower-case name of the field, or its number when unknown.
func (f Field) String() string {
	switch f {
	case FieldTenant:
		return "tenant"
	case FieldActor:
		return "actor"
	case FieldName:
		return "name"
	case FieldOld:
		return "old"
	case FieldNew:
		return "new"
	case FieldReason:
		return "reason"
	case FieldContext:
		return "context"
	}
	return "field " + strconv.Itoa(int(f))
}

// Values are what a leaf commits to. A nil value is absent; an empty one that
// is not nil is present and empty, and the two have different commitments.
type Values [Fields][]byte

// SaltSize is the length of a salt in bytes.
const SaltSize = 32

// Salts are the keys to the commitments, SaltSize bytes each. A nil salt is
// erased or withheld: its field can then be neither read back nor guessed,
// while the leaf still proves that something was there. A salt opens one field
// of one leaf and must not leave with an export of another.
type Salts [Fields][]byte

// NewSalts draws a fresh salt for every field of one leaf.
func NewSalts() Salts {
	b := make([]byte, Fields*SaltSize)
	rand.Read(b)
	var s Salts
	for i := range s {
		s[i] = b[i*SaltSize : (i+1)*SaltSize : (i+1)*SaltSize]
	}
	return s
}

// Commit hides value (nil = absent) under salt for the field f. With a salt
// that is not SaltSize bytes, or an unknown field, it gives the zero
// commitment, which nothing opens: a short salt would be a guessable one.
func Commit(f Field, salt []byte, value []byte) [32]byte {
	if len(salt) != SaltSize || f < 0 || f >= Fields {
		return [32]byte{}
	}
	h := sha256.New()
	h.Write([]byte("dun/commit/v1\n"))
	h.Write([]byte{byte(f)})
	h.Write(salt)
	if value == nil {
		h.Write([]byte{0})
	} else {
		h.Write([]byte{1})
		h.Write(value)
	}
	var c [32]byte
	h.Sum(c[:0])
	return c
}

// CommitAll commits to each value under its salt.
func CommitAll(s Salts, v Values) [Fields][32]byte {
	var c [Fields][32]byte
	for i := range c {
		c[i] = Commit(Field(i), s[i], v[i])
	}
	return c
}

// Check compares values with the commitments of the leaf, in constant time for
// each field. A field without salt is not checked and must come without value,
// since nobody could tell whether that value is true. The error names the
// field and never the value.
func (l Leaf) Check(s Salts, v Values) error {
	for i := range s {
		f := Field(i)
		switch {
		case s[i] == nil && v[i] != nil:
			return fmt.Errorf("check %s of leaf %d: a value without its salt", f, l.Seq)
		case s[i] == nil:
			continue
		case len(s[i]) != SaltSize:
			return fmt.Errorf("check %s of leaf %d: salt of %d bytes, want %d", f, l.Seq, len(s[i]), SaltSize)
		}
		c := Commit(f, s[i], v[i])
		if subtle.ConstantTimeCompare(c[:], l.Commitments[i][:]) != 1 {
			return fmt.Errorf("check %s of leaf %d: value and salt do not match the commitment", f, l.Seq)
		}
	}
	return nil
}
