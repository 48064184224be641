package flow

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netsampler/goflow2/v2/decoders/netflow"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/kinds/shield"
	"github.com/dun-sec/dun/internal/kinds/system"
)

var (
	router = netip.MustParseAddrPort("192.0.2.1:4000")
	shop   = resource.Ref{Kind: "ProtectedAddress", Tenant: resource.Platform, Name: "shop"}
)

// bench plays datagrams in simulated time.
type bench struct {
	*Collector
	t       *testing.T
	at      time.Duration
	samples []traffic.Sample
	log     bytes.Buffer
}

func newBench(t *testing.T, exporters ...Exporter) *bench {
	b := &bench{t: t, at: time.Hour}
	if len(exporters) == 0 {
		exporters = []Exporter{{Address: router.Addr()}}
	}
	b.Collector = New(Options{Exporters: exporters, Clock: func() time.Duration { return b.at }, Samples: func(s traffic.Sample) { b.samples = append(b.samples, s) }, Log: slog.New(slog.NewTextHandler(&b.log, nil))})
	b.protect(assign(records("198.51.100.7", "2001:db8::/64")))
	return b
}

func records(prefixes ...string) map[resource.Ref]*resource.Object {
	all := map[resource.Ref]*resource.Object{}
	for i, p := range prefixes {
		name := "shop"
		if i > 0 {
			name = fmt.Sprint("shop", i)
		}
		protectIn(all, resource.Platform, name, p)
	}
	return all
}

func protectIn(all map[resource.Ref]*resource.Object, tenant, name, prefix string) {
	ref := resource.Ref{Kind: "ProtectedAddress", Tenant: tenant, Name: name}
	all[ref] = &resource.Object{Kind: "ProtectedAddress", Metadata: resource.Metadata{Tenant: tenant, Name: name}, Spec: &shield.ProtectedAddressSpec{Prefix: prefix}}
}

// play sends what each makes for every tick of that time and returns the
// readings of shop: packets a second of a vector, by tick.
func (b *bench) play(lasts time.Duration, v traffic.Vector, each func(tick int) []byte) (rates []float64) {
	n := int(lasts / tickEvery)
	for i := range n {
		if each != nil {
			if d := each(i); d != nil {
				b.Take(router, d, b.at)
			}
		}
		b.at += tickEvery
		rate := 0.0
		for _, r := range b.tick(b.at) {
			for _, c := range r.Counts {
				if c.Of == shop && !c.Out {
					rate += float64(c.Volume[v].Packets) / r.Span.Seconds()
				}
			}
		}
		rates = append(rates, rate)
	}
	return rates
}

func about(got, want, within float64) bool { return math.Abs(got-want) <= want*within }

// wire writes datagrams.
type wire struct{ b []byte }

func (w *wire) u8(v ...byte) *wire { w.b = append(w.b, v...); return w }
func (w *wire) u16(v ...uint16) *wire {
	for _, x := range v {
		w.b = binary.BigEndian.AppendUint16(w.b, x)
	}
	return w
}

func (w *wire) u32(v ...uint32) *wire {
	for _, x := range v {
		w.b = binary.BigEndian.AppendUint32(w.b, x)
	}
	return w
}

func (w *wire) addr(s string) *wire { w.b = append(w.b, netip.MustParseAddr(s).AsSlice()...); return w }

// frame is an Ethernet frame of a SYN to shop.
func frame(src string, flags byte) []byte {
	w := new(wire).u8(2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2).u16(0x0800)
	w.u8(0x45, 0).u16(40, 1, 0).u8(64, 6).u16(0).addr(src).addr("198.51.100.7")
	w.u16(40000, 80).u32(1, 0).u8(0x50, flags).u16(64240, 0, 0)
	return w.b
}

// sflow is a datagram of n samples of one frame.
func sflow(sequence, rate uint32, expanded bool, n int, f []byte) []byte {
	return sflowOf(sequence, rate, expanded, slices.Repeat([][]byte{f}, n))
}

func sflowOf(sequence, rate uint32, expanded bool, frames [][]byte) []byte {
	w := new(wire).u32(5, 1).addr("192.0.2.1").u32(0, sequence, 1000, uint32(len(frames)))
	for _, f := range frames {
		raw := new(wire).u32(1, uint32(len(f)+4), 4, uint32(len(f))).u8(f...)
		for len(raw.b)%4 != 0 {
			raw.u8(0)
		}
		body := new(wire)
		if expanded {
			body.u32(7, 0, 3, rate, 1000, 0, 0, 3, 0, 4)
		} else {
			body.u32(7, 3, rate, 1000, 0, 3, 4)
		}
		body.u32(2, 1001, 8, 1, 2).u32(1, uint32(len(raw.b))).u8(raw.b...) // an extended switch record first
		format := uint32(1)
		if expanded {
			format = 3
		}
		w.u32(format, uint32(len(body.b))).u8(body.b...)
	}
	return w.b
}

