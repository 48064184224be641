package flow

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"github.com/netsampler/goflow2/v2/decoders/netflow"
	"github.com/netsampler/goflow2/v2/decoders/netflowlegacy"
)

const (
	v5Head, v5Record = 24, 48
	maxSamplers      = 64 // of one exporter
)

// record is what one flow record says. Times are relative to its export, so that
// no clock of an exporter is believed.
type record struct {
	src, dst       netip.Addr
	proto          byte
	flags          byte // of TCP, of all packets together
	kind, code     byte // of ICMP
	sport, dport   uint16
	fragment       bool
	packets, bytes uint64
	age            time.Duration // since its last packet
	lasted         time.Duration // from its first packet to its last
	rate           uint32        // one packet in so many was looked at; 0 = not said
	sampler        uint32
}

// samplers are the rates that an exporter told of, by domain and sampler.
type samplers struct {
	rates map[[2]uint32]uint32
	last  map[uint32]uint32 // of a domain, whatever the sampler
}

func (s *samplers) tell(domain, sampler, rate uint32) {
	if rate == 0 {
		return
	}
	if s.rates == nil || len(s.rates) >= maxSamplers || len(s.last) >= maxSamplers {
		s.rates, s.last = map[[2]uint32]uint32{}, map[uint32]uint32{}
	}
	s.rates[[2]uint32{domain, sampler}] = min(rate, mostSampled)
	s.last[domain] = min(rate, mostSampled)
}

func (s *samplers) of(domain uint32, r *record) uint32 {
	if r.rate > 0 {
		return min(r.rate, mostSampled)
	}
	if n := s.rates[[2]uint32{domain, r.sampler}]; n > 0 {
		return n
	}
	return max(1, s.last[domain])
}

// readV5 hands on the records of a datagram of NetFlow version 5 (Cisco, NetFlow
// Services Solutions Guide, table B-3 and B-4).
func (x *exporter) readV5(b []byte, each func(record)) error {
	if len(b) < v5Head {
		return errGuard
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if v5Head+n*v5Record != len(b) {
		return errGuard
	}
	var p netflowlegacy.PacketNetFlowV5
	if err := netflowlegacy.DecodeMessageVersion(bytes.NewBuffer(b), &p); err != nil {
		return err
	}
	x.sequence(5, uint32(p.EngineType)<<8|uint32(p.EngineId), p.FlowSequence, uint32(n))
	rate := uint32(p.SamplingInterval & 0x3fff)
	for i := range p.Records {
		f := &p.Records[i]
		r := record{
			src: address4(uint32(f.SrcAddr)), dst: address4(uint32(f.DstAddr)), proto: f.Proto, flags: f.TCPFlags, sport: f.SrcPort, dport: f.DstPort,
			packets: uint64(f.DPkts), bytes: uint64(f.DOctets), rate: rate, age: sinceUptime(p.SysUptime, f.Last), lasted: sinceUptime(f.Last, f.First),
		}
		if r.proto == 1 {
			r.kind, r.code = byte(f.DstPort>>8), byte(f.DstPort)
		}
		each(r)
	}
	return nil
}

func address4(a uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)})
}

// sinceUptime is how long before now then was, of a clock of milliseconds that
// wraps after 49 days; 0 where it lies ahead.
func sinceUptime(now, then uint32) time.Duration {
	d := now - then
	if d > 1<<31 {
		return 0
	}
	return time.Duration(d) * time.Millisecond
}

// readTemplated hands on the records of NetFlow version 9 (RFC 3954) and IPFIX
// (RFC 7011).
func (x *exporter) readTemplated(b []byte, each func(record)) error {
	if err := guard(b); err != nil {
		return err
	}
	var v9 netflow.NFv9Packet
	var ipfix netflow.IPFIXPacket
	err := netflow.DecodeMessageVersion(bytes.NewBuffer(b), x.templates, &v9, &ipfix)
	if errors.Is(err, netflow.ErrorTemplateNotFound) {
		x.unknown++ // it will come
		err = nil
	}
	e := export{version: 9, domain: v9.SourceId, uptime: v9.SystemUptime, seconds: v9.UnixSeconds}
	sets := v9.FlowSets
	if binary.BigEndian.Uint16(b) == 10 {
		e, sets = export{version: 10, domain: ipfix.ObservationDomainId, seconds: ipfix.ExportTime}, ipfix.FlowSets
	}
	for _, set := range sets {
		switch s := set.(type) {
		case netflow.DataFlowSet:
			for i := range s.Records {
				each(e.record(s.Records[i].Values))
			}
		case netflow.OptionsDataFlowSet:
			for i := range s.Records {
				r := e.record(s.Records[i].OptionsValues)
				scope := e.record(s.Records[i].ScopesValues)
				x.samplers.tell(e.domain, max(r.sampler, scope.sampler), r.rate)
			}
		}
	}
	if e.version == 9 { // of IPFIX, exporters do not agree on what is counted
		x.sequence(9, e.domain, v9.SequenceNumber, 1)
	}
	return err
}

// export is what a datagram says of itself.
type export struct {
	version         uint16
	domain          uint32
	uptime, seconds uint32
}

// times are what a record says of when it was.
type times struct {
	first, last              time.Duration // of the epoch
	upFirst, upLast          uint32
	hasFirst, hasLast, hasUp bool
	lasted                   time.Duration
	before                   time.Duration // the export
	hasBefore                bool
	boot                     time.Duration // of the epoch
}

