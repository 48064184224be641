package scrub

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dun-sec/dun/internal/core/traffic"
)

// Vector is what a packet is; its numbers are those of bpf/types.h, too.
type Vector = traffic.Vector

// The vectors.
const (
	SYN     = traffic.SYN
	ACK     = traffic.ACK
	RST     = traffic.RST
	SYNACK  = traffic.SYNACK
	UDP     = traffic.UDP
	DNS     = traffic.DNS
	ICMP    = traffic.ICMP
	Frag    = traffic.Frag
	Amp     = traffic.Amp
	Other   = traffic.Other
	Control = traffic.Control

	Vectors = traffic.Vectors
)

// Reason is what became of a packet.
type Reason uint8

// The reasons, in the order of bpf/types.h. Below Denied the packet passed or
// was answered.
const (
	Passed Reason = iota
	Proven
	Allowed
	CookieSent
	CookieGood
	Truncated
	Learning
	Echoed
	Denied
	Malformed
	Flags
	Land
	Bogon
	NoService
	ByPolicy
	Rate
	RatePerAddress
	NoState
	ByRule
	Unanswered
	Spoofed
	Outbound

	Reasons = 32
)

var reasonNames = []string{
	"passed", "proven", "allowed", "cookie_sent", "cookie_good", "truncated", "learning", "echoed",
	"denied", "malformed", "flags", "land", "bogon", "no_service", "policy", "rate", "rate_per_address",
	"no_state", "rule", "unanswered", "spoofed", "outbound",
}

// String is the reason's name in events and graphs.
func (r Reason) String() string {
	if int(r) < len(reasonNames) && reasonNames[r] != "" {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Drop reports whether such a packet does not go on.
func (r Reason) Drop() bool { return r >= Denied }

// Answered reports whether the filter answered it, so that the host sees nothing.
func (r Reason) Answered() bool { return r == CookieSent || r == Truncated || r == Echoed }

// Action is what is done with a packet of a vector that has no proof.
type Action uint8

// The actions.
const (
	Pass      Action = iota // counted
	Drop                    // none passes
	Limit                   // what is above the rates is dropped
	Challenge               // SYN: a cookie; TCP without a proof: dropped; DNS: ask again by TCP; ICMP: pings are answered by the filter, news of known flows passes; other vectors: as Limit
)

// Form is what a service must look like.
type Form uint8

// The forms.
const (
	AnyForm Form = iota
	DNSForm
	QUICForm // RFC 9000: an Initial of 1200 bytes, or the fixed bit
)

// Limits of a policy; more is refused by Publish.
const (
	MaxServices = 8
	MaxRules    = 4
)

// Service is what a protected address offers.
type Service struct {
	Proto  uint8 // 6 or 17
	Lo, Hi uint16
	Form   Form
}

// Rule drops packets that look like the attack. It ends by itself.
type Rule struct {
	traffic.Fingerprint

	Until time.Duration // of the monotonic clock (Monotonic)
}

// Policy is what is done for some prefixes. Its Slot is where its counters are.
type Policy struct {
	Slot     uint32
	Scope    uint32 // the tenant's number; the platform's is 0. Verdicts of a tenant judge its own addresses alone
	Prefixes []netip.Prefix

	Monitor bool // decide and count, but drop and answer nothing
	Strict  bool // only Services are offered
	Bogons  bool // private and test networks are no neighbours (RFC 6890)

	Action         [Vectors]Action
	Rate           [Vectors]uint64 // packets a second of all prefixes; 0 = none
	RatePerAddress [Vectors]uint64 // of each address
	RateOut        [Vectors]uint64 // of what its hosts send, connections apart
	Services       []Service
	Rules          []Rule

	// StrictAfter: until then TCP without a proof passes at its rates where it
	// would be dropped, so that connections older than the filter can prove
	// themselves.
	StrictAfter time.Duration // of the monotonic clock
}

// Monotonic is the clock of the filter: CLOCK_MONOTONIC.
func Monotonic() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0 // the clock is always there; 0 makes every rule last
	}
	return time.Duration(t.Nano())
}