func TestSFlow(t *testing.T) {
	for _, expanded := range []bool{false, true} {
		b := newBench(t)
		// 20 samples a second of one packet in 512.
		rates := b.play(10*time.Second, traffic.SYN, func(i int) []byte {
			return sflow(uint32(i), 512, expanded, 10, frame("203.0.113.9", traffic.TCPSyn))
		})
		for i, r := range rates {
			if r != 10_240 {
				t.Fatalf("tick %d: %v", i, r)
			}
		}
		if len(b.samples) != 200 || b.samples[0].Of != shop || b.samples[0].Vector != traffic.SYN || b.samples[0].Network != 14 || b.samples[0].Length != 58 {
			t.Errorf("%d %+v", len(b.samples), b.samples[0])
		}
		r := b.tick(b.at + tickEvery)[0]
		if !r.Estimated || r.Source != "flow 192.0.2.1" {
			t.Errorf("%+v", r)
		}
		if l := b.Live()[shop]; !about(l.Packets, 10_240, 0.3) || l.Address != "198.51.100.7/32" || !l.Monitor {
			t.Errorf("%+v", l)
		}
		if rates := b.play(5*time.Second, traffic.SYN, nil); rates[2] != 0 {
			t.Error("after it:", rates)
		}
		if s := b.Stats(); s.Malformed > 0 || s.Lost > 0 || s.Packets != 200 {
			t.Errorf("%+v", s)
		}
	}
	// What the configuration says of the rate comes first.
	b := newBench(t, Exporter{Address: router.Addr(), Sampling: 100})
	if rates := b.play(time.Second, traffic.SYN, func(i int) []byte {
		return sflow(uint32(i), 512, false, 10, frame("203.0.113.9", traffic.TCPSyn))
	}); rates[0] != 2000 {
		t.Error(rates)
	}
	// The payload of what may be an honest packet is not kept.
	long := append(frame("203.0.113.9", traffic.TCPAck), bytes.Repeat([]byte("secret"), 10)...)
	b.Take(router, sflow(9, 1, false, 1, long), b.at)
	if s := b.samples[len(b.samples)-1]; len(s.Data) != 14+40+payloadKept {
		t.Error(len(s.Data))
	}
}

// v5 is NetFlow version 5: the exporter is up for a minute and more.
func v5(rate uint16, uptime, first, last uint32, proto, flags byte, sport, dport uint16, packets uint32, sources ...string) []byte {
	w := new(wire).u16(5, uint16(len(sources))).u32(uptime, 1_800_000_000, 0, 0).u8(0, 0).u16(rate | 0x4000)
	for _, s := range sources {
		w.addr(s).addr("198.51.100.7").u32(0).u16(1, 2).u32(packets, packets*60, first, last).u16(sport, dport).u8(0, flags, proto, 0).u16(0, 0).u8(0, 0).u16(0)
	}
	return w.b
}

func many(n int) (out []string) {
	for i := range n {
		out = append(out, netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}).String())
	}
	return out
}

// TestManyShortFlows: an exporter tells of each packet of a SYN flood when it was
// idle for 15 s; one packet in ten was looked at.
func TestManyShortFlows(t *testing.T) {
	b := newBench(t)
	now := uint32(100_000)
	rates := b.play(20*time.Second, traffic.SYN, func(i int) []byte {
		now += 500
		return v5(10, now, now-15_250-uint32(i%5)*40, now-15_250-uint32(i%5)*40, 6, traffic.TCPSyn, 40000, 80, 1, many(30)...)
	})
	for i, r := range rates[4:] {
		if !about(r, 600, 0.01) {
			t.Fatalf("tick %d: %v", i+4, rates)
		}
	}
	// The end is seen soon.
	if rates := b.play(8*time.Second, traffic.SYN, nil); rates[0] == 0 || rates[7] != 0 {
		t.Error(rates)
	}
}

