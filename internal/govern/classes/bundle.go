package classes

import (
	"encoding/base64"
	"regexp"
	"slices"
)

var encoded = regexp.MustCompile(`[A-Za-z0-9+/]{24,}={0,2}`)

// plainText is a bundle with what it holds in base64 decoded behind it: a
// marker is looked for as whoever takes the bundle away would read it.
func plainText(bundle []byte) []byte {
	out := slices.Clone(bundle)
	for _, m := range encoded.FindAll(bundle, -1) {
		if b, err := base64.StdEncoding.DecodeString(string(m)); err == nil {
			out = append(out, b...)
		}
	}
	return out
}
