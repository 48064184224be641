package signin

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// Bounds of the state between two steps.
const (
	TicketLife = 5 * time.Minute
	maxTickets = 1024 // each is of somebody who knows a password
	maxTries   = 5    // codes on one ticket
)

// pending is somebody who passed the first step.
type pending struct {
	user    resource.Ref
	uid     string
	try     []brake
	known   bool
	changed int64 // of the password
	proof   identity.Proof
	expires time.Time
	tries   int
}

// tickets is the state between two steps, in memory: a restart asks people for
// the password again.
type tickets struct {
	mu sync.Mutex
	of map[[sha256.Size]byte]*pending
}

func newTickets() *tickets { return &tickets{of: map[[sha256.Size]byte]*pending{}} }

// issue ends what has expired; when it is full, the one that ends soonest goes.
func (t *tickets) issue(now time.Time, p pending) string {
	ticket := id.Random(32)
	p.expires = now.Add(TicketLife)
	t.mu.Lock()
	defer t.mu.Unlock()
	var first [sha256.Size]byte
	var soonest time.Time
	for h, x := range t.of {
		if !x.expires.After(now) {
			delete(t.of, h)
		} else if soonest.IsZero() || x.expires.Before(soonest) {
			first, soonest = h, x.expires
		}
	}
	if len(t.of) >= maxTickets {
		delete(t.of, first)
	}
	t.of[sha256.Sum256([]byte(ticket))] = &p
	return ticket
}

// use counts one try on a ticket.
func (t *tickets) use(now time.Time, ticket string) (pending, error) {
	h := sha256.Sum256([]byte(ticket))
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.of[h]
	if p == nil || !p.expires.After(now) || p.tries >= maxTries {
		delete(t.of, h)
		return pending{}, again()
	}
	p.tries++
	return *p, nil
}

func (t *tickets) end(ticket string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.of, sha256.Sum256([]byte(ticket)))
}