// TestBursts: an exporter tells of 15 s all at once; that is no flood.
func TestBursts(t *testing.T) {
	b := newBench(t)
	rates := b.play(90*time.Second, traffic.UDP, func(i int) []byte {
		if i%30 != 0 {
			return nil
		}
		now := uint32(100_000 + i*500)
		var last []byte
		for s := range uint32(15) { // 40 packets in each second
			last = v5(0, now, now-s*1000-100, now-s*1000-100, 17, 0, 40000, 8080, 2, many(20)...)
			if s < 14 {
				b.Take(router, last, b.at)
			}
		}
		return last
	})
	for i, r := range rates[2:] {
		if !about(r, 40, 0.3) {
			t.Fatalf("tick %d: %v", i, rates)
		}
	}
}

// TestLongFlows: a flood of one flow is told of each minute, and is what it is
// from the first word on.
func TestLongFlows(t *testing.T) {
	b := newBench(t)
	rates := b.play(150*time.Second, traffic.UDP, func(i int) []byte {
		if i%120 != 0 {
			return nil
		}
		now := uint32(100_000 + i*500)
		return v5(0, now, now-60_000, now, 17, 0, 40000, 8080, 600_000, "203.0.113.9")
	})
	for i, r := range rates[:240] {
		if !about(r, 10_000, 0.01) {
			t.Fatalf("tick %d: %v", i, r)
		}
	}
}

// TestClocksAreNotBelieved: whatever an exporter's clock says, or ours does,
// nobody is told of more than there was.
func TestClocksAreNotBelieved(t *testing.T) {
	for name, x := range map[string][3]uint32{
		"the flow ends ahead":        {100_000, 100_000, 4_000_000_000},
		"it begins after it ended":   {100_000, 90_000, 80_000},
		"the exporter began anew":    {5, 1_000_000, 1_000_000},
		"it wraps":                   {5, ^uint32(0) - 10, ^uint32(0) - 5},
		"it is from days ago":        {400_000_000, 100, 100},
		"it has lasted for days":     {400_000_000, 100, 400_000_000},
		"it has lasted for no time":  {100_000, 100_000, 100_000},
		"it has lasted a half hour":  {100_000_000, 98_200_000, 100_000_000},
		"it is at the edge of brief": {100_000, 97_999, 99_999},
	} {
		b := newBench(t)
		sum := 0.0
		for _, r := range b.play(3*time.Minute, traffic.UDP, func(i int) []byte {
			if i > 0 {
				return nil
			}
			return v5(0, x[0], x[1], x[2], 17, 0, 40000, 8080, 1000, "203.0.113.9")
		}) {
			sum += r * tickEvery.Seconds()
		}
		if sum > 3500 { // held a little longer than it was
			t.Errorf("%s: %v packets of 1000", name, sum)
		}
	}
	b := newBench(t)
	b.play(10*time.Second, traffic.UDP, func(i int) []byte {
		return v5(0, 100_000, 99_000, 100_000, 17, 0, 40000, 8080, 1000, "203.0.113.9")
	})
	b.Take(router, v5(0, 100_000, 40_000, 100_000, 17, 0, 40000, 8080, 60_000, "203.0.113.9"), b.at)
	b.at += 100 * time.Hour // the machine slept
	for _, r := range b.tick(b.at) {
		if len(r.Counts) > 0 && r.Counts[0].Volume[traffic.UDP].Packets > 2000*360_000 {
			t.Errorf("%+v", r.Counts[0].Volume[traffic.UDP])
		}
	}
	b.at -= 50 * time.Hour // which it never does
	b.Take(router, v5(0, 100_000, 99_000, 100_000, 17, 0, 40000, 8080, 1000, "203.0.113.9"), b.at)
	if r := b.tick(b.at); r != nil {
		t.Errorf("%+v", r)
	}
}

// template of flows, as most exporters have it.
var usual = []uint16{8, 4, 12, 4, 2, 4, 1, 4, 7, 2, 11, 2, 6, 1, 4, 1, 22, 4, 21, 4}

func set(id uint16, body []byte) []byte {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	return append(new(wire).u16(id, uint16(len(body)+4)).b, body...)
}

func templateSet(version, id uint16, fields ...uint16) []byte {
	kind := uint16(0)
	if version == 10 {
		kind = 2
	}
	return set(kind, new(wire).u16(id, uint16(len(fields)/2)).u16(fields...).b)
}

func templated(version uint16, uptime, sequence, domain uint32, sets ...[]byte) []byte {
	body := bytes.Join(sets, nil)
	w := new(wire)
	if version == 9 {
		w.u16(9, uint16(len(sets))).u32(uptime, 1_800_000_000, sequence, domain)
	} else {
		w.u16(10, uint16(len(body)+16)).u32(1_800_000_000, sequence, domain)
	}
	return append(w.b, body...)
}

