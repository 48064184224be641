// Package traffic holds the words in which detection and scrubbing speak of
// floods: the closed list of vectors, what was counted, what is to be done. It
// owns no counter and decides nothing; the planes that do never import each
// other.
package traffic

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// Vector is what a packet is (controls 8.1-4 to 8.1-11).
type Vector uint8

// The vectors of packets. Control is what paths need to work at all: path-MTU
// messages and neighbour discovery; it is no attack by itself.
const (
	SYN Vector = iota
	ACK
	RST
	SYNACK
	UDP
	DNS
	ICMP
	Frag
	Amp
	Other
	Control

	Vectors = 16 // that there is room for
)

var names = []string{"syn", "ack", "rst", "synack", "udp", "dns", "icmp", "frag", "amp", "other", "control"}

// All lists the vectors that can be an attack.
func All() []Vector { return []Vector{SYN, ACK, RST, SYNACK, UDP, DNS, ICMP, Frag, Amp, Other} }

// String is the name in records and events.
func (v Vector) String() string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("vector %d", uint8(v))
}

// TCP reports whether it is one of TCP's, which are challenged together: a
// segment without a proof can be told only where every handshake gives one.
func (v Vector) TCP() bool { return v <= SYNACK }

// Parse knows a vector by its name.
func Parse(s string) (Vector, bool) {
	i := slices.Index(names, s)
	return Vector(max(i, 0)), i >= 0
}

// MarshalText implements encoding.TextMarshaler.
func (v Vector) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; it takes known names alone.
func (v *Vector) UnmarshalText(b []byte) error {
	x, ok := Parse(string(b))
	if !ok {
		return fmt.Errorf("no vector has the name %.32q", b)
	}
	*v = x
	return nil
}

// Volume is how much of a vector there was.
type Volume struct {
	Packets, Bytes uint64
	// Suspect are packets that nothing honest explains: a SYN without a
	// connection after it, a segment of no connection, a datagram that nobody
	// answered. Where a source cannot tell, all are.
	Suspect uint64
	Dropped uint64
	// Seen is how many packets really were looked at, where Reading.Estimated says
	// that the others are what follows from them.
	Seen uint64
}

// Count is what happened to one address, or to all of a network, between two
// readings.
type Count struct {
	Of      resource.Ref // the ProtectedAddress
	Address netip.Prefix
	Single  bool // Address is one of a network that is counted as a whole, too
	Out     bool // what it sent
	Volume  [Vectors]Volume
}

// Reading is what one source counted in a span of time.
type Reading struct {
	Source  string        // "n1 dv0", an exporter's address
	At      time.Duration // end of the span, of the machine's monotonic clock
	Span    time.Duration // exact
	Counts  []Count
	Sampled uint64 // one packet in so many was looked at; 0 and 1: every one
	// Estimated says that figures were multiplied already, each by its own rate;
	// Sampled is 0 then, and Volume.Seen says how good they are.
	Estimated bool
}

// Sample is the front of one packet.
type Sample struct {
	At      time.Duration
	Of      resource.Ref
	Out     bool // its hosts sent it
	Vector  Vector
	Dropped bool
	Proven  bool   // of a flow that proved itself: honest beyond doubt
	Length  int    // of the frame
	Network int    // offset of the IP header
	Data    []byte // of the frame
}

// Range is from and to, both included.
type Range[T uint8 | uint16] struct {
	From T `json:"from"`
	To   T `json:"to"`
}

// Holds reports whether x lies in it.
func (r *Range[T]) Holds(x T) bool { return r == nil || x >= r.From && x <= r.To }

// Fingerprint is what packets of an attack have in common: every field that is
// given must be met.
type Fingerprint struct {
	Vector  Vector         `json:"vector"`
	Length  *Range[uint16] `json:"length,omitempty"` // of the IP packet, bytes
	TTL     *Range[uint8]  `json:"ttl,omitempty"`
	SPort   *Range[uint16] `json:"sport,omitempty"`
	DPort   *Range[uint16] `json:"dport,omitempty"`
	Window  *uint16        `json:"window,omitempty"`
	Flags   *uint8         `json:"flags,omitempty"`
	Payload []byte         `json:"payload,omitempty"` // the first bytes behind the transport header, at most 8
	Mask    []byte         `json:"mask,omitempty"`    // of Payload; nil = every bit
	Source  netip.Prefix   `json:"source,omitzero"`
}

// Empty reports whether it names nothing but the vector.
func (f *Fingerprint) Empty() bool {
	return f.Length == nil && f.TTL == nil && f.SPort == nil && f.DPort == nil && f.Window == nil && f.Flags == nil && len(f.Payload) == 0 && !f.Source.IsValid()
}

// Order is what detection wants to be done about an attack. It ends by itself;
// one of the same attack on the same address takes the place of the one before.
type Order struct {
	Of      resource.Ref
	Attack  string   // its id
	Vectors []Vector // to be treated as the policy says for an attack
	// Limits are the packets a second to each address that are usual, for
	// vectors that can only be limited.
	Limits       [Vectors]uint64
	Fingerprints []Fingerprint
	For          time.Duration // from when it is taken; 0 takes it back
}

// Usual is what a detection centre learned of one vector of a protected address,
// packets a second to each of its addresses.
type Usual struct {
	Vector  Vector
	P95     float64 // of the busiest ten seconds of each hour
	Draft   float64 // the threshold that follows
	InForce float64
	Source  string // of InForce: one of Source…
}

// Where a threshold comes from, the strongest first.
const (
	SourceSpec     = "spec"     // the record says it
	SourceReviewed = "reviewed" // a person took over the draft
	SourceLearned  = "learned"
	SourceFloor    = "floor" // nothing was learned that is above it
)

// Learned is what was learned of a protected address.
type Learned struct {
	Hours   int // that were watched, of the last seven days
	Vectors []Usual
}

// Live is what goes to a protected address now: all figures are a second.
type Live struct {
	Address string             `json:"address"`
	Packets float64            `json:"packets"` // offered
	Bits    float64            `json:"bits"`
	Passed  float64            `json:"passed"`
	Out     float64            `json:"out"`     // packets that its hosts send
	Offered map[string]float64 `json:"offered"` // packets, by vector
	Dropped map[string]float64 `json:"dropped"` // packets, by reason; those that were answered are among them
	Armed   []string           `json:"armed"`   // vectors that something is done about
	Monitor bool               `json:"monitor"` // nothing is really done
	Attack  string             `json:"attack"`  // its id, while one lasts
	// Lease is when what is done about the attack ends, unless it is renewed.
	Lease *time.Time `json:"lease,omitempty"`
}
