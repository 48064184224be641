// Package verdicts owns automatic, expiring judgements that are never records:
// bans that a rule made, flows that proved themselves, challenges that were
// passed (design section 2, Verdicts). A Set is bounded in number and in life,
// and nodes repair each other's sets by digests, so that a verdict of one node
// soon holds on all. It makes no judgement, opens no connection and does not
// ask who a peer is: whoever connects two sets has authenticated both ends.
// Nothing in it is kept for ever, and nobody may rely on a verdict to be there:
// what must hold is a record.
//
// A verdict ends when the wall says so or when as much time has passed as it
// had when it was taken, whichever comes first: a clock that goes back makes no
// ban longer, and one that jumps forward and comes back has not undone those
// that are still held.
package verdicts

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/core/fault"
)

// Limits, in bytes of each name, in verdicts, and in time.
const (
	MaxKind = 32
	MaxKey  = 128
	MaxRule = 64
	MaxNode = 64

	DefaultMax     = 1 << 17
	LimitMax       = 1 << 20
	DefaultMaxLife = 24 * time.Hour
	LimitMaxLife   = 30 * 24 * time.Hour
)

// Verdict is one judgement. All names are UTF-8 and at least one byte long.
type Verdict struct {
	Kind  string    // as in "ban"; at most MaxKind bytes
	Key   string    // what is judged, as in an address; at most MaxKey bytes
	Until time.Time // UTC, exact to 1 µs; from then on it no longer holds
	Rule  string    // that made it; at most MaxRule bytes
	Node  string    // that made it; at most MaxNode bytes
}

// Of names what a tenant's verdict is about: on other machines it is shown
// where the tenant is placed, and nowhere else.
func Of(tenant, about string) string { return tenant + " " + about }

// TenantOf is the tenant of a key that Of made; "" for one of the whole cell.
func TenantOf(key string) string {
	tenant, _, ok := strings.Cut(key, " ")
	if !ok {
		return ""
	}
	return tenant
}

// Options of a Set.
type Options struct {
	Clock   clock.Clock   // nil is the machine's
	Max     int           // verdicts held; 0 is DefaultMax, at most LimitMax
	MaxLife time.Duration // from when one is taken; 0 is DefaultMaxLife, at most LimitMaxLife
}

// Set holds verdicts. All methods may be called from any goroutine.
type Set struct {
	clock   clock.Clock
	max     int
	maxLife time.Duration
	evicted atomic.Uint64
	refused atomic.Uint64
	turn    atomic.Uint64 // where the next message that cannot hold all begins

	mu    sync.RWMutex
	held  map[name]*entry
	queue queue         // the same entries; the one that ends soonest first
	swept time.Duration // of Passed: when the dead were last looked for
}

// New is an empty set. Options out of range are brought into it.
func New(o Options) *Set {
	if o.Clock == nil {
		o.Clock = clock.New()
	}
	if o.Max <= 0 {
		o.Max = DefaultMax
	}
	if o.MaxLife <= 0 {
		o.MaxLife = DefaultMaxLife
	}
	return &Set{
		clock:   o.Clock,
		max:     min(o.Max, LimitMax),
		maxLife: min(o.MaxLife, LimitMaxLife).Truncate(time.Microsecond),
		held:    map[name]*entry{},
	}
}

// Put takes a verdict of this node. One that would live longer than MaxLife
// lives MaxLife; one that has ended changes nothing. Of two for the same kind
// and key the later Until wins, then the smaller Node. When the set is full,
// the one that ends soonest goes. Names that are empty, too long or not UTF-8
// are invalid.
func (s *Set) Put(v Verdict) error {
	if !v.valid() {
		return fault.New(fault.Invalid, "a verdict needs kind, key, rule and node, of at most %d, %d, %d and %d bytes of UTF-8", "判定必须有类型、键、规则和节点，UTF-8 编码分别不超过 %d、%d、%d 和 %d 字节", MaxKind, MaxKey, MaxRule, MaxNode)
	}
	now := s.clock.Now()
	if !v.Until.After(now) {
		return nil
	}
	if most := now.Add(s.maxLife); v.Until.After(most) {
		v.Until = most
	}
	e := newEntry(v, v.Until.UnixMicro())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.take(e, s.moment())
	return nil
}

// Has reports whether a verdict of the kind holds for the key now. It is made
// for the way of every packet and request.
func (s *Set) Has(kind, key string) bool {
	s.mu.RLock()
	e := s.held[name{kind, key}]
	s.mu.RUnlock()
	return e != nil && e.lives(s.moment()) // entries never change what they say
}

// Len is the number of verdicts that hold now; it looks at each.
func (s *Set) Len() int {
	at, n := s.moment(), 0
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, e := range s.queue {
		if e.lives(at) {
			n++
		}
	}
	return n
}

// All are the verdicts that hold now, by kind and key.
func (s *Set) All() []Verdict {
	live := s.living(func(*entry) bool { return true })
	out := make([]Verdict, len(live))
	for i, e := range live {
		out[i] = e.verdict()
	}
	slices.SortFunc(out, func(a, b Verdict) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key))
	})
	return out
}

// Evicted counts verdicts that went before their time because the set was full.
func (s *Set) Evicted() uint64 { return s.evicted.Load() }

// Refused counts verdicts of peers and snapshots that would have lived longer
// than MaxLife: somebody's clock is wrong, or somebody lies.
func (s *Set) Refused() uint64 { return s.refused.Load() }

func (v *Verdict) valid() bool {
	return fits(v.Kind, MaxKind) && fits(v.Key, MaxKey) && fits(v.Rule, MaxRule) && fits(v.Node, MaxNode)
}

func fits(s string, most int) bool { return s != "" && len(s) <= most && utf8.ValidString(s) }

// living are the entries that hold now and that want likes.
func (s *Set) living(want func(*entry) bool) []*entry {
	at := s.moment()
	var out []*entry
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, e := range s.queue {
		if e.lives(at) && want(e) {
			out = append(out, e)
		}
	}
	return out
}
