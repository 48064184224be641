package secret

import (
	"strings"

	"github.com/dun-sec/dun/internal/core/id"
)

const refPrefix = "s-"

// Ref names a secret: "s-" and 26 characters that carry 128 random bits. It is
// no secret itself: a record may hold it.
type Ref string

func newRef() Ref { return Ref(refPrefix + id.UID()) }

// Valid reports whether r has the form of a reference.
func (r Ref) Valid() bool {
	rest, ok := strings.CutPrefix(string(r), refPrefix)
	if !ok || len(rest) != 26 {
		return false
	}
	b, err := id.Encoding.DecodeString(rest)
	return err == nil && id.Encoding.EncodeToString(b) == rest
}
