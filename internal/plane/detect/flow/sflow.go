package flow

import (
	"encoding/binary"
	"errors"
)

// The limits of one datagram of sFlow version 5 (sflow.org, sFlow Version 5,
// July 2004). A datagram is UDP's: what it holds is bounded by its length.
const (
	maxSFlowSamples = 1024
	maxSFlowRecords = 64   // of a sample
	maxSFlowHeader  = 2048 // bytes of a packet's front
)

// Formats of enterprise 0.
const (
	sflowFlow           = 1 // flow_sample
	sflowFlowExpanded   = 3 // flow_sample_expanded
	sflowRaw            = 1 // sampled_header
	sflowHeaderEthernet = 1
	sflowHeaderIPv4     = 11
	sflowHeaderIPv6     = 12
	sflowAddressIPv4    = 1
	sflowAddressIPv6    = 2
	sflowVersion        = 5
)

var errSFlow = errors.New("not sFlow version 5")

// front is the front of one sampled packet.
type front struct {
	rate   uint32 // it stands for so many
	length int    // of the frame, bytes
	ip     bool   // it begins with the IP header, not with Ethernet's
	data   []byte // of the datagram
}

// xdr reads big-endian words and never leaves its bytes.
type xdr struct {
	b   []byte
	bad bool
}

func (x *xdr) word() uint32 {
	if len(x.b) < 4 {
		x.bad, x.b = true, nil
		return 0
	}
	v := binary.BigEndian.Uint32(x.b)
	x.b = x.b[4:]
	return v
}

// opaque takes n bytes and the padding behind them.
func (x *xdr) opaque(n uint32) []byte {
	padded := (uint64(n) + 3) &^ 3
	if uint64(len(x.b)) < padded {
		x.bad, x.b = true, nil
		return nil
	}
	v := x.b[:n]
	x.b = x.b[padded:]
	return v
}

// isSFlow tells it from NetFlow, whose version is a half-word.
func isSFlow(b []byte) bool { return len(b) >= 4 && binary.BigEndian.Uint32(b) == sflowVersion }

// readSFlow hands the packet of every flow sample to each. sequence counts the
// datagrams of one sub-agent. What it does not know it steps over; what is cut ends
// it with an error, after what came before was handed on.
func readSFlow(b []byte, each func(front)) (agent, sequence uint32, err error) {
	x := xdr{b: b}
	if x.word() != sflowVersion {
		return 0, 0, errSFlow
	}
	switch x.word() {
	case sflowAddressIPv4:
		x.opaque(4)
	case sflowAddressIPv6:
		x.opaque(16)
	default:
		return 0, 0, errSFlow
	}
	agent = x.word()
	sequence = x.word()
	x.word() // uptime
	n := x.word()
	if x.bad || n > maxSFlowSamples {
		return 0, 0, errSFlow
	}
	for range n {
		format := x.word()
		body := xdr{b: x.opaque(x.word())}
		if x.bad {
			return agent, sequence, errSFlow
		}
		if format != sflowFlow && format != sflowFlowExpanded {
			continue // counters, other enterprises
		}
		if !readSFlowSample(&body, format == sflowFlowExpanded, each) {
			return agent, sequence, errSFlow
		}
	}
	return agent, sequence, nil
}

func readSFlowSample(x *xdr, expanded bool, each func(front)) bool {
	x.word() // sequence
	x.word() // source
	if expanded {
		x.word()
	}
	rate := x.word()
	x.word() // pool
	x.word() // drops: samples for which the device had no room
	x.word() // input
	x.word() // output
	if expanded {
		x.word()
		x.word()
	}
	n := x.word()
	if x.bad || n > maxSFlowRecords {
		return false
	}
	for range n {
		format := x.word()
		body := xdr{b: x.opaque(x.word())}
		if x.bad {
			return false
		}
		if format != sflowRaw {
			continue
		}
		protocol, length := body.word(), body.word()
		body.word() // stripped
		size := body.word()
		if body.bad || size > maxSFlowHeader || uint64(size) > uint64(len(body.b)) || length > 1<<20 {
			return false // the padding may be missing
		}
		data := body.b[:size]
		switch protocol {
		case sflowHeaderEthernet, sflowHeaderIPv4, sflowHeaderIPv6:
			each(front{rate: min(max(rate, 1), mostSampled), length: int(length), ip: protocol != sflowHeaderEthernet, data: data})
		}
		return true // one packet a sample
	}
	return true
}
