package edge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// gRPC (grpc.io, "gRPC over HTTP2") carries messages of Protocol Buffers, which
// the rule set does not understand. They are judged by the texts in them; the
// body itself is not handed to the engine, which would take it for a form. Only
// bodies that really are gRPC are let through in this way: the media type alone
// would be a way around the firewall.
//
// A judged call has to be unary: its body is complete before it is judged.
// Calls that stream from the client need waf.mode off.

var errGRPC = errors.New("malformed or compressed gRPC message")

const (
	grpcHead  = 5    // compressed flag and length
	maxNested = 16   // messages in messages that are looked into
	maxTexts  = 1001 // one more than the engine takes, which refuses then (SecArgumentsLimit)
)

// argument is a text of a gRPC message; key is "grpc." and the numbers of the
// fields that lead to it, as an Exclusion may name it.
type argument struct{ key, value string }

func isGRPC(r *http.Request) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(r.Header.Get("Content-Type")), "application/grpc")
	return ok && r.ProtoMajor == 2 && r.Method == http.MethodPost && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// grpcTexts finds the texts of all messages. It fails with errGRPC for what is
// not a row of whole, uncompressed messages, and with errTextSize when there is
// too much text. The caller has bounded the body to maxText.
func grpcTexts(body *spool) ([]argument, error) {
	b, err := io.ReadAll(body.reader())
	if err != nil {
		return nil, fmt.Errorf("read gRPC body: %w", err)
	}
	var t textFinder
	for len(b) > 0 {
		if len(b) < grpcHead || b[0] != 0 {
			return nil, errGRPC
		}
		n := uint64(binary.BigEndian.Uint32(b[1:]))
		if b = b[grpcHead:]; n > uint64(len(b)) {
			return nil, errGRPC
		}
		if message := b[:n]; !t.message(message, "grpc", 0) {
			t.text(message, "grpc") // of another codec than Protocol Buffers
		}
		b = b[n:]
	}
	if t.size > maxText {
		return nil, errTextSize
	}
	return t.found, nil
}

type textFinder struct {
	found []argument
	size  int
}

// message walks the fields of one message; ok is false, and nothing is found,
// when b is none.
func (t *textFinder) message(b []byte, path string, depth int) (ok bool) {
	if depth == maxNested {
		return false
	}
	mark, size := len(t.found), t.size
	for len(b) > 0 {
		field, value, rest, ok := protoField(b)
		if !ok {
			t.found, t.size = t.found[:mark], size
			return false
		}
		if b = rest; len(value) == 0 || len(t.found) == maxTexts {
			continue
		}
		// Whether these are a text or a message is not written anywhere: a text
		// may look like a message, so it is looked at as both.
		name := path + "." + strconv.FormatUint(field, 10)
		t.message(value, name, depth+1)
		if utf8.Valid(value) {
			t.text(value, name)
		}
	}
	return true
}

// text notes b, with spaces for control characters: those are the framing of
// messages that look like texts, which no rule is about.
func (t *textFinder) text(b []byte, path string) {
	if t.size += len(b); len(b) == 0 || t.size > maxText || len(t.found) == maxTexts {
		return
	}
	t.found = append(t.found, argument{path, strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, string(b))})
}

// protoField reads one field; value is set for those that have a length.
func protoField(b []byte) (field uint64, value, rest []byte, ok bool) {
	tag, n := binary.Uvarint(b)
	if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
		return 0, nil, nil, false
	}
	b = b[n:]
	size := uint64(0)
	switch tag & 7 {
	case 0:
		_, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, nil, nil, false
		}
		size = uint64(n)
	case 1:
		size = 8
	case 5:
		size = 4
	case 2:
		size, n = binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return 0, nil, nil, false
		}
		return tag >> 3, b[n : n+int(size)], b[n+int(size):], true
	default:
		return 0, nil, nil, false
	}
	if size > uint64(len(b)) {
		return 0, nil, nil, false
	}
	return tag >> 3, nil, b[size:], true
}
