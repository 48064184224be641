package edge

import (
	"net/netip"
	"strings"
)

// normalHost reduces a Host header or a TLS server name to the form in which
// sites are configured: lower case, without port and without the trailing dot.
// ok is false for what can name no site: empty, over 253 characters, labels
// that are empty or over 63 characters, other characters than letters, digits,
// '-' and '_', or a malformed port or IPv6 address (RFC 9110 section 4.2.3,
// RFC 1123 section 2.1).
func normalHost(s string) (host string, ok bool) {
	if len(s) > 260 || s == "" {
		return "", false
	}
	if s[0] == '[' {
		return bracketed(s)
	}
	if h, port, found := strings.Cut(s, ":"); found {
		if !goodPort(port) {
			return "", false
		}
		s = h
	}
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return "", false
	}
	upper, label := false, 0
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '.':
			if label == 0 {
				return "", false
			}
			label = -1
		case 'A' <= c && c <= 'Z':
			upper = true
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return "", false
		}
		if label++; label > 63 {
			return "", false
		}
	}
	if label == 0 {
		return "", false
	}
	if upper {
		s = strings.ToLower(s)
	}
	return s, true
}

func bracketed(s string) (string, bool) {
	addr, rest, found := strings.Cut(s[1:], "]")
	if !found || rest != "" && (rest[0] != ':' || !goodPort(rest[1:])) {
		return "", false
	}
	a, err := netip.ParseAddr(addr)
	if err != nil || !a.Is6() || a.Zone() != "" {
		return "", false
	}
	return a.String(), true
}

// goodPort accepts the empty port too ("host:", RFC 3986 section 3.2.3).
func goodPort(p string) bool {
	if len(p) > 5 {
		return false
	}
	n := 0
	for i := range len(p) {
		if p[i] < '0' || p[i] > '9' {
			return false
		}
		n = n*10 + int(p[i]-'0')
	}
	return n <= 65535
}
