// Package secret keeps secrets beside the records: a sealed table that records
// name by reference. It owns the table `secrets` of meta.db, the root key that
// seals it, and the type that a secret has in memory, which no printer, encoder
// or log can read. It never decides who may have a secret: its callers have
// authorised that, and each use is told to the audit log, without the content.
package secret

import (
	"errors"
	"fmt"
	"log/slog"
)

// MaxValue is the size of a secret in bytes.
const MaxValue = 16 << 10

const hidden = "[secret]"

// Value is a secret in memory. Printed, logged or encoded in any way it says
// "[secret]" or refuses, also as a part of something else; Reveal is the only
// way to the content. The zero Value is empty.
type Value struct {
	// A function, since fmt and reflect follow a pointer in a field that is not
	// exported, and call no method on it.
	held func() *content
}

type content struct{ b []byte }

// New makes a secret of b, which it takes over: the caller forgets it.
func New(b []byte) Value {
	c := &content{b}
	return Value{func() *content { return c }}
}

// Reveal is the content itself, not a copy; it must not be changed, and it
// ends with Wipe.
func (v Value) Reveal() []byte {
	if v.held == nil {
		return nil
	}
	return v.held().b
}

// Wipe overwrites the content, of all copies of this Value. What the runtime
// or a caller copied elsewhere is not reached.
func (v Value) Wipe() {
	if v.held == nil {
		return
	}
	c := v.held()
	clear(c.b)
	c.b = nil
}

// String implements fmt.Stringer.
func (v Value) String() string { return hidden }

// GoString implements fmt.GoStringer.
func (v Value) GoString() string { return hidden }

// Format implements fmt.Formatter for every verb.
func (v Value) Format(f fmt.State, _ rune) {
	if _, err := f.Write([]byte(hidden)); err != nil {
		return // whoever prints learns it from his writer
	}
}

// LogValue implements slog.LogValuer.
func (v Value) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText implements encoding.TextMarshaler.
func (v Value) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// MarshalJSON implements json.Marshaler.
func (v Value) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// MarshalYAML implements the YAML library's Marshaler.
func (v Value) MarshalYAML() (any, error) { return hidden, nil }

// MarshalBinary implements encoding.BinaryMarshaler, which gob asks too, and
// refuses: who reads a binary form expects a content.
func (v Value) MarshalBinary() ([]byte, error) { return nil, errors.New("a secret is not encoded") }
