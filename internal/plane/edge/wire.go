package edge

import "errors"

// wireScan follows the bytes of one HTTP/1 connection and refuses what servers
// read differently, before net/http smooths it over: CL with TE, a repeated
// length or coding, bare LF or CR, folded lines, NUL (RFC 9112 sections 2.2,
// 5.2, 6.1, 6.3, 11.2). It judges framing only; net/http stays the parser.
// Memory is constant: of each line only its first bytes are kept.
type wireScan struct {
	state  wireState
	line   []byte // first lineKept bytes of the line that is read
	length int    // bytes of the line so far
	cr     bool   // the last byte was CR
	left   uint64 // bytes of the body or chunk that follow

	lines      int // of this head, the request line included
	lengths    int
	codings    int
	hosts      int
	contentLen uint64
	http10     bool
}

type wireState uint8

const (
	wireHead wireState = iota
	wireBody
	wireChunkSize
	wireChunkData
	wireChunkEnd
	wireTrailer
)

// lineKept is enough for every field name and value that framing needs.
const lineKept = 128

// maxChunkLine bounds a chunk-size line with its extensions.
const maxChunkLine = 256

var errWire = errors.New("ambiguous HTTP/1 message")

// scan reads p. safe is how many bytes, from the start, belong to messages
// without fault; err is set when the rest does not.
func (w *wireScan) scan(p []byte) (safe int, err error) {
	for i := 0; i < len(p); {
		switch w.state {
		case wireBody, wireChunkData:
			n := min(uint64(len(p)-i), w.left)
			i += int(n)
			if w.left -= n; w.left > 0 {
				return len(p), nil
			}
			if w.state == wireBody {
				w.reset()
			} else {
				w.state = wireChunkEnd
			}
			safe = i
		default:
			if w.state == wireHead && w.length == 0 && w.lines == 0 {
				safe = i
			}
			if err := w.octet(p[i]); err != nil {
				return safe, err
			}
			i++
		}
	}
	return len(p), nil
}

func (w *wireScan) octet(c byte) error {
	switch {
	case w.cr && c != '\n', c == '\n' && !w.cr, c == 0:
		return errWire
	case c == '\r':
		w.cr = true
		return nil
	case c == '\n':
		w.cr = false
		err := w.endLine()
		w.line, w.length = w.line[:0], 0
		return err
	}
	switch w.length++; {
	case len(w.line) < lineKept:
		w.line = append(w.line, c)
	case w.state == wireHead && w.lines == 0: // the version stands at the end of the request line
		copy(w.line[lineKept-8:], w.line[lineKept-7:])
		w.line[lineKept-1] = c
	}
	if w.state != wireHead && w.length > maxChunkLine && w.state != wireTrailer {
		return errWire
	}
	return nil
}

func (w *wireScan) endLine() error {
	switch w.state {
	case wireHead:
		return w.headLine()
	case wireChunkSize:
		n, ok := chunkSize(w.line)
		if !ok {
			return errWire
		}
		if w.left, w.state = n, wireChunkData; n == 0 {
			w.state = wireTrailer
		}
	case wireChunkEnd:
		if w.length != 0 {
			return errWire
		}
		w.state = wireChunkSize
	case wireTrailer:
		if w.length == 0 {
			w.reset()
		}
	}
	return nil
}

func (w *wireScan) headLine() error {
	if w.length == 0 {
		if w.lines == 0 {
			return nil // an empty line before the request line (RFC 9112 section 2.2); net/http decides
		}
		return w.endHead()
	}
	w.lines++
	if w.lines == 1 {
		w.http10 = hasSuffixFold(w.line, "http/1.0")
		return nil
	}
	if w.line[0] == ' ' || w.line[0] == '\t' {
		return errWire
	}
	name, value := splitField(w.line)
	switch {
	case equalFold(name, "content-length"):
		n, ok := decimal(value)
		if w.lengths++; w.lengths > 1 || !ok || w.length > lineKept {
			return errWire
		}
		w.contentLen = n
	case equalFold(name, "transfer-encoding"):
		if w.codings++; w.codings > 1 || !equalFold(value, "chunked") || w.length > lineKept {
			return errWire
		}
	case equalFold(name, "host"):
		if w.hosts++; w.hosts > 1 {
			return errWire
		}
	}
	return nil
}

func (w *wireScan) endHead() error {
	switch {
	case w.codings > 0 && (w.lengths > 0 || w.http10):
		return errWire
	case w.codings > 0:
		w.state = wireChunkSize
	case w.contentLen > 0:
		w.state, w.left = wireBody, w.contentLen
	default:
		w.reset()
	}
	return nil
}

func (w *wireScan) reset() { *w = wireScan{line: w.line[:0]} }

func splitField(line []byte) (name, value []byte) {
	for i, c := range line {
		if c == ':' {
			name, value = line[:i], line[i+1:]
			break
		}
	}
	for len(name) > 0 && isBlank(name[len(name)-1]) {
		name = name[:len(name)-1]
	}
	for len(value) > 0 && isBlank(value[0]) {
		value = value[1:]
	}
	for len(value) > 0 && isBlank(value[len(value)-1]) {
		value = value[:len(value)-1]
	}
	return name, value
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func chunkSize(line []byte) (n uint64, ok bool) {
	digits := 0
	for _, c := range line {
		if !isHex(c) {
			if c != ';' && !isBlank(c) {
				return 0, false
			}
			break
		}
		if digits++; digits > 15 {
			return 0, false
		}
		n = n<<4 | uint64(unhex(c))
	}
	return n, digits > 0
}

func decimal(b []byte) (n uint64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// equalFold compares ASCII without case; s is lower case.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != s[i] {
			return false
		}
	}
	return true
}

func hasSuffixFold(b []byte, s string) bool {
	return len(b) >= len(s) && equalFold(b[len(b)-len(s):], s)
}
