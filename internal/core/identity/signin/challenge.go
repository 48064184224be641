package signin

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"sync"
	"time"
)

// challenges are made and known again by a key, so that asking costs no memory.
// Only one that was answered rightly is remembered, until it would have expired.
type challenges struct {
	key [32]byte

	mu   sync.Mutex
	used map[string]time.Time
}

const (
	challengeHead = 16 + 8 // random, and the time until when it holds
	challengeLen  = challengeHead + sha256.Size
)

func newChallenges() *challenges {
	c := &challenges{used: map[string]time.Time{}}
	rand.Read(c.key[:])
	return c
}

func (c *challenges) make(now time.Time) []byte {
	b := make([]byte, 16, challengeLen)
	rand.Read(b)
	b = binary.BigEndian.AppendUint64(b, uint64(now.Add(challengeFor).Unix()))
	return append(b, c.mac(b)...)
}

func (c *challenges) mac(head []byte) []byte {
	m := hmac.New(sha256.New, c.key[:])
	m.Write(head)
	return m.Sum(nil)
}

// fresh reports whether it was made here, holds still, and was not used.
func (c *challenges) fresh(text string, now time.Time) bool {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) != challengeLen || !hmac.Equal(b[challengeHead:], c.mac(b[:challengeHead])) {
		return false
	}
	if now.Unix() >= int64(binary.BigEndian.Uint64(b[16:challengeHead])) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, used := c.used[text]
	return !used
}

// burn reports whether nobody was faster.
func (c *challenges) burn(text string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, used := c.used[text]; used {
		return false
	}
	for t, until := range c.used {
		if !until.After(now) {
			delete(c.used, t)
		}
	}
	c.used[text] = now.Add(challengeFor)
	return true
}
