package edge

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// The limiter's memory is fixed: shards × sets × ways cells of 24 bytes, 3 MiB.
const (
	limiterShards = 128
	limiterSets   = 128
	limiterWays   = 8
)

// limiter keeps the rate (GCRA: the theoretical arrival time of the next
// request) and the requests in progress of clients. Where a set is full, the
// client who is nearest to having waited enough makes room: a flood of sources
// costs no memory and only lets the best-behaved be forgotten.
type limiter struct {
	seed   maphash.Seed
	once   sync.Once
	shards []limiterShard // made when a site first has a limit
}

type limiterShard struct {
	mu    sync.Mutex
	cells [limiterSets][limiterWays]cell
}

type cell struct {
	key uint64 // 0 = free
	tat int64  // ns
	now int32  // in progress
}

func newLimiter() *limiter { return &limiter{seed: maphash.MakeSeed()} }

// clientKey is who shares a limit: an IPv4 address or an IPv6 network of /64.
type clientKey struct {
	site   siteName
	route  int // -1 = the whole site, -2 = strikes
	client netip.Addr
}

func client64(a netip.Addr) netip.Addr {
	if a.Is6() && !a.Is4In6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a.Unmap()
}

func (l *limiter) shard(k clientKey) (*limiterShard, uint64) {
	l.once.Do(func() { l.shards = make([]limiterShard, limiterShards) })
	h := maphash.Comparable(l.seed, k)
	return &l.shards[h%limiterShards], h | 1
}

// find returns the cell of a key, made anew if need be; the shard is locked. It
// is nil when every cell of the set is busy with requests in progress.
func (s *limiterShard) find(h uint64, now int64) *cell {
	set := &s.cells[(h>>32)%limiterSets]
	var free *cell
	for i := range set {
		c := &set[i]
		if c.key == h {
			return c
		}
		if c.now == 0 && (free == nil || c.tat < free.tat) {
			free = c
		}
	}
	if free != nil {
		*free = cell{key: h, tat: now}
	}
	return free
}

// rate is a limit made ready.
type rate struct {
	every   int64 // ns between requests
	burst   int64 // ns that may be saved up
	at      int   // index for the key
	atOnce  int32 // 0 = any number
	limited bool  // every counts
}

// take counts one request. wait is how long a client who is refused should
// wait; 0 and false = too many in progress.
func (l *limiter) take(k clientKey, r *rate, now int64) (ok bool, wait time.Duration) {
	s, h := l.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.find(h, now)
	if c == nil {
		return true, 0 // no room: limits are open rather than wrong
	}
	if r.atOnce > 0 && c.now >= r.atOnce {
		return false, 0
	}
	if r.limited {
		tat := max(c.tat, now)
		if late := tat + r.every - now - r.burst; late > 0 {
			return false, time.Duration(late)
		}
		c.tat = tat + r.every
	}
	if r.atOnce > 0 {
		c.now++
	}
	return true, 0
}

// done ends a request that was counted in progress.
func (l *limiter) done(k clientKey) {
	s, h := l.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	set := &s.cells[(h>>32)%limiterSets]
	for i := range set {
		if set[i].key == h && set[i].now > 0 {
			set[i].now--
			return
		}
	}
}