func udpRecord(uptime uint32, packets uint32) []byte {
	return new(wire).addr("203.0.113.9").addr("198.51.100.7").u32(packets, packets*100).u16(40000, 8080).u8(0, 17).u32(uptime-100, uptime-100).b
}

func TestTemplates(t *testing.T) {
	for _, version := range []uint16{9, 10} {
		b := newBench(t)
		data := func(i int, id uint16) []byte { return set(id, udpRecord(100_000, 1000)) }
		b.play(time.Second, traffic.UDP, func(i int) []byte { return templated(version, 100_000, uint32(i), 7, data(i, 300)) })
		if s := b.Stats(); s.Unknown != 2 || s.Malformed != 0 || s.Flows != 0 {
			t.Fatalf("%d before the template: %+v", version, s)
		}
		b.Take(router, templated(version, 100_000, 2, 7, templateSet(version, 300, usual...)), b.at)
		// The rate comes by options: sampler 1 looks at one packet in 50.
		options := set(1, new(wire).u16(301, 4, 8, 1, 4, 48, 1, 34, 4).b)
		if version == 10 {
			options = set(3, new(wire).u16(301, 3, 1, 149, 4, 48, 1, 34, 4).b)
		}
		b.Take(router, templated(version, 100_000, 3, 7, options, set(301, new(wire).u32(7).u8(1).u32(50).b)), b.at)
		rates := b.play(5*time.Second, traffic.UDP, func(i int) []byte { return templated(version, 100_000, uint32(4+i), 7, data(i, 300)) })
		if !about(rates[6], 100_000, 0.5) || !about(rates[7], 100_000, 0.5) {
			t.Errorf("%d: %v", version, rates)
		}
		// Another domain's template of that number is another.
		before := b.Stats().Flows
		b.Take(router, templated(version, 100_000, 1, 8, data(0, 300)), b.at)
		if n := b.Stats().Flows; n != before {
			t.Errorf("%d: %d records by the template of another domain", version, n-before)
		}
	}
}

// captured are datagrams that softflowd 1.1.0 sent of a SYN flood to 198.51.100.5
// of which it looked at one packet in four.
func captured(t testing.TB, version int) (out [][]byte) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("testdata/softflowd-%d.hex", version))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		d, err := hex.DecodeString(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, d)
	}
	return out
}

func TestRealDatagrams(t *testing.T) {
	for _, version := range []int{5, 9, 10} {
		b := newBench(t)
		b.protect(assign(records("198.51.100.5")))
		for _, d := range captured(t, version) {
			b.Take(router, d, b.at)
		}
		b.at += tickEvery
		var all traffic.Volume
		for _, c := range b.tick(b.at)[0].Counts {
			for v, x := range c.Volume {
				if v != int(traffic.SYN) && x.Packets > 0 {
					t.Errorf("%d: %d packets of %s", version, x.Packets, traffic.Vector(v))
				}
			}
			all = c.Volume[traffic.SYN]
			break
		}
		s := b.Stats()
		if s.Malformed > 0 || s.Unknown > 0 || s.Late > 0 || s.Flows < 60 || all.Packets < 20 || all.Suspect != all.Packets {
			t.Errorf("%d: %+v %+v", version, s, all)
		}
		// One packet in four, and each is looked at half a second of two.
		if got := float64(all.Packets) / float64(max(all.Seen, 1)); got < 3.5 || got > 4.6 {
			t.Errorf("%d: one packet in %v was looked at", version, got)
		}
	}
}

