package traffic

import (
	"encoding/binary"
	"net/netip"
)

// Packet is what the front of a packet says: what the filter's program would
// (plane/scrub/bpf/parse.h), in the same words.
type Packet struct {
	Src, Dst netip.Addr // IPv4 as such, never mapped
	Vector   Vector
	Length   int // of the IP packet, bytes, as it says
	Network  int // offset of the IP header
	Payload  int // offset of what the transport carries, by its own word; 0 = not told
}

const (
	maxExtensions = 6     // of IPv6
	maxOffset     = 0x3ff // of the transport header
)

const (
	typeIPv4 = 0x0800
	typeIPv6 = 0x86dd
	typeVLAN = 0x8100
	typeQinQ = 0x88a8
)

// Classify reads the front of an Ethernet frame with up to two VLAN tags. It
// believes no length in it; the front may be cut anywhere. False = that is not
// IP, or does not even hold the addresses.
func Classify(frame []byte) (Packet, bool) {
	offset := 14
	if len(frame) < offset {
		return Packet{}, false
	}
	kind := binary.BigEndian.Uint16(frame[12:])
	for range 2 {
		if kind != typeVLAN && kind != typeQinQ {
			break
		}
		if len(frame) < offset+4 {
			return Packet{}, false
		}
		kind = binary.BigEndian.Uint16(frame[offset+2:])
		offset += 4
	}
	ip := frame[offset:]
	if len(ip) == 0 || kind == typeIPv4 && ip[0]>>4 != 4 || kind == typeIPv6 && ip[0]>>4 != 6 || kind != typeIPv4 && kind != typeIPv6 {
		return Packet{}, false
	}
	p, ok := ClassifyIP(ip)
	p.Network = offset
	if p.Payload > 0 {
		p.Payload += offset
	}
	return p, ok
}

// ClassifyIP is Classify of a packet without a frame.
func ClassifyIP(ip []byte) (Packet, bool) {
	if len(ip) < 20 {
		return Packet{}, false
	}
	switch ip[0] >> 4 {
	case 4:
		p := Packet{Src: netip.AddrFrom4([4]byte(ip[12:])), Dst: netip.AddrFrom4([4]byte(ip[16:])), Length: int(binary.BigEndian.Uint16(ip[2:]))}
		head, frag := int(ip[0]&15)*4, binary.BigEndian.Uint16(ip[6:])
		p.Vector, p.Payload = vectorOf(ip, max(head, 20), ip[9], false, frag&0x3fff != 0, frag&0x1fff != 0)
		return p, true
	case 6:
		if len(ip) < 40 {
			return Packet{}, false
		}
		p := Packet{Src: netip.AddrFrom16([16]byte(ip[8:])), Dst: netip.AddrFrom16([16]byte(ip[24:])), Length: int(binary.BigEndian.Uint16(ip[4:])) + 40}
		at, proto, fragment, later := skipExtensions(ip)
		p.Vector, p.Payload = vectorOf(ip, at, proto, true, fragment, later)
		return p, true
	}
	return Packet{}, false
}

// skipExtensions walks the headers before the transport's (RFC 8200, section 4).
// Where there are too many, or one is cut, it stops at that one.
func skipExtensions(ip []byte) (at int, proto byte, fragment, later bool) {
	at, proto = 40, ip[6]
	for range maxExtensions {
		switch proto {
		case 0, 43, 44, 51, 60:
		default:
			return at, proto, fragment, later
		}
		if at+8 > len(ip) || at > maxOffset {
			return at, proto, fragment, later
		}
		x := ip[at:]
		switch proto {
		case 44:
			frag := binary.BigEndian.Uint16(x[2:])
			fragment, later = fragment || frag&0xfff9 != 0, frag&0xfff8 != 0 // alone it is atomic (RFC 6946)
			at += 8
			if later {
				return at, x[0], fragment, later
			}
		case 51:
			at += (int(x[1]) + 2) * 4
		default:
			at += (int(x[1]) + 1) * 8
		}
		proto = x[0]
	}
	return at, proto, fragment, later
}

func vectorOf(ip []byte, at int, proto byte, v6, fragment, later bool) (v Vector, payload int) {
	var l4 []byte
	if at <= len(ip) && !later {
		l4 = ip[at:]
	}
	switch {
	case proto == 6 && len(l4) >= 20:
		v, payload = OfTCP(l4[13]), at+int(l4[12]>>4)*4
	case proto == 17 && len(l4) < 8:
		v = UDP
	case proto == 17:
		v, payload = OfUDP(binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:])), at+8
	case (proto == 1 && !v6 || proto == 58 && v6) && len(l4) < 8:
		v = ICMP
	case proto == 1 && !v6 || proto == 58 && v6:
		v, payload = OfICMP(v6, l4[0], l4[1]), at+8
	default:
		v = Other
	}
	if fragment || later {
		v = Frag
	}
	return v, payload
}

// Flags of TCP (RFC 9293, section 3.1).
const (
	TCPFin = 1 << iota
	TCPSyn
	TCPRst
	TCPPsh
	TCPAck
)

// OfTCP is the vector of one segment by its flags.
func OfTCP(flags byte) Vector {
	switch {
	case flags&TCPRst != 0:
		return RST
	case flags&TCPSyn == 0:
		return ACK
	case flags&TCPAck != 0:
		return SYNACK
	}
	return SYN
}

// OfUDP is the vector of a datagram by its ports.
func OfUDP(from, to uint16) Vector {
	switch {
	case to == 53:
		return DNS
	case Amplifies(from):
		return Amp
	}
	return UDP
}

// OfICMP is the vector of a message. What a path needs to work is Control:
// fragmentation needed (RFC 1191, 4821), packet too big (RFC 8201), neighbour
// discovery (RFC 4861).
func OfICMP(v6 bool, kind, code byte) Vector {
	if v6 && (kind == 2 || kind >= 133 && kind <= 137) || !v6 && kind == 3 && code == 4 {
		return Control
	}
	return ICMP
}

// Amplifies says which ports answer small questions with much: what comes from
// them was asked for by somebody else.
func Amplifies(port uint16) bool {
	switch port {
	case 17, 19, 53, 69, 111, 123, 137, 161, 389, 427, 500, 520, 1434, 1900, 3283, 3478, 3702, 5093, 5353,
		5683, 10001, 10074, 11211, 27015, 30718, 32414, 33848, 37810, 47808:
		return true
	}
	return false
}
