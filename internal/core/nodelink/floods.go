package nodelink

import (
	"cmp"
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
)

// Limits of what is told of floods at once.
const (
	FloodEvery      = 500 * time.Millisecond
	MaxFloodSpan    = 10 * time.Second
	MaxFloodCounts  = 1024 // addresses and directions; the busiest are told
	MaxFloodSamples = 32
	MaxFloodReport  = 2 << 20 // bytes
	MaxFloodOrders  = 1024
	MaxFloodTries   = 4
	MaxFloodTried   = 64 << 10 // bytes of each thing that was tried
	maxFloodNumber  = 1 << 50  // packets or bytes
)

// FloodReport is what a node's filter counted since the last one: sums, from
// which the control plane sees an attack that each node sees a little of.
type FloodReport struct {
	V       int           `json:"v"`
	Span    time.Duration `json:"span"` // exact, nanoseconds
	Counts  []FloodCount  `json:"counts,omitempty"`
	Left    int           `json:"left,omitempty"` // counts that there was no room for
	Samples []FloodSample `json:"samples,omitempty"`
	Live    []FloodLive   `json:"live,omitempty"` // of the last second; not in every report
	// Tried is what the reply asked to try, by its name. It is the node's word.
	Tried map[string]json.RawMessage `json:"tried,omitempty"`
}

// FloodCount is one direction of one protected address or network.
type FloodCount struct {
	Tenant string                       `json:"tenant"`
	Name   string                       `json:"name"`
	Out    bool                         `json:"out,omitempty"`
	Single netip.Addr                   `json:"single,omitzero"` // one of a network; zero = the whole
	Of     map[traffic.Vector][4]uint64 `json:"of"`              // packets, suspect, bytes, dropped
}

// FloodSample is the front of one packet.
type FloodSample struct {
	Tenant  string         `json:"tenant"`
	Name    string         `json:"name"`
	Out     bool           `json:"out,omitempty"`
	Age     time.Duration  `json:"age"` // when the report was made, nanoseconds
	Vector  traffic.Vector `json:"vector"`
	Dropped bool           `json:"dropped,omitempty"`
	Proven  bool           `json:"proven,omitempty"`
	Length  int            `json:"length"`
	Network int            `json:"network"`
	Data    []byte         `json:"data"` // at most traffic.EvidenceSnap bytes
}

// FloodLive is what goes to one protected address now.
type FloodLive struct {
	Tenant string       `json:"tenant"`
	Name   string       `json:"name"`
	Live   traffic.Live `json:"live"`
}

// FloodReply are all orders that stand for the node; one that it was given before
// and that is not among them is taken back.
type FloodReply struct {
	Orders []FloodOrder `json:"orders,omitempty"`
	Try    []string     `json:"try,omitempty"` // what the node shall try with its filter and tell
}

// FloodOrder is what is to be done about an attack (core/traffic, Order).
type FloodOrder struct {
	Tenant       string                    `json:"tenant"`
	Name         string                    `json:"name"`
	Attack       string                    `json:"attack"`
	Vectors      []traffic.Vector          `json:"vectors"`
	Limits       map[traffic.Vector]uint64 `json:"limits,omitempty"` // packets a second to each address
	Fingerprints []traffic.Fingerprint     `json:"fingerprints,omitempty"`
	For          time.Duration             `json:"for"` // nanoseconds from when it comes
}

func protected(tenant, name string) resource.Ref {
	return resource.Ref{Kind: "ProtectedAddress", Tenant: tenant, Name: name}
}

// Object is the protected address.
func (c *FloodCount) Object() resource.Ref { return protected(c.Tenant, c.Name) }

// Object is the protected address.
func (s *FloodSample) Object() resource.Ref { return protected(s.Tenant, s.Name) }

// Object is the protected address.
func (l *FloodLive) Object() resource.Ref { return protected(l.Tenant, l.Name) }

