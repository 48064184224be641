// Package password turns passwords into what may be stored, and judges whether
// one is good enough. It owns the form of a stored password, how much memory
// and how many processors hashing may take at once, and the list of passwords
// that everybody tries first. It knows no user and stores nothing.
package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/secure/precis"

	"github.com/dun-sec/dun/internal/core/fault"
)

// Parameters of argon2id: the second of the two that RFC 9106 section 4
// recommends, for where memory is dear.
const (
	memory  = 64 << 10 // KiB
	passes  = 3
	lanes   = 4
	saltLen = 16
	keyLen  = 32
)

// How many may be hashed at once, 64 MiB each: by anybody, and on top of that
// by who showed that this browser signed in before; how many may wait for
// their turn, and how long. Nobody who guesses keeps those out who know.
const (
	placesAll   = 2
	placesKnown = 1
	waiting     = 16
	patience    = 10 * time.Second
)

// Hasher hashes, a bounded number at once. It is safe for concurrent use.
type Hasher struct{ all, known *room }

// NewHasher makes one.
func NewHasher() *Hasher { return &Hasher{newRoom(placesAll), newRoom(placesKnown)} }

// room is a few places and a queue before them.
type room struct{ places, queue chan struct{} }

func newRoom(n int) *room { return &room{make(chan struct{}, n), make(chan struct{}, n+waiting)} }

func (r *room) enter(ctx context.Context) error {
	select {
	case r.queue <- struct{}{}:
	default:
		return busy()
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case r.places <- struct{}{}:
		return nil
	case <-late.C:
		<-r.queue
		return busy()
	case <-ctx.Done():
		<-r.queue
		return ctx.Err()
	}
}

func (r *room) leave() {
	<-r.places
	<-r.queue
}

func busy() error {
	e := fault.New(fault.Exhausted, "too many people sign in at once; wait a little", "同时登录的人数过多;请稍候再试")
	e.RetryAfter = patience
	return e
}

// Prepare brings a password as it was typed into the one form in which it is
// hashed: RFC 8265 section 4.2, OpaqueString. Errors: invalid for an empty one
// and for characters that no password has.
func Prepare(typed string) (string, error) {
	if len(typed) > MaxBytes {
		return "", fault.New(fault.Invalid, "a password has at most %d bytes", "密码最长 %d 字节", MaxBytes)
	}
	s, err := precis.OpaqueString.String(typed)
	if err != nil {
		return "", fault.New(fault.Invalid, "this password is empty or has characters that cannot be typed", "密码为空或含有无法输入的字符")
	}
	return s, nil
}

// Hash is what may be stored of a prepared password, in the PHC form
// "$argon2id$v=19$m=65536,t=3,p=4$salt$key". Errors: exhausted.
func (h *Hasher) Hash(ctx context.Context, prepared string) (string, error) {
	if err := h.known.enter(ctx); err != nil {
		return "", err
	}
	defer h.known.leave()
	salt := make([]byte, saltLen)
	rand.Read(salt)
	key := argon2.IDKey([]byte(prepared), salt, passes, memory, lanes, keyLen)
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memory, passes, lanes, enc.EncodeToString(salt), enc.EncodeToString(key)), nil
}

// Verify reports whether the prepared password is the stored one. With "" as
// stored it takes as long and says no: who guesses names learns nothing. known
// is of a browser that signed in before. Errors: exhausted.
func (h *Hasher) Verify(ctx context.Context, stored, prepared string, known bool) (bool, error) {
	r := h.all
	if known {
		r = h.known
	}
	if err := r.enter(ctx); err != nil {
		return false, err
	}
	defer r.leave()
	p := params{memory: memory, passes: passes, lanes: lanes, salt: make([]byte, saltLen), key: make([]byte, keyLen)}
	if stored != "" {
		var err error
		if p, err = parse(stored); err != nil {
			return false, err
		}
	}
	got := argon2.IDKey([]byte(prepared), p.salt, p.passes, p.memory, p.lanes, uint32(len(p.key)))
	return subtle.ConstantTimeCompare(got, p.key) == 1 && stored != "", nil
}

type params struct {
	memory, passes uint32
	lanes          uint8
	salt, key      []byte
}

// parse reads the stored form. What it allows bounds what a row can cost.
func parse(stored string) (p params, err error) {
	part := strings.Split(stored, "$")
	var version int
	if len(part) == 6 && part[0] == "" && part[1] == "argon2id" {
		if _, err = fmt.Sscanf(part[2]+" "+part[3], "v=%d m=%d,t=%d,p=%d", &version, &p.memory, &p.passes, &p.lanes); err == nil {
			if p.salt, err = base64.RawStdEncoding.DecodeString(part[4]); err == nil {
				p.key, err = base64.RawStdEncoding.DecodeString(part[5])
			}
		}
	}
	if err != nil || version != argon2.Version || p.memory < 8 || p.memory > 4*memory || p.passes < 1 || p.passes > 4*passes || p.lanes < 1 ||
		len(p.salt) < 8 || len(p.salt) > 64 || len(p.key) < 16 || len(p.key) > 64 {
		return params{}, fault.New(fault.Internal, "a stored password cannot be read", "无法读取已存储的密码")
	}
	return p, nil
}