// record reads fields by their numbers, which NetFlow version 9 and IPFIX share
// (IANA, IPFIX Information Elements).
func (e export) record(fields []netflow.DataField) record {
	var r record
	var t times
	var interval, space, size, population uint64
	for i := range fields {
		f := &fields[i]
		b, ok := f.Value.([]byte)
		if !ok || len(b) == 0 || f.PenProvided {
			continue
		}
		switch f.Type {
		case 8, 27:
			r.src = addressOf(b, r.src)
		case 12, 28:
			r.dst = addressOf(b, r.dst)
		case 315: // dataLinkFrameSection: of packets, not of flows
		default:
			v := number(b)
			switch f.Type {
			case 1:
				r.bytes = v
			case 2:
				r.packets = v
			case 23, 85: // what went out, or the total of the flow, where nothing else is said
				if r.bytes == 0 {
					r.bytes = v
				}
			case 24, 86:
				if r.packets == 0 {
					r.packets = v
				}
			case 4:
				r.proto = byte(v)
			case 6:
				r.flags = byte(v)
			case 7:
				r.sport = uint16(v)
			case 11:
				r.dport = uint16(v)
			case 32, 139:
				r.kind, r.code = byte(v>>8), byte(v)
			case 176, 178:
				r.kind = byte(v)
			case 177, 179:
				r.code = byte(v)
			case 88:
				r.fragment = r.fragment || v&0x1fff != 0
			case 197: // the flag "more" (RFC 5102, section 5.8.29): of the first byte
				r.fragment = r.fragment || b[0]&0x20 != 0
			case 34, 50:
				r.rate = bounded(v)
			case 48, 302:
				r.sampler = bounded(v)
			case 305:
				interval = v
			case 306:
				space = v
			case 309:
				size = v
			case 310:
				population = v
			default:
				t.read(f.Type, b, v)
			}
		}
	}
	if interval > 0 && space > 0 && interval < 1<<32 && space < 1<<32 {
		r.rate = bounded((interval + space) / interval)
	} else if interval > 0 && r.rate == 0 {
		r.rate = bounded(interval) // as most write it: one in so many
	}
	if size > 0 && population > size {
		r.rate = bounded(population / size)
	}
	r.age, r.lasted = t.relative(e)
	return r
}

func bounded(v uint64) uint32 { return uint32(min(v, 1<<32-1)) }

func (t *times) read(kind uint16, b []byte, v uint64) {
	switch kind {
	case 21:
		t.upLast, t.hasUp = uint32(v), true
	case 22:
		t.upFirst = uint32(v)
	case 150, 152, 154, 156:
		t.first, t.hasFirst = epoch(kind, b, v), true
	case 151, 153, 155, 157:
		t.last, t.hasLast = epoch(kind-1, b, v), true
	case 159: // flowEndDeltaMicroseconds
		t.before, t.hasBefore = time.Duration(min(v, 1<<40))*time.Microsecond, true
	case 160:
		t.boot = time.Duration(min(v, 1<<42)) * time.Millisecond
	case 161:
		t.lasted = time.Duration(min(v, 1<<40)) * time.Millisecond
	case 162:
		t.lasted = time.Duration(min(v, 1<<40)) * time.Microsecond
	}
}

// epoch is a time by the format that its field has (RFC 7011, section 6.1): of
// seconds, milliseconds, or an NTP timestamp.
func epoch(kind uint16, b []byte, v uint64) time.Duration {
	switch {
	case kind == 150:
		return time.Duration(min(v, 1<<33)) * time.Second
	case kind == 152:
		return time.Duration(min(v, 1<<43)) * time.Millisecond
	case len(b) == 8:
		seconds := int64(v>>32) - 2_208_988_800 // 1900 to 1970
		return time.Duration(seconds)*time.Second + time.Duration(v&0xffffffff*1e9>>32)
	}
	return 0
}

// relative is how long before the export the flow ended, and how long it was.
// What makes no sense is 0.
func (t *times) relative(e export) (age, lasted time.Duration) {
	now := time.Duration(e.seconds) * time.Second
	switch {
	case t.hasUp && e.version == 9:
		age, lasted = sinceUptime(e.uptime, t.upLast), sinceUptime(t.upLast, t.upFirst)
	case t.hasLast:
		age = now - t.last
		if t.hasFirst {
			lasted = t.last - t.first
		}
	case t.hasUp:
		lasted = sinceUptime(t.upLast, t.upFirst)
		if t.boot > 0 {
			age = now - t.boot - time.Duration(t.upLast)*time.Millisecond
		}
	case t.hasBefore:
		age = t.before
	}
	if t.lasted > 0 {
		lasted = t.lasted
	}
	return max(age, 0), max(lasted, 0)
}

func addressOf(b []byte, old netip.Addr) netip.Addr {
	a, ok := netip.AddrFromSlice(b)
	if !ok || a.IsUnspecified() && old.IsValid() { // the field of the other family
		return old
	}
	return a
}

// number reads up to eight bytes, big-endian, as exporters shorten them (RFC
// 7011, section 6.2).
func number(b []byte) uint64 {
	var v uint64
	for _, x := range b[:min(len(b), 8)] {
		v = v<<8 | uint64(x)
	}
	return v
}
