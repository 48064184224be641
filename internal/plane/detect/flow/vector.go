package flow

import "github.com/dun-sec/dun/internal/core/traffic"

// share of a flow that is of one vector. Suspect says that nothing honest
// explains it, as far as a flow tells.
type share struct {
	vector  traffic.Vector
	part    float64 // of its packets and bytes
	suspect bool
}

const (
	// A connection has a segment that opens it, one that acknowledges, one that
	// asks and one that ends.
	leastConnection = 4
	smallSegment    = 64 // bytes of a segment that carries nothing
)

// shares says what a flow was made of. The flags of TCP are those of all its
// segments together, so that a whole connection has SYN and ACK.
func (r *record) shares() [2]share {
	whole := func(v traffic.Vector, suspect bool) [2]share { return [2]share{{v, 1, suspect}} }
	switch {
	case r.fragment, (r.proto == 6 || r.proto == 17) && r.sport == 0 && r.dport == 0: // later fragments have no ports
		return whole(traffic.Frag, true)
	case r.proto == 6:
		return r.tcp()
	case r.proto == 17:
		return whole(traffic.OfUDP(r.sport, r.dport), true)
	case r.proto == 1 && r.src.Is4(), r.proto == 58 && r.src.Is6():
		return whole(traffic.OfICMP(r.proto == 58, r.kind, r.code), true)
	}
	return whole(traffic.Other, true)
}

func (r *record) tcp() [2]share {
	const syn, ack, rst = traffic.TCPSyn, traffic.TCPAck, traffic.TCPRst
	n, f := r.packets, r.flags
	one := 1 / float64(max(n, 1))
	more := f&(traffic.TCPPsh|traffic.TCPFin) != 0
	switch {
	case n <= 1, f&(syn|rst) == 0:
		return [2]share{{traffic.OfTCP(f), 1, true}}
	case f&(syn|ack) == syn|ack && (more || f&rst != 0): // a connection, or who pretends one
		opens := traffic.SYN
		if r.sport < r.dport && r.sport < 1024 {
			opens = traffic.SYNACK // a server's half
		}
		return [2]share{{opens, one, n < leastConnection}, {traffic.ACK, 1 - one, true}}
	case f&(syn|ack) == syn|ack && r.bytes/n > smallSegment: // without an end, and not empty
		return [2]share{{traffic.SYN, one, n < leastConnection}, {traffic.ACK, 1 - one, true}}
	case f&(syn|ack) == syn|ack:
		return [2]share{{traffic.SYNACK, 1, true}}
	case f&syn != 0:
		return [2]share{{traffic.SYN, 1, true}}
	case f&ack != 0 && (more || r.bytes/n > smallSegment): // a connection that was cut off
		return [2]share{{traffic.RST, one, true}, {traffic.ACK, 1 - one, true}}
	}
	return [2]share{{traffic.RST, 1, true}}
}

// explain takes from what is suspect what the other direction answers for, as
// plane/scrub does of what it counts: an acknowledgement belongs to a
// connection whose other half is there, a datagram is answered.
func explain(in, out *traffic.Count) {
	i, o := &in.Volume, &out.Volume
	explained(&i[traffic.ACK], 4*o[traffic.ACK].Packets)
	explained(&i[traffic.UDP], 4*o[traffic.UDP].Packets)
	o[traffic.ACK].Suspect = 0
	explained(&o[traffic.SYN], i[traffic.SYNACK].Packets)
	tcp := i[traffic.SYN].Packets + i[traffic.ACK].Packets + i[traffic.SYNACK].Packets
	explained(&o[traffic.RST], tcp)
	explained(&o[traffic.SYNACK], 3*i[traffic.SYN].Packets) // it is sent again
	explained(&o[traffic.UDP], 2*i[traffic.UDP].Packets)
	explained(&o[traffic.Amp], 2*i[traffic.DNS].Packets+2*i[traffic.UDP].Packets)
	explained(&o[traffic.ICMP], i[traffic.ICMP].Packets+i[traffic.UDP].Packets+i[traffic.Amp].Packets+i[traffic.DNS].Packets+i[traffic.Other].Packets)
}

func explained(v *traffic.Volume, by uint64) { v.Suspect -= min(v.Suspect, by) }
