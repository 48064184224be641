// Package flow lets detection work without a filter: it reads what switches and
// routers tell of the traffic that passes them (sFlow version 5, NetFlow version
// 5 and 9, IPFIX) and makes of it readings of protected addresses. It owns the
// decoders, the exporters that are believed, and what they said lately; it
// judges nothing, opens no door and believes no clock but its own.
//
// All of it comes by UDP, which anybody can forge. Exporters that the
// configuration does not name are counted and not read, and whatever one sends,
// memory, work and log lines are bounded.
package flow

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
)

const (
	// tickEvery is how often readings are handed on. sFlow is sent once a second
	// at least, so that half a second may hold twice what there was, which is
	// still below what the detector takes a short word for.
	tickEvery = 500 * time.Millisecond

	maxDatagram  = 9216 // bytes; what is larger is no exporter's
	maxOwners    = 16_384
	maxSeries    = 16_384 // of all exporters together; 3 KiB each at most
	maxSequences = 16     // of one exporter
	datagrams    = 20_000 // a second that one exporter may send

	mostSampled = 1 << 20 // one packet in so many, at most

	// Silent is how long an exporter says nothing before it is missed.
	Silent = time.Minute
)

// Exporter is a device that is believed.
type Exporter struct {
	Address  netip.Addr
	Sampling uint32 // one packet in so many, whatever it says itself; 0 = as it says
}

// Options of a Collector.
type Options struct {
	Exporters []Exporter
	Clock     func() time.Duration // monotonic; the same for all of the machine's readings
	Readings  func(traffic.Reading)
	Samples   func(traffic.Sample)
	Log       *slog.Logger
}

// Collector reads datagrams. All methods may be called from any goroutine.
type Collector struct {
	opt   Options
	begun time.Duration

	mu        sync.Mutex
	protected *protected
	exporters map[netip.Addr]*exporter
	series    int
	singles   int
	stats     Stats
	ticked    time.Duration
	warned    time.Duration // of a foreign exporter
	foreign   uint64        // until then
	pasts     []past
}

// Stats are counters since the start.
type Stats struct {
	Datagrams uint64 // of exporters that are believed
	Foreign   uint64 // of others
	Malformed uint64
	Excess    uint64 // over what one exporter may send
	Packets   uint64 // fronts of packets by sFlow
	Flows     uint64 // records of NetFlow and IPFIX
	Late      uint64 // of them, ended too long ago
	Lost      uint64 // what sequence numbers say was sent and never came
	Unknown   uint64 // datagrams with sets whose template is not there
	Templates uint64 // that are held
	Refused   uint64 // templates, and series for which there was no room
}

// exporter is one device. The Collector's lock guards it.
type exporter struct {
	Exporter

	source    string
	seen      time.Duration // the newest datagram; 0 = never
	series    map[seriesKey]*series
	singles   map[singleKey]*series
	heavy     map[*owner]*heavy
	templates *templates
	samplers  samplers
	next      map[[2]uint32]uint32 // sequence numbers
	budget    float64
	filled    time.Duration

	lost, unknown uint64
}

type seriesKey struct {
	owner  *owner
	vector traffic.Vector
	out    bool
}

// New makes one.
func New(opt Options) *Collector {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	c := &Collector{opt: opt, begun: opt.Clock(), exporters: map[netip.Addr]*exporter{}}
	c.ticked, c.warned = c.begun, c.begun-time.Hour
	for _, e := range opt.Exporters {
		c.exporters[e.Address.Unmap()] = &exporter{
			Exporter: e, source: "flow " + e.Address.Unmap().String(), series: map[seriesKey]*series{}, singles: map[singleKey]*series{}, heavy: map[*owner]*heavy{}, templates: newTemplates(),
			next: map[[2]uint32]uint32{}, budget: datagrams, filled: c.begun,
		}
	}
	return c
}

// protect puts what is protected in force. What was counted of what stays, stays.
func (c *Collector) protect(p *protected) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.protected = p
	now := map[owner]*owner{}
	for _, o := range p.each {
		now[*o] = o
	}
	for _, x := range c.exporters {
		kept := map[seriesKey]*series{}
		for k, s := range x.series {
			if o := now[*k.owner]; o != nil {
				k.owner = o
				kept[k] = s
			} else {
				c.series--
			}
		}
		x.series = kept
		single := map[singleKey]*series{}
		for k, s := range x.singles {
			if o := now[*k.owner]; o != nil {
				k.owner = o
				single[k] = s
			} else {
				c.singles--
			}
		}
		weights := map[*owner]*heavy{}
		for o, h := range x.heavy {
			if o := now[*o]; o != nil {
				weights[o] = h
			}
		}
		x.singles, x.heavy = single, weights
	}
}