// TestTimesOfARecord: in every form that they have, 7 s before the export and
// 3 s long.
func TestTimesOfARecord(t *testing.T) {
	const export1970 = 1_800_000_000
	ntp := func(seconds uint32) []byte { return new(wire).u32(seconds+2_208_988_800, 1<<31).b }
	milli := func(seconds uint64) []byte { return binary.BigEndian.AppendUint64(nil, seconds*1000) }
	word := func(v uint32) []byte { return new(wire).u32(v).b }
	f := func(kind uint16, b []byte) netflow.DataField { return netflow.DataField{Type: kind, Value: b} }
	for name, x := range map[string]struct {
		version uint16
		fields  []netflow.DataField
	}{
		"version 9, uptime": {9, []netflow.DataField{f(22, word(90_000)), f(21, word(93_000))}},
		"version 9, epoch":  {9, []netflow.DataField{f(152, milli(export1970-10)), f(153, milli(export1970-7))}},
		"seconds":           {10, []netflow.DataField{f(150, word(export1970-10)), f(151, word(export1970-7))}},
		"milliseconds":      {10, []netflow.DataField{f(152, milli(export1970-10)), f(153, milli(export1970-7))}},
		"microseconds":      {10, []netflow.DataField{f(154, ntp(export1970-10)), f(155, ntp(export1970-7))}},
		"nanoseconds":       {10, []netflow.DataField{f(156, ntp(export1970-10)), f(157, ntp(export1970-7))}},
		"before the export": {10, []netflow.DataField{f(159, word(7_000_000)), f(161, word(3000))}},
		"uptime and boot":   {10, []netflow.DataField{f(22, word(90_000)), f(21, word(93_000)), f(160, milli(export1970-100))}},
		"uptime and epoch":  {10, []netflow.DataField{f(22, word(1)), f(21, word(2)), f(152, milli(export1970-10)), f(153, milli(export1970-7))}},
		"end and how long":  {10, []netflow.DataField{f(153, milli(export1970-7)), f(162, word(3_000_000))}},
	} {
		r := export{version: x.version, uptime: 100_000, seconds: export1970}.record(x.fields)
		if d := r.age - 7*time.Second; d > time.Second || d < -time.Second || r.lasted != 3*time.Second {
			t.Errorf("%s: %s before, %s long", name, r.age, r.lasted)
		}
	}
}

// TestATemplateFlood: templates are few, and those that are used stay.
func TestATemplateFlood(t *testing.T) {
	b := newBench(t)
	b.Take(router, templated(9, 100_000, 0, 7, templateSet(9, 300, usual...)), b.at)
	for i := range 5000 {
		b.at += time.Millisecond
		b.Take(router, templated(9, 100_000, uint32(i), uint32(i)*31, templateSet(9, uint16(300+i), 8, 4, 12, 4, 2, 4)), b.at)
		if i%100 == 0 {
			b.Take(router, templated(9, 100_000, 0, 7, set(300, udpRecord(100_000, 10))), b.at)
		}
	}
	if s := b.Stats(); s.Templates != maxTemplates || s.Flows != 50 {
		t.Errorf("%+v", s)
	}
	x := b.exporters[router.Addr()]
	if len(x.next) > maxSequences {
		t.Error(len(x.next))
	}
	for name, d := range map[string][]byte{
		"no field":            templated(9, 1, 0, 1, templateSet(9, 400)),
		"fields of no bytes":  templated(9, 1, 0, 1, templateSet(9, 400, 8, 0, 12, 0)),
		"one of no bytes":     templated(9, 1, 0, 1, templateSet(9, 400, 8, 4, 12, 0)),
		"a set's number":      templated(9, 1, 0, 1, templateSet(9, 3, 8, 4)),
		"many fields":         templated(9, 1, 0, 1, templateSet(9, 400, make([]uint16, 2*maxFields+2)...)),
		"more than are there": templated(9, 1, 0, 1, set(0, new(wire).u16(400, 60_000, 8, 4).b)),
		"scopes of 60 000":    templated(9, 1, 0, 1, set(1, new(wire).u16(400, 60_000, 60_000, 8, 4).b)),
		"more scopes":         templated(10, 1, 0, 1, set(3, new(wire).u16(400, 2, 3, 8, 4).b)),
	} {
		before := b.Stats()
		b.Take(router, d, b.at)
		b.Take(router, templated(9, 1, 0, 1, set(400, make([]byte, 1000))), b.at)
		after := b.Stats()
		if after.Refused == before.Refused && after.Malformed == before.Malformed || after.Unknown == before.Unknown || after.Flows != before.Flows {
			t.Errorf("%s: %+v", name, after)
		}
	}
	// Withdrawn (RFC 7011, section 8.1).
	b.Take(router, templated(10, 1, 0, 1, templateSet(10, 500, usual...)), b.at)
	before := b.Stats().Templates
	b.Take(router, templated(10, 1, 0, 1, templateSet(10, 500)), b.at)
	if n := b.Stats().Templates; n != before-1 {
		t.Error(n)
	}
}

