package sigv4

import (
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
)

// Bounds of Burnt: about 40 MiB in all, and 18 writes a second of one key for
// a whole window. A tenant may have as many as are free besides: of n that sign
// without end each gets a share of n+1, and one share is always left.
const (
	maxBurnt    = 1 << 18
	maxBurntKey = 1 << 14
)

// Burnt remembers the signatures of writes for as long as they would be
// accepted, so that none acts twice. It lives in memory: writes dated before
// the program was ready are refused, and none may be dated more than Ahead in
// the future, so that a restart opens nothing; and none that is as old as what
// was forgotten, so that a clock which goes back opens nothing. Full, it refuses
// (closed).
type Burnt struct {
	mu    sync.Mutex
	since time.Time // writes are dated after this
	most  int
	each  int
	used  map[[32]byte]struct{}
	by    map[string]int // of a key, and of a tenant
	queue []burn         // in the order of coming, which is that of ending
}

type burn struct {
	signature   [32]byte
	key, tenant string
	date, until time.Time
}

// NewBurnt begins at a time that is not before any write which was taken, by
// whatever clock.
func NewBurnt(start time.Time) *Burnt {
	return &Burnt{since: start.Add(Ahead), most: maxBurnt, each: maxBurntKey, used: map[[32]byte]struct{}{}, by: map[string]int{}}
}

// Burn takes the signature of a write that Verify and Fresh have accepted, by a
// key of the tenant.
func (b *Burnt) Burn(c *Claim, tenant string, now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget(now)
	if !c.Date.After(b.since) {
		e := fault.New(fault.Unavailable, "the request was signed before this cell was ready, or its clock went back; sign it again in a few seconds", "请求签名于本集群就绪之前,或集群时钟回拨;请几秒后重新签名")
		e.RetryAfter = min(max(b.since.Sub(now), time.Second), time.Hour)
		return e
	}
	if _, ok := b.used[c.signature]; ok {
		return fault.New(fault.Unauthenticated, "this signature was used; sign each change anew", "此签名已被使用;每次更改都须重新签名")
	}
	key, owner := "key "+c.KeyID, "tenant "+tenant
	if b.by[owner] >= b.most-len(b.used) || b.by[key] >= b.each {
		return fault.New(fault.Exhausted, "too many changes were signed within 15 minutes; try again later", "15 分钟内签名的更改过多;请稍后再试")
	}
	b.used[c.signature] = struct{}{}
	b.by[key]++
	b.by[owner]++
	// Any write that is accepted now is refused by Fresh after this.
	b.queue = append(b.queue, burn{c.signature, key, owner, c.Date, now.Add(Skew + Ahead + time.Second)})
	return nil
}

func (b *Burnt) forget(now time.Time) {
	gone := 0
	for ; gone < len(b.queue) && b.queue[gone].until.Before(now); gone++ {
		x := b.queue[gone]
		delete(b.used, x.signature)
		for _, who := range []string{x.key, x.tenant} {
			if b.by[who]--; b.by[who] == 0 {
				delete(b.by, who)
			}
		}
		if x.date.After(b.since) {
			b.since = x.date
		}
	}
	b.queue = b.queue[gone:]
}
