package accesskeys

import (
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/core/identity/sigv4"
	"github.com/dun-sec/dun/internal/core/secret"
)

// Bounds of the ring. Each opening is a leaf of the log; a key that is in use
// makes one an hour.
const (
	ringPlaces = 4096
	ringLife   = time.Hour
)

// ring holds secrets that are open. What a reference stands for never changes,
// and who asks has just read it from the record: one that is disabled or gone is
// not asked for again.
type ring struct {
	opening sync.Mutex // one at a time

	mu   sync.RWMutex // of reading a secret as well: it is not wiped under a reader
	open map[secret.Ref]opened
}

type opened struct {
	v     secret.Value
	until time.Duration // by clock.Passed
}

func (g *ring) verify(c clock.Clock, ref secret.Ref, claim *sigv4.Claim, open func(secret.Ref) (secret.Value, error)) (right bool, err error) {
	if right, ok := g.try(c, ref, claim); ok {
		return right, nil
	}
	g.opening.Lock()
	defer g.opening.Unlock()
	if right, ok := g.try(c, ref, claim); ok {
		return right, nil
	}
	v, err := open(ref)
	if err != nil {
		return false, err
	}
	right = claim.Verify(v.Reveal())
	g.add(c, ref, v)
	return right, nil
}

func (g *ring) try(c clock.Clock, ref secret.Ref, claim *sigv4.Claim) (right, ok bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	x, ok := g.open[ref]
	if !ok || x.until < c.Passed() {
		return false, false
	}
	return claim.Verify(x.v.Reveal()), true
}

func (g *ring) add(c clock.Clock, ref secret.Ref, v secret.Value) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if old, ok := g.open[ref]; ok {
		old.v.Wipe()
	} else if len(g.open) >= ringPlaces {
		for gone, x := range g.open { // any one
			x.v.Wipe()
			delete(g.open, gone)
			break
		}
	}
	g.open[ref] = opened{v, c.Passed() + ringLife}
}

// keep wipes what is over, and what keep does not name.
func (g *ring) keep(c clock.Clock, wanted map[secret.Ref]bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for ref, x := range g.open {
		if x.until < c.Passed() || !wanted[ref] {
			x.v.Wipe()
			delete(g.open, ref)
		}
	}
}
