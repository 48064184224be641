package sigv4

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const maxQuery = 8 << 10 // bytes

// pair is one parameter of a query, decoded.
type pair struct{ name, value string }

// parseQuery decodes a query; ok is false where it could be read in two ways, or
// is written in another way than it is signed: some signers sign what they send,
// others what it means.
func parseQuery(raw string) (out []pair, ok bool) {
	if len(raw) > maxQuery || strings.ContainsAny(raw, "+;") {
		return nil, false
	}
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			if raw == "" {
				break
			}
			return nil, false
		}
		rawName, rawValue, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(rawName)
		if err != nil {
			return nil, false
		}
		value, err := url.QueryUnescape(rawValue)
		if err != nil || encode(name) != rawName || encode(value) != rawValue {
			return nil, false
		}
		out = append(out, pair{name, value})
	}
	return out, true
}

// plainPath reports whether a path has one reading: it is its canonical form.
func plainPath(path string) bool {
	return strings.HasPrefix(path, "/") && !strings.Contains(path, "%") && path == canonicalPath(path)
}

// canonicalPath removes dot segments and doubled slashes from a path as it was
// sent, undecoded, and encodes it once (services other than S3).
func canonicalPath(path string) string {
	var kept []string
	parts := strings.Split(path, "/")
	for _, p := range parts {
		switch p {
		case "", ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, encode(p))
		}
	}
	out := "/" + strings.Join(kept, "/")
	if last := parts[len(parts)-1]; len(kept) > 0 && (last == "" || last == "." || last == "..") {
		out += "/"
	}
	return out
}

// encode is UriEncode of the specification: RFC 3986, unreserved characters
// stay, everything else is %XX in upper case.
func encode(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}

// canonical is the canonical request; query is without the signature.
func canonical(r *http.Request, path string, query []pair, signed []string, payload string) string {
	var b strings.Builder
	b.WriteString(r.Method + "\n" + canonicalPath(path) + "\n")
	encoded := make([]pair, len(query))
	for i, p := range query {
		encoded[i] = pair{encode(p.name), encode(p.value)}
	}
	slices.SortFunc(encoded, func(x, y pair) int { return cmp.Or(cmp.Compare(x.name, y.name), cmp.Compare(x.value, y.value)) })
	for i, p := range encoded {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.name + "=" + p.value)
	}
	b.WriteByte('\n')
	for _, name := range signed {
		values := slices.Clone(r.Header.Values(name))
		if name == "host" {
			values = []string{r.Host}
		}
		for i, v := range values {
			values[i] = strings.Join(strings.FieldsFunc(v, func(c rune) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }), " ")
		}
		b.WriteString(name + ":" + strings.Join(values, ",") + "\n")
	}
	b.WriteString("\n" + strings.Join(signed, ";") + "\n" + payload)
	return b.String()
}
