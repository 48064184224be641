// Package trace remembers the last ten minutes of what went to each protected
// address, second by second, for graphs. It owns nothing but that memory, which
// a restart loses and which is bounded: so many addresses, and of each only the
// vectors and reasons that were seen, which are closed lists.
package trace

import (
	"maps"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
)

// Bounds of what is remembered.
const (
	Seconds      = 600
	maxAddresses = 1000
	maxColumns   = 64 // of one address
)

// Series is the last seconds of one address: figures a second, oldest first,
// all of the same length. A second of which nothing is known is a nought.
type Series struct {
	End                      time.Time
	Packets, Passed, Stopped []float64
	Offered                  map[string][]float64 // packets, by vector
	Dropped                  map[string][]float64 // packets, by reason
}

// Book is the memory. Its methods may be called from any goroutine.
type Book struct {
	mu sync.Mutex
	of map[resource.Ref]*track
}

// New makes an empty one.
func New() *Book { return &Book{of: map[resource.Ref]*track{}} }

type column struct {
	at   [Seconds]float32
	last int64 // second in which it was no nought
}

// track is one address.
type track struct {
	last int64 // newest second
	seen int64 // second in which it was told of
	by   map[string]*column
}

// Take notes what goes to each address now; it is called about once a second.
func (b *Book) Take(now time.Time, all map[resource.Ref]traffic.Live) {
	s := now.Unix()
	b.mu.Lock()
	defer b.mu.Unlock()
	for ref, l := range all {
		ref.UID = ""
		t := b.of[ref]
		if t == nil {
			if len(b.of) >= maxAddresses {
				continue
			}
			t = &track{last: s, by: map[string]*column{}}
			b.of[ref] = t
		}
		t.advance(s)
		t.seen = s
		stopped := 0.0
		for v, n := range l.Offered {
			t.set("+"+v, s, n)
		}
		for r, n := range l.Dropped {
			t.set("-"+r, s, n)
			stopped += n
		}
		t.set("packets", s, l.Packets)
		t.set("passed", s, l.Passed)
		t.set("stopped", s, stopped)
	}
	for ref, t := range b.of {
		if s-t.seen > Seconds || t.seen > s { // gone, or the clock went back
			delete(b.of, ref)
			continue
		}
		t.advance(s)
		maps.DeleteFunc(t.by, func(_ string, c *column) bool { return s-c.last > Seconds })
	}
}

// advance forgets what is older than the ring.
func (t *track) advance(s int64) {
	for x := max(t.last+1, s-Seconds+1); x <= s; x++ {
		for _, c := range t.by {
			c.at[x%Seconds] = 0
		}
	}
	t.last = max(t.last, s)
}

func (t *track) set(name string, s int64, n float64) {
	c := t.by[name]
	if n <= 0 || c == nil && len(t.by) >= maxColumns {
		return
	}
	if c == nil {
		c = &column{}
		t.by[name] = c
	}
	c.at[s%Seconds], c.last = float32(n), s
}

// Of is what is remembered of an address, at most so many seconds; false =
// nothing.
func (b *Book) Of(ref resource.Ref, seconds int) (Series, bool) {
	ref.UID = ""
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.of[ref]
	if t == nil {
		return Series{}, false
	}
	n := min(max(seconds, 1), Seconds)
	read := func(c *column) []float64 {
		out := make([]float64, n)
		for i := range out {
			if x := t.last - int64(n-1-i); c != nil && x >= 0 {
				out[i] = float64(c.at[x%Seconds])
			}
		}
		return out
	}
	out := Series{End: time.Unix(t.last, 0).UTC(), Packets: read(t.by["packets"]), Passed: read(t.by["passed"]), Stopped: read(t.by["stopped"]), Offered: map[string][]float64{}, Dropped: map[string][]float64{}}
	for name, c := range t.by {
		if t.last-c.last >= int64(n) {
			continue
		}
		switch name[0] {
		case '+':
			out.Offered[name[1:]] = read(c)
		case '-':
			out.Dropped[name[1:]] = read(c)
		}
	}
	return out, true
}
