package edge

import (
	"errors"
	"net/url"
	"strings"
)

// target is a request target in the one form that the firewall judges and the
// origin gets: both must see the same bytes, or an attack hides in the
// difference.
type target struct {
	path    string // decoded
	rawPath string // escaped, begins with /
	query   string // without ?, as sent
	hasMark bool   // a ? was there, even if nothing follows
	dotted  bool   // holds what servers resolve differently: . or .. segments, //, ;, \, or an escaped / or \
}

func (t *target) uri() string {
	if t.hasMark {
		return t.rawPath + "?" + t.query
	}
	return t.rawPath
}

func (t *target) url(scheme, host string) *url.URL {
	return &url.URL{Scheme: scheme, Host: host, Path: t.path, RawPath: t.rawPath, RawQuery: t.query, ForceQuery: t.hasMark && t.query == ""}
}

var errTarget = errors.New("malformed request target")

// parseTarget accepts origin-form alone (RFC 9112 section 3.2.1). Absolute
// form, "*", fragments, control characters, raw backslashes and quotes, NUL in
// the path and bad percent-encoding anywhere are refused; characters that
// RFC 3986 does not allow in a path but browsers send are escaped.
func parseTarget(s string) (target, error) {
	if s == "" || s[0] != '/' || strings.IndexByte(s, '#') >= 0 {
		return target{}, errTarget
	}
	var t target
	t.rawPath, t.query, t.hasMark = strings.Cut(s, "?")
	if !goodQuery(t.query) {
		return target{}, errTarget
	}
	var err error
	if t.rawPath, t.path, err = canonicalPath(t.rawPath); err != nil {
		return target{}, err
	}
	t.dotted = ambiguous(t.path, t.rawPath)
	return t, nil
}

func goodQuery(q string) bool {
	for i := 0; i < len(q); i++ {
		switch c := q[i]; {
		case c <= ' ', c == 0x7f:
			return false
		case c == '%':
			if i+2 >= len(q) || !isHex(q[i+1]) || !isHex(q[i+2]) {
				return false
			}
			i += 2
		}
	}
	return true
}

// pathBytes are the characters of a path that stay as they are: those which
// net/url's EscapedPath leaves in RawPath (RFC 3986 pchar, "/" and "[]").
const pathBytes = "!$&'()*+,;=:@[]/-._~"

func canonicalPath(raw string) (escaped, decoded string, err error) {
	simple := true
	for i := range len(raw) {
		if c := raw[i]; !isAlnum(c) && strings.IndexByte(pathBytes, c) < 0 {
			simple = false
			break
		}
	}
	if simple {
		return raw, raw, nil
	}
	const hexDigits = "0123456789ABCDEF"
	var e, d strings.Builder
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case c == '%':
			if i+2 >= len(raw) || !isHex(raw[i+1]) || !isHex(raw[i+2]) {
				return "", "", errTarget
			}
			b := unhex(raw[i+1])<<4 | unhex(raw[i+2])
			if b == 0 {
				return "", "", errTarget
			}
			e.WriteString(raw[i : i+3])
			d.WriteByte(b)
			i += 2
		case isAlnum(c) || strings.IndexByte(pathBytes, c) >= 0:
			e.WriteByte(c)
			d.WriteByte(c)
		case c <= ' ' || c == 0x7f || c == '\\' || c == '"' || c == '<' || c == '>':
			return "", "", errTarget
		default:
			e.WriteByte('%')
			e.WriteByte(hexDigits[c>>4])
			e.WriteByte(hexDigits[c&15])
			d.WriteByte(c)
		}
	}
	return e.String(), d.String(), nil
}

func ambiguous(path, raw string) bool {
	if strings.Contains(path, "//") || strings.ContainsAny(path, `\;`) ||
		strings.Count(path, "/") != strings.Count(raw, "/") {
		return true
	}
	for seg := range strings.SplitSeq(path, "/") {
		if seg == "." || seg == ".." {
			return true
		}
	}
	return false
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