// Check refuses a report that no filter makes.
func (r *FloodReport) Check() error {
	bad := func(what string) error {
		return fault.New(fault.Invalid, "the report of floods: %s", "洪水报告:%s", what)
	}
	switch {
	case r.V != Schema:
		return bad("another schema")
	case r.Span <= 0 || r.Span > MaxFloodSpan:
		return bad("its span")
	case len(r.Counts) > MaxFloodCounts || len(r.Samples) > MaxFloodSamples || len(r.Live) > MaxFloodCounts:
		return bad("it is too long")
	}
	for _, b := range r.Tried {
		if len(b) > MaxFloodTried || len(r.Tried) > MaxFloodTries {
			return bad("what was tried")
		}
	}
	for _, c := range r.Counts {
		if len(c.Of) > traffic.Vectors {
			return bad("its vectors")
		}
		for _, n := range c.Of {
			if slices.Max(n[:]) > maxFloodNumber || n[1] > n[0] || n[3] > n[0] {
				return bad("its numbers")
			}
		}
	}
	for _, s := range r.Samples {
		if s.Age < 0 || s.Age > MaxFloodSpan || len(s.Data) > traffic.EvidenceSnap || s.Network < 0 || s.Network > len(s.Data) || s.Length < 0 || s.Length > 1<<16 {
			return bad("a sample")
		}
	}
	return nil
}

// Reading is what the report counted, as of now on the reader's monotonic clock.
// prefix says the network of each protected address; what it does not know is
// left out.
func (r *FloodReport) Reading(source string, now time.Duration, prefix func(resource.Ref) (traffic.Count, bool)) traffic.Reading {
	out := traffic.Reading{Source: source, At: now, Span: r.Span}
	for _, c := range r.Counts {
		x, ok := prefix(c.Object())
		if !ok {
			continue
		}
		if c.Single.IsValid() {
			if x.Address.IsSingleIP() || !x.Address.Contains(c.Single) {
				continue
			}
			x.Single = true
			x.Address = netip.PrefixFrom(c.Single, c.Single.BitLen())
		}
		x.Out = c.Out
		for v, n := range c.Of {
			x.Volume[v] = traffic.Volume{Packets: n[0], Suspect: n[1], Bytes: n[2], Dropped: n[3]}
		}
		out.Counts = append(out.Counts, x)
	}
	return out
}

// Sample is the packet, as of now on the reader's monotonic clock.
func (s *FloodSample) Sample(now time.Duration) traffic.Sample {
	return traffic.Sample{At: now - s.Age, Of: s.Object(), Out: s.Out, Vector: s.Vector, Dropped: s.Dropped, Proven: s.Proven, Length: s.Length, Network: s.Network, Data: s.Data}
}

// OrderOf is an order that holds for so long yet.
func OrderOf(o traffic.Order, left time.Duration) FloodOrder {
	out := FloodOrder{Tenant: o.Of.Tenant, Name: o.Of.Name, Attack: o.Attack, Vectors: o.Vectors, Fingerprints: o.Fingerprints, For: left, Limits: map[traffic.Vector]uint64{}}
	for _, v := range o.Vectors {
		if o.Limits[v] > 0 {
			out.Limits[v] = o.Limits[v]
		}
	}
	return out
}

// maxOrderFor is how long an order may hold: its lease is renewed meanwhile.
const maxOrderFor = 5 * time.Minute

// Order is the order as the filter takes it.
func (o *FloodOrder) Order() traffic.Order {
	out := traffic.Order{Of: protected(o.Tenant, o.Name), Attack: o.Attack, Vectors: o.Vectors, For: min(o.For, maxOrderFor)}
	for _, f := range o.Fingerprints {
		if len(f.Payload) <= 8 && (f.Mask == nil || len(f.Mask) == len(f.Payload)) {
			out.Fingerprints = append(out.Fingerprints, f)
		}
	}
	for v, n := range o.Limits {
		out.Limits[v] = n
	}
	return out
}

// Tally sums up what a node's filter counts between two reports. It is safe for
// concurrent use, and bounded whether or not anybody takes from it.
type Tally struct {
	mu      sync.Mutex
	span    time.Duration
	counts  map[tallied]*[traffic.Vectors][4]uint64
	left    int
	samples []traffic.Sample
	seen    int // since the last report
}