// TestForeignersAreNotRead: they are counted, and told of once a minute.
func TestForeignersAreNotRead(t *testing.T) {
	b := newBench(t)
	for i := range 1000 {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1)
		b.Take(from, sflow(0, 512, false, 10, frame("203.0.113.9", traffic.TCPSyn)), b.at)
		b.at += 100 * time.Millisecond
	}
	b.Take(netip.MustParseAddrPort("[::ffff:192.0.2.1]:7"), sflow(0, 512, false, 1, frame("203.0.113.9", traffic.TCPSyn)), b.at) // the router
	if s := b.Stats(); s.Foreign != 1000 || s.Datagrams != 1 || s.Packets != 1 {
		t.Errorf("%+v", s)
	}
	if n := strings.Count(b.log.String(), "\n"); n != 2 {
		t.Errorf("%d lines: %s", n, b.log.String())
	}
	if len(b.exporters) != 1 {
		t.Error(len(b.exporters))
	}
}

func TestWhoIsMissing(t *testing.T) {
	b := newBench(t, Exporter{Address: router.Addr()}, Exporter{Address: netip.MustParseAddr("2001:db8::5")})
	b.at += 10 * time.Second
	b.Take(router, []byte("hello, world"), b.at)
	b.at += 50 * time.Second
	got := b.Heard()
	if len(got) != 2 || got[0].Silent != 50*time.Second || got[0].Never || got[1].Silent != time.Minute || !got[1].Never {
		t.Errorf("%+v", got)
	}
	if s := b.Stats(); s.Malformed != 1 {
		t.Errorf("%+v", s)
	}
}

// TestOneExporterIsBounded: in datagrams, and in what it makes us keep.
func TestOneExporterIsBounded(t *testing.T) {
	b := newBench(t)
	d := v5(0, 1, 1, 1, 17, 0, 1, 2, 1)
	for range 2 * datagrams {
		b.Take(router, d, b.at)
	}
	if s := b.Stats(); s.Excess != datagrams {
		t.Errorf("%+v", s)
	}
	b.at += time.Second
	b.Take(router, make([]byte, maxDatagram+1), b.at)
	if s := b.Stats(); s.Excess != datagrams || s.Malformed != 1 {
		t.Errorf("%+v", s)
	}
	b = newBench(t)
	all := map[resource.Ref]*resource.Object{}
	for i := range maxOwners + 100 {
		protectIn(all, resource.Platform, fmt.Sprint("p", i), netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String())
	}
	p := assign(all)
	b.protect(p)
	if len(p.each) != maxOwners {
		t.Error(len(p.each))
	}
	for i := range 65536 {
		b.at += time.Millisecond
		to := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String()
		b.Take(router, new(wire).u16(5, 1).u32(1, 2, 0, 0, 0, 0).addr("203.0.113.9").addr(to).u32(0, 0, 1, 60, 1, 1).u16(5, 6).u8(0, 0, 17, 0).u32(0).u16(0, 0).b[:24+48], b.at)
		b.Take(router, new(wire).u16(5, 1).u32(1, 2, 0, 0).u32(0).addr("203.0.113.9").addr(to).u32(0, 0, 1, 60, 1, 1).u16(5, 6).u8(0, 2, 6, 0).u32(0).u32(0).b[:24+44], b.at)
	}
	if s := b.Stats(); b.series > maxSeries {
		t.Errorf("%d series, %+v", b.series, s)
	}
	b.at += time.Minute
	b.tick(b.at)
	b.tick(b.at + time.Second)
	if b.series != 0 {
		t.Errorf("%d series are kept of what went", b.series)
	}
}

