package sigv4

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Sign signs a request in its Authorization header, as a client does: host, date,
// the hash of the body, and each header that must be.
func Sign(r *http.Request, id string, secret, body []byte, at time.Time) error {
	query, ok := parseQuery(r.URL.RawQuery)
	path := r.URL.EscapedPath()
	if !ok || !plainPath(path) {
		return fmt.Errorf("sign a request: %s can be read in two ways", r.URL)
	}
	s := scope{at.UTC().Format(dayForm), Region, Service}
	sum := sha256.Sum256(body)
	payload := hex.EncodeToString(sum[:])
	r.Header.Set("X-Amz-Date", at.UTC().Format(stampForm))
	r.Header.Set(contentHash, payload)
	signed := []string{"host"}
	for name := range r.Header {
		if lower := strings.ToLower(name); meaning(lower) {
			signed = append(signed, lower)
		}
	}
	slices.Sort(signed)
	named := *r // Host is empty in a request that is sent
	named.Host = cmp.Or(r.Host, r.URL.Host)
	c := Claim{Date: at, scope: s, canonical: sha256.Sum256([]byte(canonical(&named, path, query, signed, payload)))}
	r.Header.Set("Authorization", algorithm+" Credential="+id+"/"+s.String()+", SignedHeaders="+strings.Join(signed, ";")+", Signature="+hex.EncodeToString(c.sign(secret)))
	return nil
}