type tallied struct {
	of     resource.Ref
	single netip.Addr
	out    bool
}

// Count takes a reading.
func (t *Tally) Count(r traffic.Reading) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = map[tallied]*[traffic.Vectors][4]uint64{}
	}
	if t.span += r.Span; t.span > MaxFloodSpan { // nobody took it
		t.span = r.Span
		clear(t.counts)
		t.left = 0
	}
	for _, c := range r.Counts {
		k := tallied{of: resource.Ref{Kind: c.Of.Kind, Tenant: c.Of.Tenant, Name: c.Of.Name}, out: c.Out}
		if c.Single {
			k.single = c.Address.Addr()
		}
		x := t.counts[k]
		if x == nil {
			if len(t.counts) >= 16*MaxFloodCounts {
				t.left++
				continue
			}
			x = new([traffic.Vectors][4]uint64)
			t.counts[k] = x
		}
		for v, n := range c.Volume {
			x[v][0] += n.Packets
			x[v][1] += min(n.Suspect, n.Packets)
			x[v][2] += n.Bytes
			x[v][3] += min(n.Dropped, n.Packets)
		}
	}
}

// Sample takes a packet; of all since the last report some are kept, each as
// likely as any other.
func (t *Tally) Sample(s traffic.Sample) {
	if s.Network > traffic.EvidenceSnap {
		return
	}
	s.Data = s.Data[:min(len(s.Data), traffic.EvidenceSnap)]
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen++; len(t.samples) < MaxFloodSamples {
		t.samples = append(t.samples, s)
	} else if i := rand.IntN(t.seen); i < MaxFloodSamples {
		t.samples[i] = s
	}
}

// Take is the report of what was counted since the last one, as of now on the
// monotonic clock of the readings; nil = nothing was.
func (t *Tally) Take(now time.Duration, live map[resource.Ref]traffic.Live) *FloodReport {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.span <= 0 {
		return nil
	}
	r := &FloodReport{V: Schema, Span: t.span, Left: t.left}
	busy := map[tallied]uint64{}
	for k, x := range t.counts {
		for v := range x {
			busy[k] += x[v][0]
		}
	}
	keys := make([]tallied, 0, len(busy))
	for k := range busy {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b tallied) int {
		return cmp.Or(cmp.Compare(busy[b], busy[a]), cmp.Compare(a.of.Tenant, b.of.Tenant), cmp.Compare(a.of.Name, b.of.Name))
	})
	n := min(len(keys), MaxFloodCounts)
	r.Left += len(keys) - n
	for _, k := range keys[:n] {
		c := FloodCount{Tenant: k.of.Tenant, Name: k.of.Name, Out: k.out, Single: k.single, Of: map[traffic.Vector][4]uint64{}}
		for v, x := range t.counts[k] {
			if x[0] > 0 {
				c.Of[traffic.Vector(v)] = x
			}
		}
		// An idle address is told too: that nothing comes is news.
		r.Counts = append(r.Counts, c)
	}
	for _, s := range t.samples {
		if age := now - s.At; age >= 0 && age <= MaxFloodSpan {
			r.Samples = append(r.Samples, FloodSample{s.Of.Tenant, s.Of.Name, s.Out, age, s.Vector, s.Dropped, s.Proven, s.Length, s.Network, s.Data})
		}
	}
	for ref, l := range live {
		if len(r.Live) < MaxFloodCounts {
			r.Live = append(r.Live, FloodLive{ref.Tenant, ref.Name, l})
		}
	}
	t.span, t.left, t.seen, t.samples = 0, 0, 0, nil
	clear(t.counts)
	return r
}

// Floods tells what the filter counted, and brings what is to be done.
func (l *Link) Floods(ctx context.Context, r *FloodReport) (FloodReply, error) {
	var out FloodReply
	if err := l.ask(ctx, Floods, r, &out); err != nil {
		return FloodReply{}, err
	}
	out.Orders = out.Orders[:min(len(out.Orders), MaxFloodOrders)]
	out.Try = out.Try[:min(len(out.Try), MaxFloodTries)]
	return out, nil
}