func TestVectorsOfFlows(t *testing.T) {
	const syn, ack, rst, psh, fin = traffic.TCPSyn, traffic.TCPAck, traffic.TCPRst, traffic.TCPPsh, traffic.TCPFin
	v4, v6 := netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("2001:db8::9")
	for name, x := range map[string]struct {
		r    record
		want string
	}{
		"a SYN":                    {record{proto: 6, flags: syn, packets: 1, bytes: 60}, "syn!"},
		"a SYN, sent again":        {record{proto: 6, flags: syn, packets: 4, bytes: 240}, "syn!"},
		"SYN and RST":              {record{proto: 6, flags: syn | rst, packets: 2, bytes: 100}, "syn!"},
		"a visit":                  {record{proto: 6, flags: syn | ack | psh | fin, packets: 10, bytes: 1000, sport: 40000, dport: 443}, "syn ack!"},
		"a short visit":            {record{proto: 6, flags: syn | ack | fin, packets: 3, bytes: 150, sport: 40000, dport: 443}, "syn! ack!"},
		"a server's half":          {record{proto: 6, flags: syn | ack | psh | fin, packets: 10, bytes: 9000, sport: 443, dport: 40000}, "synack ack!"},
		"SYN-ACK, sent again":      {record{proto: 6, flags: syn | ack, packets: 5, bytes: 300, sport: 80, dport: 40000}, "synack!"},
		"an upload that goes on":   {record{proto: 6, flags: syn | ack, packets: 500, bytes: 500_000, sport: 40000, dport: 443}, "syn ack!"},
		"an ACK":                   {record{proto: 6, flags: ack, packets: 1, bytes: 40}, "ack!"},
		"a part of a download":     {record{proto: 6, flags: ack | psh, packets: 5000, bytes: 300_000}, "ack!"},
		"an RST":                   {record{proto: 6, flags: rst, packets: 1, bytes: 40}, "rst!"},
		"RSTs of one flow":         {record{proto: 6, flags: rst | ack, packets: 1000, bytes: 40_000}, "rst!"},
		"a visit that was cut off": {record{proto: 6, flags: ack | psh | rst, packets: 100, bytes: 60_000}, "rst! ack!"},
		"no flags":                 {record{proto: 6, packets: 1, bytes: 40}, "ack!"},
		"a datagram":               {record{proto: 17, sport: 40000, dport: 8080, packets: 1}, "udp!"},
		"a query":                  {record{proto: 17, sport: 40000, dport: 53, packets: 1}, "dns!"},
		"an answer of NTP":         {record{proto: 17, sport: 123, dport: 40000, packets: 1}, "amp!"},
		"no ports":                 {record{proto: 17, packets: 1}, "frag!"},
		"told as a fragment":       {record{proto: 17, sport: 1, dport: 2, fragment: true, packets: 1}, "frag!"},
		"ping":                     {record{proto: 1, kind: 8, packets: 1}, "icmp!"},
		"fragmentation needed":     {record{proto: 1, kind: 3, code: 4, packets: 1}, "control!"},
		"GRE":                      {record{proto: 47, packets: 1}, "other!"},
		"ICMP of the other family": {record{proto: 58, kind: 135, packets: 1}, "other!"},
	} {
		if x.r.proto == 6 && x.r.sport == 0 {
			x.r.sport, x.r.dport = 40000, 80
		}
		x.r.src = v4
		var got []string
		sum := 0.0
		for _, s := range x.r.shares() {
			if s.part > 0 {
				word := s.vector.String()
				if s.suspect {
					word += "!"
				}
				got = append(got, word)
				sum += s.part
			}
		}
		if g := strings.Join(got, " "); g != x.want || sum != 1 {
			t.Errorf("%s: %q (%v), want %q", name, g, sum, x.want)
		}
	}
	r := record{proto: 58, kind: 135, packets: 1, src: v6}
	if s := r.shares()[0]; s.vector != traffic.Control {
		t.Error(s)
	}
}

// TestTenantsSeeTheirOwnAddressesAlone: as the filter has it.
func TestTenantsSeeTheirOwnAddressesAlone(t *testing.T) {
	all := map[resource.Ref]*resource.Object{}
	tenant := resource.Ref{Kind: "Tenant", Tenant: resource.Platform, Name: "acme"}
	all[tenant] = &resource.Object{Kind: "Tenant", Metadata: resource.Metadata{Tenant: resource.Platform, Name: "acme"}, Spec: &system.TenantSpec{Addresses: []string{"198.51.100.0/24"}}}
	protectIn(all, "acme", "mine", "198.51.100.7")
	protectIn(all, "acme", "taken", "198.51.100.8")
	protectIn(all, "acme", "another's", "203.0.113.1")
	protectIn(all, "ghost", "mine", "198.51.100.9")
	protectIn(all, resource.Platform, "first", "198.51.100.8")
	protectIn(all, resource.Platform, "whole", "198.51.100.0/24")
	p := assign(all)
	for a, want := range map[string]string{"198.51.100.7": "acme/mine", "198.51.100.8": "platform/first", "198.51.100.9": "platform/whole", "203.0.113.1": ""} {
		got := ""
		if o := p.of(netip.MustParseAddr(a)); o != nil {
			got = o.ref.Tenant + "/" + o.ref.Name
		}
		if got != want {
			t.Errorf("%s is %q's, want %q", a, got, want)
		}
	}
}

