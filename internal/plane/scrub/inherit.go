package scrub

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
)

// What an earlier process ordered stays for so long after a start: by then
// detection has ordered it again, or the flood is over.
const (
	inheritOrders  = time.Minute
	inheritDenials = 10 * time.Minute
)

// inForce reads the policies of the bank in force, by their prefixes.
func (t *Table) inForce() (map[netip.Prefix]Policy, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[netip.Prefix]Policy{}
	if t.set.Layout != layout {
		return out, nil
	}
	bank := int(t.set.Bank & 1)
	v4, v6 := t.tries(bank)
	of := map[uint32][]netip.Prefix{}
	for p := range t.held[bank] {
		var slot uint32
		var err error
		if p.Addr().Is4() {
			err = v4.Lookup(&filterPrefix4{Bits: uint32(p.Bits()), Addr: quarters(p.Addr())[3]}, &slot)
		} else {
			err = v6.Lookup(&filterPrefix6{Bits: uint32(p.Bits()), Addr: quarters(p.Addr())}, &slot)
		}
		if err != nil {
			return nil, fmt.Errorf("policy of %s: %w", p, err)
		}
		of[slot] = append(of[slot], p)
	}
	for slot, prefixes := range of {
		q, err := t.policyAt(uint32(bank), slot)
		if err != nil {
			return nil, err
		}
		q.Prefixes = prefixes
		for _, p := range prefixes {
			out[p] = q
		}
	}
	return out, nil
}

func (t *Table) policyAt(bank, slot uint32) (Policy, error) {
	var e filterPolicy
	at := bank*t.set.Slots + slot
	if err := t.maps[filterMapPolicies].Lookup(at, &e); err != nil {
		return Policy{}, fmt.Errorf("policy %d: %w", slot, err)
	}
	p := Policy{Slot: slot, Scope: e.Scope, StrictAfter: time.Duration(e.StrictAfter), Strict: e.Flags&flagServices != 0, Monitor: e.Flags&flagMonitor != 0}
	for v := range Vectors {
		p.Action[v], p.Rate[v], p.RatePerAddress[v] = Action(e.Action[v]), rateOf(e.Interval[v]), rateOf(e.IntervalDst[v])
	}
	p.Bogons = e.Flags&flagBogons != 0
	for v := range Vectors {
		p.RateOut[v] = rateOf(e.IntervalOut[v])
	}
	for _, s := range e.Service[:min(e.Services, MaxServices)] {
		p.Services = append(p.Services, Service{Proto: s.Proto, Lo: s.Lo, Hi: s.Hi, Form: Form(s.Form)})
	}
	for i := range min(e.Rules, MaxRules) {
		var r filterRule
		if err := t.maps[filterMapRules].Lookup(at*MaxRules+i, &r); err != nil {
			return Policy{}, fmt.Errorf("rule %d of policy %d: %w", i, slot, err)
		}
		p.Rules = append(p.Rules, r.decode())
	}
	return p, nil
}

// rateOf is what interval was made of, rounded.
func rateOf(interval uint64) uint64 {
	if interval == 0 {
		return 0
	}
	return max(1, 16_000_000_000/interval)
}

// decode is the inverse of encode.
func (r *filterRule) decode() Rule {
	out := Rule{Until: time.Duration(r.Until)}
	out.Vector = Vector(r.Vector)
	has := func(field uint32) bool { return r.Fields&field != 0 }
	if has(fieldLength) {
		out.Length = &traffic.Range[uint16]{From: r.LengthLo, To: r.LengthHi}
	}
	if has(fieldTTL) {
		out.TTL = &traffic.Range[uint8]{From: r.TtlLo, To: r.TtlHi}
	}
	if has(fieldSPort) {
		out.SPort = &traffic.Range[uint16]{From: r.SportLo, To: r.SportHi}
	}
	if has(fieldDPort) {
		out.DPort = &traffic.Range[uint16]{From: r.DportLo, To: r.DportHi}
	}
	if has(fieldWindow) {
		out.Window = &r.Window
	}
	if has(fieldFlags) {
		out.Flags = &r.Flags
	}
	if has(fieldPayload) {
		out.Payload, out.Mask = append([]byte(nil), r.Payload[:]...), append([]byte(nil), r.PayloadMask[:]...)
	}
	if has(fieldSource) {
		var b [16]byte
		binary.NativeEndian.PutUint64(b[:8], r.Source[0])
		binary.NativeEndian.PutUint64(b[8:], r.Source[1])
		n := bits.OnesCount64(r.SourceMask[0]) + bits.OnesCount64(r.SourceMask[1])
		out.Source = plain(netip.PrefixFrom(netip.AddrFrom16(b), n))
	}
	return out
}

// leftDenials are those that an earlier process left.
func (t *Table) leftDenials(now time.Duration) []Denial {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Denial
	for d, until := range t.denied {
		if until <= now {
			continue
		}
		p := netip.PrefixFrom(d.source, d.source.BitLen())
		if d.source.Is6() && words(d.source)[1] == 0 {
			p = netip.PrefixFrom(d.source, 64)
		}
		out = append(out, Denial{Scope: d.scope, Source: p, Until: min(until, now+inheritDenials)})
	}
	return out
}

// inherit reads what an earlier process left in force, so that a restart under
// a flood neither opens nor closes the gate.
func (c *Centre) inherit() {
	if !c.opt.Table.Filled() {
		return
	}
	now := Monotonic()
	c.begun -= learning
	c.denials = c.opt.Table.leftDenials(now)
	left, err := c.opt.Table.inForce()
	if err != nil {
		c.opt.Log.Error("what was done about floods before the restart is not known", "err", err)
		return
	}
	c.left = left
	for _, p := range left { // it may have begun to look a moment ago
		if begun := p.StrictAfter - learning; begun > c.begun {
			c.begun = min(now, begun)
		}
	}
}

// resume makes orders of what an earlier process did beyond what the records
// alone say. It is called once, when the records are there; c.mu is held.
func (c *Centre) resume(now time.Duration) {
	if len(c.left) == 0 {
		return
	}
	bare := c.compile(now)
	left := c.left
	c.left = nil
	for i, ref := range bare.of {
		p := &bare.policies[i]
		was, ok := left[p.Prefixes[0]]
		if !ok || len(c.ordersOf(ref, now)) > 0 {
			continue
		}
		if o := resumed(ref, p, &was, now); o != nil {
			c.orders[ordered{of: ref}] = o
		}
	}
}

// resumed is what was done more than p does; nil = nothing.
func resumed(ref resource.Ref, p, was *Policy, now time.Duration) *order {
	o := &order{Order: traffic.Order{Of: ref, For: inheritOrders}, until: now + inheritOrders}
	for v := range Vectors {
		if was.Action[v] != Pass && was.Action[v] != p.Action[v] {
			o.Vectors = append(o.Vectors, Vector(v))
			o.Limits[v] = was.RatePerAddress[v]
		}
	}
	for _, r := range was.Rules {
		if r.Until > now {
			o.Fingerprints = append(o.Fingerprints, r.Fingerprint)
		}
	}
	if len(o.Vectors) == 0 && len(o.Fingerprints) == 0 {
		return nil
	}
	return o
}
