package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// EvidenceSnap is how many bytes of a packet evidence keeps: its headers and
// the beginning of what it carries.
const EvidenceSnap = 128

// Frame is the front of an Ethernet frame that was seen.
type Frame struct {
	Time   time.Time
	Length int    // of the whole frame, bytes
	Data   []byte // at most EvidenceSnap bytes of its front
}

// Evidence is what is kept of an attack's packets.
type Evidence struct {
	Of      resource.Ref // the ProtectedAddress
	Attack  string       // its id
	Start   time.Time    // of the attack
	Final   bool         // it is over: nothing more comes
	Packets int
	Capture []byte // as Capture writes it
}

// The classic capture file (draft-ietf-opsawg-pcap), with nanoseconds.
const (
	captureMagic = 0xa1b23c4d
	captureHead  = 24
	frameHead    = 16
	ethernet     = 1 // LINKTYPE_ETHERNET
)

// Capture writes frames as a capture file of link type Ethernet.
func Capture(frames []Frame) []byte {
	b := make([]byte, 0, captureHead+len(frames)*(frameHead+EvidenceSnap))
	le := binary.LittleEndian
	b = le.AppendUint32(b, captureMagic)
	b = le.AppendUint16(b, 2) // version 2.4
	b = le.AppendUint16(b, 4)
	b = le.AppendUint64(b, 0) // reserved
	b = le.AppendUint32(b, EvidenceSnap)
	b = le.AppendUint32(b, ethernet)
	for _, f := range frames {
		data := f.Data[:min(len(f.Data), EvidenceSnap)]
		b = le.AppendUint32(b, uint32(f.Time.Unix()))
		b = le.AppendUint32(b, uint32(f.Time.Nanosecond()))
		b = le.AppendUint32(b, uint32(len(data)))
		b = le.AppendUint32(b, uint32(max(f.Length, len(data))))
		b = append(b, data...)
	}
	return b
}

// ReadCapture reads what Capture wrote, and nothing else.
func ReadCapture(b []byte) ([]Frame, error) {
	le := binary.LittleEndian
	if len(b) < captureHead || le.Uint32(b) != captureMagic || le.Uint16(b[4:]) != 2 || le.Uint16(b[6:]) != 4 || le.Uint32(b[20:]) != ethernet {
		return nil, errors.New("read a capture: it is none of Dun's")
	}
	var out []Frame
	for b = b[captureHead:]; len(b) > 0; {
		if len(b) < frameHead {
			return nil, errors.New("read a capture: it is cut")
		}
		kept := int64(le.Uint32(b[8:]))
		ns := le.Uint32(b[4:])
		if kept > EvidenceSnap || ns >= 1e9 || int64(le.Uint32(b[12:])) < kept || kept > int64(len(b)-frameHead) {
			return nil, fmt.Errorf("read a capture: packet %d is none", len(out))
		}
		out = append(out, Frame{Time: time.Unix(int64(le.Uint32(b)), int64(ns)).UTC(), Length: int(le.Uint32(b[12:])), Data: b[frameHead : frameHead+kept]})
		b = b[frameHead+kept:]
	}
	return out, nil
}
