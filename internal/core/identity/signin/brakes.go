package signin

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
)

// kind of thing that tries are counted for.
type kind byte

const (
	sourceOf   kind = iota // an IPv4 address, or an IPv6 /64
	account                // a name, whether somebody has it or not
	browser                // one that signed in to the account before
	codesOf                // codes for an account
	codesKnown             // the same, from a known browser
)

// pace is how many tries at once, and how long until there is one more. A try
// that ends signed in is given back. Guessing a code by the month, by somebody
// who knows the password, comes to 3 in 10^6 each.
var pace = map[kind]struct {
	burst int
	every time.Duration
}{
	sourceOf:   {20, 10 * time.Second},
	account:    {10, time.Minute},
	browser:    {10, time.Minute},
	codesOf:    {10, 10 * time.Minute},
	codesKnown: {10, 10 * time.Minute},
}

type brake struct {
	kind kind
	key  string
}

// cells is how many counters there are. They lie where a keyed hash puts them:
// memory is the same whoever tries, and two that share one are slowed more,
// never less.
const cells = 1 << 16

// brakes counts tries. A restart forgets them; nobody outside can cause one.
type brakes struct {
	seed maphash.Seed

	mu   sync.Mutex
	full [cells]int64 // when the cell will be as if nobody had tried, ns
}

func newBrakes() *brakes { return &brakes{seed: maphash.MakeSeed()} }

func (b *brakes) cell(x brake) *int64 {
	return &b.full[maphash.String(b.seed, string(rune(x.kind))+x.key)%cells]
}

// take counts one try against each, or none of them and says when to come
// again.
func (b *brakes) take(t time.Time, all ...brake) error {
	now := t.UnixNano()
	b.mu.Lock()
	defer b.mu.Unlock()
	var wait time.Duration
	for _, x := range all {
		p := pace[x.kind]
		room := int64(p.burst-1) * int64(p.every)
		if over := max(*b.cell(x), now) - now - room; over > 0 {
			wait = max(wait, time.Duration(over))
		}
	}
	if wait > 0 {
		e := fault.New(fault.Exhausted, "too many tries; wait %s", "尝试次数过多;请等待 %s", wait.Round(time.Second).String())
		e.RetryAfter = wait
		return e
	}
	for _, x := range all {
		c := b.cell(x)
		*c = max(*c, now) + int64(pace[x.kind].every)
	}
	return nil
}

// Knock counts a try of a stranger who proves nothing, such as one who asks for
// a tenant, against where he comes from.
func (s *Store) Knock(source string) error {
	return s.slow.take(s.opt.Now(), brake{sourceOf, network(source)})
}

// give takes a try back.
func (b *brakes) give(all ...brake) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, x := range all {
		*b.cell(x) -= int64(pace[x.kind].every)
	}
}

// network is what one client surely has: more addresses are easily got.
func network(source string) string {
	a, err := netip.ParseAddr(source)
	if err != nil {
		return source
	}
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return source
	}
	return p.String()
}
