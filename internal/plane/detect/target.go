package detect

import (
	"math"
	"net/netip"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
)

const (
	silent = 2 * time.Second // without a reading: the short window says nothing any more

	buckets    = 20
	bucketSpan = longWindow / buckets
)

// amount of one vector in a span. Seen are the packets that were really looked
// at: +Inf where every one was.
type amount struct{ packets, suspect, bytes, dropped, seen float64 }

// counting is how figures came to be.
type counting struct {
	scale              uint64 // that they are to be multiplied by
	sampled, estimated bool   // not every packet was looked at
}

func (c counting) of(v *traffic.Volume) amount {
	a := amount{packets: float64(v.Packets * c.scale), suspect: float64(v.Suspect * c.scale), bytes: float64(v.Bytes * c.scale), dropped: float64(v.Dropped * c.scale), seen: math.Inf(1)}
	switch {
	case v.Packets == 0:
		a.seen = 0
	case c.estimated:
		a.seen = float64(v.Seen)
	case c.sampled:
		a.seen = float64(v.Packets)
	}
	return a
}

func (a *amount) add(b amount) {
	a.packets += b.packets
	a.suspect += b.suspect
	a.bytes += b.bytes
	a.dropped += b.dropped
	a.seen += b.seen
}

// slice is what one source counted in a span of exactly known length.
type slice struct {
	span   time.Duration
	volume [traffic.Vectors]amount
}

// window is what one source said of one target.
type window struct {
	at    time.Duration // end of the newest reading
	short [2]slice      // the newest readings
	long  [buckets]slice
	now   int // in long
}

// target is one direction of one address.
type target struct {
	of      resource.Ref
	addr    string
	out     bool
	wide    bool // a network: its sum is judged by higher thresholds
	single  bool // one of a network
	sources map[string]*window
	usual   usual
}

func newTarget(c *traffic.Count, u usual) *target {
	return &target{usual: u, of: c.Of, addr: c.Address.String(), out: c.Out, single: c.Single, wide: !c.Address.IsSingleIP(), sources: map[string]*window{}}
}

// isWide reports the address of a network, as netip.Prefix prints it.
func isWide(addr string) bool {
	p, err := netip.ParsePrefix(addr)
	return err == nil && !p.IsSingleIP()
}

// add takes a reading; false = a source too many.
func (t *target) add(source string, at, span time.Duration, v *[traffic.Vectors]traffic.Volume, how counting) bool {
	w := t.sources[source]
	if w == nil {
		if len(t.sources) >= maxSources && !t.forget(at) {
			return false
		}
		w = &window{}
		t.sources[source] = w
	}
	w.at = at
	s := slice{span: span}
	for i := range v {
		s.volume[i] = how.of(&v[i])
	}
	w.short[0], w.short[1] = w.short[1], s
	if w.long[w.now].span >= bucketSpan {
		w.now = (w.now + 1) % buckets
		w.long[w.now] = slice{}
	}
	b := &w.long[w.now]
	b.span += span
	for i := range b.volume {
		b.volume[i].add(s.volume[i])
	}
	return true
}

// newest is the end of the newest reading.
func (t *target) newest() (at time.Duration) {
	for _, w := range t.sources {
		at = max(at, w.at)
	}
	return at
}

// forget drops a source that says nothing any more.
func (t *target) forget(now time.Duration) bool {
	for name, w := range t.sources {
		if now-w.at > longWindow {
			delete(t.sources, name)
			return true
		}
	}
	return false
}

// rates of one vector, a second, summed over the sources: in the short window
// and in the long one. A source whose readings are longer than the short window
// says nothing about that.
func (t *target) rates(v traffic.Vector) (short, long amount) {
	now := t.newest()
	for _, w := range t.sources {
		// Of a source that fell silent nothing goes on.
		if now-w.at > longWindow {
			continue
		}
		span := w.short[0].span + w.short[1].span
		if w.short[1].span >= shortWindow {
			span, w.short[0] = w.short[1].span, slice{}
		}
		if span >= shortWindow*3/4 && span <= 5*shortWindow && now-w.at <= silent {
			a := w.short[0].volume[v]
			a.add(w.short[1].volume[v])
			short.add(a.over(span))
		}
		var sum amount
		var whole time.Duration
		for i := range w.long {
			sum.add(w.long[i].volume[v])
			whole += w.long[i].span
		}
		// A source that has only begun has not sent for the whole window.
		long.add(sum.over(max(whole, longWindow)))
	}
	return short, long
}

// lately is the rate of the last second: what is reported, since the short
// window is too short to weigh a flood that comes in bursts.
func (t *target) lately(v traffic.Vector) amount {
	var all amount
	for _, w := range t.sources {
		var sum amount
		var whole time.Duration
		for i := range buckets {
			b := &w.long[(w.now-i+buckets)%buckets]
			sum.add(b.volume[v])
			if whole += b.span; whole >= time.Second {
				break
			}
		}
		if whole > 0 {
			all.add(sum.over(whole))
		}
	}
	return all
}

func (a amount) over(span time.Duration) amount {
	s := span.Seconds()
	return amount{a.packets / s, a.suspect / s, a.bytes / s, a.dropped / s, a.seen}
}

// sure is the share of a rate that it surely has (about 98 %), by how many
// packets it follows from: what was sampled is as uncertain as a die.
func (a amount) sure() float64 {
	if a.seen < leastSeen {
		return 0
	}
	return 1 - 2/math.Sqrt(a.seen)
}

// above says whether a vector is an attack's, and how much of it there is.
func (t *target) above(v traffic.Vector, limit, crowd float64) (hot bool, rate amount) {
	short, long := t.rates(v)
	rate = long
	if short.packets > long.packets {
		rate = short
	}
	few, many := short.sure(), long.sure()
	hot = few*short.suspect >= shortFactor*limit || few*short.packets >= shortFactor*crowd*limit || many*long.suspect >= limit || many*long.packets >= crowd*limit
	return hot, rate
}

// below says that nothing of an attack is left.
func (t *target) below(v traffic.Vector, limit, crowd float64) bool {
	short, _ := t.rates(v)
	return short.suspect < endFactor*limit && short.packets < endFactor*crowd*limit
}
