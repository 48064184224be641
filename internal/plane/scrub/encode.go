package scrub

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// The fields of a rule, as in bpf/types.h.
const (
	fieldLength = 1 << iota
	fieldTTL
	fieldSPort
	fieldDPort
	fieldWindow
	fieldPayload
	fieldSource
	fieldFlags
)

const (
	flagMonitor = 1 << iota
	flagServices
	flagBogons
	flagHost
)

// interval is the time between two packets at that rate, in 1/16 ns.
func interval(perSecond uint64) uint64 {
	if perSecond == 0 {
		return 0
	}
	return max(1, 16_000_000_000/perSecond)
}

func (p *Policy) encode() (filterPolicy, error) {
	var out filterPolicy
	if len(p.Services) > MaxServices || len(p.Rules) > MaxRules {
		return out, fmt.Errorf("a policy has room for %d services and %d rules", MaxServices, MaxRules)
	}
	for flag, set := range map[uint32]bool{flagMonitor: p.Monitor, flagServices: p.Strict, flagBogons: p.Bogons, flagHost: p.host()} {
		if set {
			out.Flags |= flag
		}
	}
	out.Scope, out.StrictAfter = p.Scope, uint64(max(0, p.StrictAfter))
	out.Services, out.Rules = uint32(len(p.Services)), uint32(len(p.Rules))
	for v := range Vectors {
		out.Action[v] = uint8(p.Action[v])
		out.Interval[v], out.IntervalDst[v], out.IntervalOut[v] = interval(p.Rate[v]), interval(p.RatePerAddress[v]), interval(p.RateOut[v])
	}
	for i, s := range p.Services {
		out.Service[i].Lo, out.Service[i].Hi, out.Service[i].Proto, out.Service[i].Form = s.Lo, s.Hi, s.Proto, uint8(s.Form)
	}
	return out, nil
}

// host: one address, whose counters are the policy's own.
func (p *Policy) host() bool { return len(p.Prefixes) == 1 && p.Prefixes[0].IsSingleIP() }

func (r *Rule) encode() (filterRule, error) {
	out := filterRule{Until: uint64(max(0, r.Until)), Vector: uint8(r.Vector)}
	if r.Length != nil {
		out.Fields |= fieldLength
		out.LengthLo, out.LengthHi = r.Length.From, r.Length.To
	}
	if r.TTL != nil {
		out.Fields |= fieldTTL
		out.TtlLo, out.TtlHi = r.TTL.From, r.TTL.To
	}
	if r.SPort != nil {
		out.Fields |= fieldSPort
		out.SportLo, out.SportHi = r.SPort.From, r.SPort.To
	}
	if r.DPort != nil {
		out.Fields |= fieldDPort
		out.DportLo, out.DportHi = r.DPort.From, r.DPort.To
	}
	if r.Window != nil {
		out.Fields |= fieldWindow
		out.Window = *r.Window
	}
	if r.Flags != nil {
		out.Fields |= fieldFlags
		out.Flags = *r.Flags
	}
	if err := r.encodePayload(&out); err != nil {
		return out, err
	}
	if r.Source.IsValid() {
		out.Fields |= fieldSource
		out.Source, out.SourceMask = words(r.Source.Masked().Addr()), maskOf(r.Source)
		for i := range out.Source {
			out.Source[i] &= out.SourceMask[i]
		}
	}
	if out.Fields == 0 {
		return out, fmt.Errorf("a rule of vector %s that names nothing would drop everything", r.Vector)
	}
	return out, nil
}

func (r *Rule) encodePayload(out *filterRule) error {
	if len(r.Payload) == 0 {
		return nil
	}
	if len(r.Payload) > len(out.Payload) || r.Mask != nil && len(r.Mask) != len(r.Payload) {
		return fmt.Errorf("a rule looks at %d bytes of a payload at most, each with its mask", len(out.Payload))
	}
	out.Fields |= fieldPayload
	for i, b := range r.Payload {
		m := byte(0xff)
		if r.Mask != nil {
			m = r.Mask[i]
		}
		out.Payload[i], out.PayloadMask[i] = b&m, m
	}
	return nil
}

// words are the 16 bytes of an address, IPv4 mapped, as the filter holds them.
func words(a netip.Addr) [2]uint64 {
	b := a.As16()
	return [2]uint64{binary.NativeEndian.Uint64(b[:8]), binary.NativeEndian.Uint64(b[8:])}
}

func maskOf(p netip.Prefix) [2]uint64 {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	var b [16]byte
	for i := range b {
		if n := min(8, max(0, bits-8*i)); n > 0 {
			b[i] = byte(0xff << (8 - n))
		}
	}
	return [2]uint64{binary.NativeEndian.Uint64(b[:8]), binary.NativeEndian.Uint64(b[8:])}
}

// quarters are the same 16 bytes as four words.
func quarters(a netip.Addr) (out [4]uint32) {
	b := a.As16()
	for i := range out {
		out[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return out
}

// plain takes the mapping off, so that an address has one form.
func plain(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked()
	}
	return p.Masked()
}
