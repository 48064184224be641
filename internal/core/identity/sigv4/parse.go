package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
)

// fields of the Authorization header or of a signed URL.
type fields struct {
	credential, signed, signature, date, expires string
	query                                        []pair // without the signature
}

// Parse reads what a request claims, strictly. Beyond the standard it refuses
// whatever two parties could read in two ways:
//
//   - a path that is not its own canonical form: percent-encoded, doubled
//     slashes, dot segments (no path of the API needs them);
//   - a query that is not encoded as RFC 3986 says, with capital letters: every
//     byte but A-Z a-z 0-9 - . _ ~ is %XX;
//   - a signed header that is given twice, or a header that changes what the
//     request means and is not signed;
//   - a body without its SHA-256 in X-Amz-Content-Sha256, UNSIGNED-PAYLOAD and
//     streaming signatures: the body is read only after the signature is right;
//   - a signed URL for anything but reading;
//   - a scope other than Region and Service.
func Parse(r *http.Request) (*Claim, error) {
	if !plainPath(r.URL.EscapedPath()) {
		return nil, malformed()
	}
	query, ok := parseQuery(r.URL.RawQuery)
	if !ok {
		return nil, malformed()
	}
	c := &Claim{}
	f, ok := header(r, query)
	if !ok {
		if f, ok = presigned(r, query); !ok {
			return nil, malformed()
		}
		c.Presigned = true
	}
	if !c.claim(f) || c.scope.region != Region || c.scope.service != Service {
		return nil, malformed()
	}
	payload, ok := payloadOf(r)
	if !ok || !c.covers(r) {
		return nil, malformed()
	}
	raw, err := hex.DecodeString(payload)
	if err != nil {
		return nil, malformed()
	}
	copy(c.Payload[:], raw)
	c.canonical = sha256.Sum256([]byte(canonical(r, r.URL.EscapedPath(), f.query, c.signed, payload)))
	return c, nil
}

func malformed() error {
	return fault.New(fault.Unauthenticated, "the signature is not in the form that is accepted: AWS Signature Version 4 for region %s and service %s, with each header that matters and the SHA-256 of the body signed, and all but A-Z a-z 0-9 - . _ ~ in the query as %%XX",
		"签名格式不被接受:须为 AWS Signature Version 4,区域 %s,服务 %s,签名覆盖所有相关头部和正文的 SHA-256,且查询中除 A-Z a-z 0-9 - . _ ~ 外均写作 %%XX", Region, Service)
}

// header reads the Authorization header; a request that is also signed by its
// query is neither.
func header(r *http.Request, query []pair) (f fields, ok bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 || len(values[0]) > maxHeader || slices.ContainsFunc(query, signing) {
		return f, false
	}
	rest, ok := strings.CutPrefix(values[0], algorithm+" ")
	if !ok {
		return f, false
	}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.Trim(part, " "), "=")
		into := map[string]*string{"Credential": &f.credential, "SignedHeaders": &f.signed, "Signature": &f.signature}[name]
		if into == nil || *into != "" || value == "" {
			return f, false
		}
		*into = value
	}
	f.date, f.query = r.Header.Get("X-Amz-Date"), query
	return f, true
}

// signing tells the parameters of a signed URL, however they are written.
func signing(p pair) bool { return len(p.name) > 6 && strings.EqualFold(p.name[:6], "X-Amz-") }

func presigned(r *http.Request, query []pair) (f fields, ok bool) {
	if r.Header.Get("Authorization") != "" || Writes(r.Method) {
		return f, false
	}
	chosen := ""
	names := map[string]*string{
		"X-Amz-Algorithm": &chosen, "X-Amz-Credential": &f.credential, "X-Amz-Date": &f.date,
		"X-Amz-Expires": &f.expires, "X-Amz-SignedHeaders": &f.signed, "X-Amz-Signature": &f.signature,
	}
	for _, p := range query {
		if !signing(p) {
			f.query = append(f.query, p)
			continue
		}
		into := names[p.name]
		if into == nil || *into != "" || p.value == "" {
			return f, false
		}
		*into = p.value
		if p.name != "X-Amz-Signature" {
			f.query = append(f.query, p)
		}
	}
	return f, chosen == algorithm && f.expires != ""
}

// claim takes the fields apart.
func (c *Claim) claim(f fields) bool {
	parts := strings.Split(f.credential, "/")
	date, err := time.Parse(stampForm, f.date)
	if len(parts) != 5 || parts[4] != terminator || err != nil || date.Format(stampForm) != f.date || parts[1] != date.Format(dayForm) || !keyForm(parts[0]) {
		return false
	}
	c.KeyID, c.Date, c.scope = parts[0], date, scope{parts[1], parts[2], parts[3]}
	if f.expires != "" {
		n, err := strconv.ParseUint(f.expires, 10, 32)
		if c.expires = time.Duration(n) * time.Second; err != nil || n == 0 || c.expires > MaxExpires {
			return false
		}
	}
	c.signed = strings.Split(f.signed, ";")
	sorted := slices.IsSorted(c.signed) && len(slices.Compact(slices.Clone(c.signed))) == len(c.signed)
	if len(c.signed) > maxHeaders || !sorted || strings.ToLower(f.signed) != f.signed {
		return false
	}
	n, err := hex.Decode(c.signature[:], []byte(f.signature[:min(len(f.signature), 64)]))
	return err == nil && n == 32 && len(f.signature) == 64 && strings.ToLower(f.signature) == f.signature
}

// keyForm is what may be asked of a store of keys.
func keyForm(s string) bool {
	return len(s) > 0 && len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '-' && r != '.'
	})
}

// meaning are the headers that change what a request does: unsigned, somebody
// on the way could add or change them.
func meaning(name string) bool {
	switch name {
	case "content-type", "content-encoding", "if-match", "if-none-match", "idempotency-key":
		return true
	}
	return strings.HasPrefix(name, "x-amz-") || strings.HasPrefix(name, "dun-")
}

// covers says whether the signature covers what matters, once each.
func (c *Claim) covers(r *http.Request) bool {
	if !slices.Contains(c.signed, "host") || !c.Presigned && !slices.Contains(c.signed, "x-amz-date") {
		return false
	}
	for _, name := range c.signed {
		if name != "host" && len(r.Header.Values(name)) != 1 {
			return false
		}
	}
	for name := range r.Header {
		if lower := strings.ToLower(name); meaning(lower) && !slices.Contains(c.signed, lower) {
			return false
		}
	}
	return true
}

// payloadOf is the hash that the body must have.
func payloadOf(r *http.Request) (string, bool) {
	values := r.Header.Values(contentHash)
	switch {
	case len(values) == 0:
		return emptyHash, r.ContentLength == 0
	case len(values) > 1 || len(values[0]) != 64 || strings.ToLower(values[0]) != values[0]:
		return "", false
	}
	return values[0], true
}

// Strip takes the parameters of a signed URL from the request, so that what
// handles it sees its own only.
func Strip(r *http.Request) {
	q := r.URL.Query()
	for name := range q {
		if signing(pair{name: name}) {
			delete(q, name)
		}
	}
	r.URL.RawQuery = url.Values(q).Encode()
}
