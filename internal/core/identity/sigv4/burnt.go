package sigv4

import (
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
)

// Bounds of Burnt: about 20 MiB in all, and 18 writes a second of one key for
// a whole window. What a tenant signs fills his keys' part only.
const (
	maxBurnt    = 1 << 18
	maxBurntKey = 1 << 14
)

// Burnt remembers the signatures of writes for as long as they would be
// accepted, so that none acts twice. It lives in memory: writes dated before
// the program was ready are refused, and none may be dated more than Ahead in
// the future, so that a restart opens nothing. Full, it refuses (closed).
type Burnt struct {
	mu    sync.Mutex
	start time.Time
	most  int
	each  int
	used  map[[32]byte]struct{}
	byKey map[string]int
	queue []burn // in the order of coming, which is that of ending
}

type burn struct {
	signature [32]byte
	key       string
	until     time.Time
}

// NewBurnt begins at now.
func NewBurnt(now time.Time) *Burnt {
	return &Burnt{start: now, most: maxBurnt, each: maxBurntKey, used: map[[32]byte]struct{}{}, byKey: map[string]int{}}
}

// Burn takes the signature of a write that Verify and Fresh have accepted.
func (b *Burnt) Burn(c *Claim, now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget(now)
	if !c.Date.After(b.start.Add(Ahead)) {
		return fault.New(fault.Unavailable, "the request was signed before this cell was ready; sign it again in a few seconds", "请求签名于本单元就绪之前;请几秒后重新签名")
	}
	if _, ok := b.used[c.signature]; ok {
		return fault.New(fault.Unauthenticated, "this signature was used; sign each change anew", "此签名已被使用;每次更改都须重新签名")
	}
	if len(b.used) >= b.most || b.byKey[c.KeyID] >= b.each {
		return fault.New(fault.Exhausted, "too many changes were signed within 15 minutes; try again later", "15 分钟内签名的更改过多;请稍后再试")
	}
	b.used[c.signature] = struct{}{}
	b.byKey[c.KeyID]++
	// Any write that is accepted now is refused by Fresh after this.
	b.queue = append(b.queue, burn{c.signature, c.KeyID, now.Add(Skew + Ahead + time.Second)})
	return nil
}

func (b *Burnt) forget(now time.Time) {
	gone := 0
	for gone < len(b.queue) && b.queue[gone].until.Before(now) {
		x := b.queue[gone]
		delete(b.used, x.signature)
		if b.byKey[x.key]--; b.byKey[x.key] == 0 {
			delete(b.byKey, x.key)
		}
		gone++
	}
	b.queue = b.queue[gone:]
}