// TestTheOtherDirectionExplains: a download is no flood of acknowledgements.
func TestTheOtherDirectionExplains(t *testing.T) {
	in, out := traffic.Count{}, traffic.Count{Out: true}
	in.Volume[traffic.ACK] = traffic.Volume{Packets: 5000, Suspect: 5000}
	out.Volume[traffic.ACK] = traffic.Volume{Packets: 9000, Suspect: 9000}
	in.Volume[traffic.SYN] = traffic.Volume{Packets: 900, Suspect: 900}
	out.Volume[traffic.SYNACK] = traffic.Volume{Packets: 900, Suspect: 900}
	explain(&in, &out)
	if in.Volume[traffic.ACK].Suspect != 0 || out.Volume[traffic.ACK].Suspect != 0 || in.Volume[traffic.SYN].Suspect != 900 || out.Volume[traffic.SYNACK].Suspect != 0 {
		t.Errorf("%+v %+v", in.Volume, out.Volume)
	}
}

func FuzzTake(f *testing.F) {
	f.Add(sflow(1, 512, false, 2, frame("203.0.113.9", traffic.TCPSyn)))
	f.Add(sflow(1, 512, true, 1, frame("203.0.113.9", traffic.TCPSyn)))
	f.Add(v5(10, 100_000, 90_000, 100_000, 6, 2, 1, 2, 3, many(3)...))
	for _, version := range []uint16{9, 10} {
		f.Add(templated(version, 100_000, 1, 7, templateSet(version, 300, usual...), set(300, udpRecord(100_000, 1000))))
	}
	f.Add(templated(10, 1, 0, 1, set(2, new(wire).u16(300, 3, 8, 4, 82, 0xffff, 0x8001, 4).u32(9).b), set(300, new(wire).addr("203.0.113.9").u8(3, 'e', 't', 'h').u32(1).b)))
	f.Add(templated(9, 1, 0, 1, set(1, new(wire).u16(301, 4, 8, 1, 4, 48, 1, 34, 4).b), set(301, new(wire).u32(7).u8(1).u32(50).b)))
	for _, version := range []int{5, 9, 10} {
		for _, d := range captured(f, version) {
			f.Add(d)
		}
	}
	f.Fuzz(func(t *testing.T, d []byte) {
		b := newBench(t)
		begun := time.Now()
		for range 2 {
			b.Take(router, d, b.at)
			b.at += tickEvery
			for _, r := range b.tick(b.at) {
				for _, c := range r.Counts {
					for v, x := range c.Volume {
						if x.Suspect > x.Packets || v > int(traffic.Control) && x.Packets > 0 {
							t.Fatalf("%d %+v", v, x)
						}
					}
				}
			}
		}
		if took := time.Since(begun); took > 2*time.Second {
			t.Fatalf("%d bytes cost %s", len(d), took)
		}
	})
}

func FuzzSFlow(f *testing.F) {
	f.Add(sflow(1, 512, false, 2, frame("203.0.113.9", traffic.TCPSyn)))
	f.Add(sflow(1, 512, true, 1, frame("203.0.113.9", traffic.TCPSyn)))
	f.Fuzz(func(t *testing.T, d []byte) {
		n := 0
		_, _, _ = readSFlow(d, func(x front) {
			n += len(x.data) + 60
			if x.rate == 0 || x.rate > mostSampled || len(x.data) > maxSFlowHeader {
				t.Fatalf("%+v", x)
			}
		})
		if n > 2*len(d)+60 {
			t.Fatalf("%d bytes of packets from %d", n, len(d))
		}
	})
}

// BenchmarkTake: datagrams of 7 samples, and of 28 to 30 records.
func BenchmarkTake(b *testing.B) {
	for name, d := range map[string][]byte{
		"sflow": sflow(1, 512, false, 7, append(frame("203.0.113.9", traffic.TCPSyn), make([]byte, 74)...)), "v5": captured(b, 5)[0], "v9": captured(b, 9)[1], "ipfix": captured(b, 10)[1],
	} {
		b.Run(name, func(b *testing.B) {
			at := time.Hour
			c := New(Options{Exporters: []Exporter{{Address: router.Addr()}}, Clock: func() time.Duration { return at }})
			c.protect(assign(records("198.51.100.7", "198.51.100.5")))
			for _, version := range []int{9, 10} {
				c.Take(router, captured(b, version)[0], at)
			}
			before := c.Stats()
			b.ReportAllocs()
			for b.Loop() {
				at += 100 * time.Microsecond
				c.Take(router, d, at)
			}
			s := c.Stats()
			n := float64(s.Packets + s.Flows - before.Packets - before.Flows)
			b.ReportMetric(n/b.Elapsed().Seconds(), "records/s")
		})
	}
}
