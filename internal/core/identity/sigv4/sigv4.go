// Package sigv4 verifies AWS Signature Version 4: who holds an access key signs
// each request by it, in the Authorization header or in the query. It owns the
// canonical form, the limits on time and the signatures that were used. It
// never looks up a key, reads no body before the signature is known to be
// right, and never says what a key may do.
//
// Source: AWS General Reference, "Create a signed AWS API request". Dun is
// stricter than it where two readings of one request are possible: see Parse.
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
)

// The scope that clients of Dun sign for.
const (
	Region  = "local"
	Service = "dun"
)

// Limits of time.
const (
	// Skew is how far the date of a request may be from the clock of the cell.
	Skew = 15 * time.Minute
	// Ahead is how far the date of a write may be in the future. It is short
	// because Burnt forgets with the program: see there.
	Ahead = 5 * time.Second
	// MaxExpires is how long a signed URL may live: it is a secret that stands
	// in histories and logs of others.
	MaxExpires = time.Hour
)

const (
	algorithm   = "AWS4-HMAC-SHA256"
	terminator  = "aws4_request"
	stampForm   = "20060102T150405Z"
	dayForm     = "20060102"
	contentHash = "X-Amz-Content-Sha256"
	emptyHash   = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

	maxHeaders = 64
	maxHeader  = 8 << 10 // bytes of the Authorization header
)

// scope is what a key is derived for.
type scope struct{ day, region, service string }

func (s scope) String() string { return s.day + "/" + s.region + "/" + s.service + "/" + terminator }

// Claim is what a request says of itself; nothing of it is proven before
// Verify says so.
type Claim struct {
	KeyID     string
	Date      time.Time
	Presigned bool
	Payload   [32]byte // SHA-256 that the body must have

	expires   time.Duration // of a signed URL
	scope     scope
	signed    []string // names of headers, lower case, sorted
	signature [32]byte
	canonical [32]byte // SHA-256 of the canonical request
}

// Signature is what a write burns.
func (c *Claim) Signature() [32]byte { return c.signature }

// Signed reports whether a request claims to be signed by an access key.
func Signed(r *http.Request) bool {
	auth := r.Header.Get("Authorization")
	return auth == algorithm || strings.HasPrefix(auth, algorithm+" ") || strings.Contains(r.URL.RawQuery, "X-Amz-Algorithm=")
}

// Writes reports whether a method changes something.
func Writes(method string) bool { return method != http.MethodGet && method != http.MethodHead }

// Verify reports whether secret made the signature. It takes the same time for
// each secret; for a key that is unknown the caller passes any secret.
func (c *Claim) Verify(secret []byte) bool {
	return subtle.ConstantTimeCompare(c.sign(secret), c.signature[:]) == 1
}

// sign makes the signature that the claim should have.
func (c *Claim) sign(secret []byte) []byte {
	key := derive(secret, c.scope)
	defer clear(key)
	return sum(key, algorithm+"\n"+c.Date.UTC().Format(stampForm)+"\n"+c.scope.String()+"\n"+hex.EncodeToString(c.canonical[:]))
}

// Fresh refuses a request whose date is too far from now. It tells nothing of
// the key, so that it may say what is wrong.
func (c *Claim) Fresh(now time.Time, write bool) error {
	if c.Presigned {
		if c.Date.After(now.Add(Skew)) || !now.Before(c.Date.Add(c.expires)) {
			return fault.New(fault.Unauthenticated, "the signed URL is not valid now", "签名链接当前无效")
		}
		return nil
	}
	off := c.Date.Sub(now)
	if off > Skew || off < -Skew || write && off > Ahead {
		return fault.New(fault.Unauthenticated, "the request is dated %s; here it is %s: set the clock and sign again", "请求的日期为 %s,此处为 %s:请校准时钟并重新签名",
			c.Date.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

func derive(secret []byte, s scope) []byte {
	first := append([]byte("AWS4"), secret...)
	defer clear(first)
	key := sum(first, s.day)
	for _, part := range []string{s.region, s.service, terminator} {
		next := sum(key, part)
		clear(key)
		key = next
	}
	return key
}

func sum(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