// Count hands readings on until ctx ends.
func (c *Collector) Count(ctx context.Context) {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for _, r := range c.tick(c.opt.Clock()) {
			if c.opt.Readings != nil {
				c.opt.Readings(r)
			}
		}
	}
}

// Take reads one datagram that came from an address. It keeps nothing of it.
func (c *Collector) Take(from netip.AddrPort, datagram []byte, at time.Duration) {
	c.mu.Lock()
	x := c.exporters[from.Addr().Unmap()]
	if x == nil {
		c.stranger(from, at)
		c.mu.Unlock()
		return
	}
	c.stats.Datagrams++
	x.seen = max(x.seen, at)
	if !x.may(at) {
		c.stats.Excess++
		c.mu.Unlock()
		return
	}
	var samples []traffic.Sample
	ok := len(datagram) <= maxDatagram && len(datagram) >= 4
	if ok {
		var err error
		switch version := binary.BigEndian.Uint16(datagram); {
		case isSFlow(datagram):
			var agent, sequence uint32
			agent, sequence, err = readSFlow(datagram, func(f front) {
				if s, ok := c.packet(x, f, at); ok {
					samples = append(samples, s)
				}
			})
			if err == nil {
				x.sequence(0, agent, sequence, 1)
			}
		case version == 5:
			err = x.readV5(datagram, func(r record) { c.flow(x, 0, r, at) })
		case version == 9, version == 10:
			domain := uint32(0)
			if at := 12; version == 10 && len(datagram) >= 16 {
				domain = binary.BigEndian.Uint32(datagram[at:])
			} else if version == 9 && len(datagram) >= 20 {
				domain = binary.BigEndian.Uint32(datagram[16:])
			}
			err = x.readTemplated(datagram, func(r record) { c.flow(x, domain, r, at) })
		default:
			err = errGuard
		}
		ok = err == nil
	}
	if !ok {
		c.stats.Malformed++
	}
	c.mu.Unlock()
	if c.opt.Samples != nil {
		for _, s := range samples {
			c.opt.Samples(s)
		}
	}
}

// stranger counts a datagram of somebody who is not believed, and tells of it
// once a minute at most.
func (c *Collector) stranger(from netip.AddrPort, at time.Duration) {
	c.stats.Foreign++
	c.foreign++
	if at-c.warned < time.Minute {
		return
	}
	c.opt.Log.Warn("flows of an exporter that the configuration does not name are not read", "address", from.Addr().Unmap().String(), "datagrams", c.foreign)
	c.warned, c.foreign = at, 0
}

// may takes one datagram from what an exporter may send.
func (x *exporter) may(at time.Duration) bool {
	if at > x.filled {
		x.budget = min(datagrams, x.budget+(at-x.filled).Seconds()*datagrams)
		x.filled = at
	}
	if x.budget < 1 {
		return false
	}
	x.budget--
	return true
}

// sequence counts what never came. A jump back, or one of too many, is a restart.
func (x *exporter) sequence(version, domain, number, n uint32) {
	key := [2]uint32{version, domain}
	want, known := x.next[key]
	if gap := number - want; known && gap < 100_000 {
		x.lost += uint64(gap)
	}
	if !known && len(x.next) >= maxSequences {
		return
	}
	x.next[key] = number + n
}

// packet counts one front of sFlow.
func (c *Collector) packet(x *exporter, f front, at time.Duration) (traffic.Sample, bool) {
	c.stats.Packets++
	read := traffic.Classify
	if f.ip {
		read = traffic.ClassifyIP
	}
	p, ok := read(f.data)
	if !ok {
		return traffic.Sample{}, false
	}
	if x.Sampling > 0 {
		f.rate = x.Sampling
	}
	n := float64(f.rate)
	amount := cell{packets: n, bytes: n * float64(f.length), suspect: n, seen: 1}
	if to := c.protected.of(p.Dst); to != nil {
		if s := c.seriesOf(x, seriesKey{to, p.Vector, false}); s != nil {
			s.now(at, amount)
		}
		if s := c.single(x, singleKey{to, p.Dst, p.Vector}, n, at); s != nil {
			s.now(at, amount)
		}
		if from := c.protected.of(p.Src); from != nil {
			c.sent(x, from, p.Vector, amount, at)
		}
		return traffic.Sample{At: at, Of: to.ref, Vector: p.Vector, Length: f.length, Network: p.Network, Data: headers(f.data, p)}, true
	}
	if from := c.protected.of(p.Src); from != nil {
		c.sent(x, from, p.Vector, amount, at)
		return traffic.Sample{At: at, Of: from.ref, Out: true, Vector: p.Vector, Length: f.length, Network: p.Network, Data: headers(f.data, p)}, true
	}
	return traffic.Sample{}, false
}

// payloadKept is how much of what a packet carries is kept beside its headers:
// enough for a fingerprint. Nobody knows here which packets are honest.
const payloadKept = 8

func headers(b []byte, p traffic.Packet) []byte {
	end := p.Payload
	if end == 0 {
		end = p.Network + 40
	}
	return slices.Clone(b[:min(len(b), end+payloadKept)])
}

func (c *Collector) sent(x *exporter, from *owner, v traffic.Vector, amount cell, at time.Duration) {
	if s := c.seriesOf(x, seriesKey{from, v, true}); s != nil {
		s.now(at, amount)
	}
}

// flow counts one record.
func (c *Collector) flow(x *exporter, domain uint32, r record, at time.Duration) {
	c.stats.Flows++
	if r.packets == 0 || r.packets > 1<<40 || r.bytes > 1<<50 || !r.src.IsValid() || !r.dst.IsValid() {
		return
	}
	if r.age >= (pastSpan-8)*time.Second {
		c.stats.Late++
		return
	}
	rate := x.Sampling
	if rate == 0 {
		rate = x.samplers.of(domain, &r)
	}
	to, from := c.protected.of(r.dst), c.protected.of(r.src)
	if to == nil && from == nil {
		return
	}
	for _, part := range r.shares() {
		n := float64(r.packets) * part.part
		if n <= 0 {
			continue
		}
		amount := cell{packets: n * float64(rate), bytes: float64(r.bytes) * part.part * float64(rate), seen: n}
		if part.suspect {
			amount.suspect = amount.packets
		}
		for _, k := range [2]seriesKey{{to, part.vector, false}, {from, part.vector, true}} {
			if k.owner == nil {
				continue
			}
			if s := c.seriesOf(x, k); s != nil {
				s.flow(at, r.age, r.lasted, amount)
			}
		}
		if s := c.single(x, singleKey{to, r.dst, part.vector}, amount.packets, at); s != nil {
			s.flow(at, r.age, r.lasted, amount)
		}
	}
}

func (c *Collector) seriesOf(x *exporter, k seriesKey) *series {
	if s := x.series[k]; s != nil {
		return s
	}
	if c.series >= maxSeries {
		c.stats.Refused++
		return nil
	}
	s := &series{}
	x.series[k] = s
	c.series++
	return s
}

// tick makes a reading of each exporter that was heard.
func (c *Collector) tick(at time.Duration) []traffic.Reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	span := at - c.ticked
	if span <= 0 {
		return nil
	}
	c.ticked = at
	var out []traffic.Reading
	sum := map[resource.Ref]*sums{}
	for _, x := range c.exporters {
		if x.seen == 0 {
			continue
		}
		counts := map[*owner]*[2]traffic.Count{}
		for k, s := range x.series {
			s.tick(at, span)
			if at-s.active > idle {
				delete(x.series, k)
				c.series--
				continue
			}
			n := counts[k.owner]
			if n == nil {
				n = &[2]traffic.Count{{Of: k.owner.ref, Address: k.owner.prefix}, {Of: k.owner.ref, Address: k.owner.prefix, Out: true}}
				counts[k.owner] = n
			}
			way := 0
			if k.out {
				way = 1
			}
			n[way].Volume[k.vector] = s.volume()
		}
		r := traffic.Reading{Source: x.source, At: at, Span: span, Estimated: true}
		for o, n := range counts {
			explain(&n[0], &n[1])
			r.Counts = append(r.Counts, n[0], n[1])
			if sum[o.ref] == nil {
				sum[o.ref] = &sums{prefix: o.prefix}
			}
			sum[o.ref].add(n)
		}
		r.Counts = append(r.Counts, c.tellSingles(x, at, span, counts)...)
		out = append(out, r)
	}
	c.remember(at, span, sum)
	return out
}
