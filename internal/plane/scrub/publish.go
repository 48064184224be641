package scrub

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// Options of what is published beside the policies.
type Options struct {
	Sample uint32 // one packet in so many is kept; 0 = none
	Proxy  bool   // the kernel's SYN proxy is behind the filter: cookies may be sent
	Own    bool   // what leaves with a source that is not protected is dropped (BCP 38)
}

const (
	settingAllow = 1 << iota
	settingProxy
	settingOwn
)

// Publish puts policies in force, all at once: a packet is judged by the old
// ones or by the new ones. They are written to the bank that is not used, then
// the bank is changed. Two policies may not have one slot or one prefix.
func (t *Table) Publish(policies []Policy, opt Options) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := 1 - int(t.set.Bank&1)
	if t.set.Layout != layout {
		next = int(t.set.Bank & 1)
	}
	want, err := t.check(policies)
	if err != nil {
		return err
	}
	for i := range policies {
		if err := t.putPolicy(next, &policies[i]); err != nil {
			return err
		}
	}
	if err := t.putPrefixes(next, want); err != nil {
		return err
	}
	if err := t.putTree(next, want); err != nil {
		return err
	}
	set := t.set
	set.Layout, set.Bank, set.Sample = layout, uint32(next), opt.Sample
	set.Generation++
	set.Flags &= settingAllow
	if opt.Proxy {
		set.Flags |= settingProxy
	}
	if opt.Own {
		set.Flags |= settingOwn
	}
	return t.settle(set)
}

// settle writes the settings, from which on they hold.
func (t *Table) settle(set filterSettings) error {
	if err := t.maps[filterMapConfig].Put(uint32(0), &set); err != nil {
		return fmt.Errorf("change the filter over: %w", err)
	}
	t.set = set
	return nil
}

func (t *Table) check(policies []Policy) (map[netip.Prefix]uint32, error) {
	want, slots := map[netip.Prefix]uint32{}, map[uint32]bool{}
	for i := range policies {
		p := &policies[i]
		if p.Slot >= t.set.Slots {
			return nil, fmt.Errorf("slot %d: the filter has room for %d policies", p.Slot, t.set.Slots)
		}
		if slots[p.Slot] {
			return nil, fmt.Errorf("slot %d has two policies", p.Slot)
		}
		slots[p.Slot] = true
		for _, x := range p.Prefixes {
			x = plain(x)
			if _, twice := want[x]; twice {
				return nil, fmt.Errorf("%s has two policies", x)
			}
			want[x] = p.Slot
		}
	}
	return want, nil
}

func (t *Table) putPolicy(bank int, p *Policy) error {
	e, err := p.encode()
	if err != nil {
		return err
	}
	at := uint32(bank)*t.set.Slots + p.Slot
	if err := t.maps[filterMapPolicies].Put(at, &e); err != nil {
		return fmt.Errorf("policy %d: %w", p.Slot, err)
	}
	for i := range p.Rules {
		r, err := p.Rules[i].encode()
		if err != nil {
			return err
		}
		if err := t.maps[filterMapRules].Put(at*MaxRules+uint32(i), &r); err != nil {
			return fmt.Errorf("rule %d of policy %d: %w", i, p.Slot, err)
		}
	}
	return nil
}

func (t *Table) putPrefixes(bank int, want map[netip.Prefix]uint32) error {
	v4, v6 := t.tries(bank)
	for p := range t.held[bank] {
		if _, stays := want[p]; stays {
			continue
		}
		if err := remove(v4, v6, p); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("take %s out: %w", p, err)
		}
		delete(t.held[bank], p)
	}
	for p, slot := range want {
		var err error
		if p.Addr().Is4() {
			k := filterPrefix4{Bits: uint32(p.Bits()), Addr: quarters(p.Addr())[3]}
			err = v4.Put(&k, slot)
		} else {
			k := filterPrefix6{Bits: uint32(p.Bits()), Addr: quarters(p.Addr())}
			err = v6.Put(&k, slot)
		}
		if err != nil {
			return fmt.Errorf("protect %s: %w", p, err)
		}
		t.held[bank][p] = true
	}
	return nil
}

func remove(v4, v6 *ebpf.Map, p netip.Prefix) error {
	if p.Addr().Is4() {
		return v4.Delete(&filterPrefix4{Bits: uint32(p.Bits()), Addr: quarters(p.Addr())[3]})
	}
	return v6.Delete(&filterPrefix6{Bits: uint32(p.Bits()), Addr: quarters(p.Addr())})
}

// Allow replaces the sources that are never judged, of each scope.
func (t *Table) Allow(list map[uint32][]netip.Prefix) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.maps[filterMapAllow]
	want := map[filterAllowed]bool{}
	for scope, prefixes := range list {
		for _, p := range prefixes {
			p = plain(p)
			bits := p.Bits() + 32
			if p.Addr().Is4() {
				bits += 96
			}
			want[filterAllowed{Bits: uint32(bits), Scope: scope, Addr: quarters(p.Addr())}] = true
		}
	}
	var k filterAllowed
	var v uint32
	var gone []filterAllowed
	all := m.Iterate()
	for all.Next(&k, &v) {
		if !want[k] {
			gone = append(gone, k)
		}
	}
	if err := all.Err(); err != nil {
		return fmt.Errorf("allow list of the filter: %w", err)
	}
	for _, k := range gone {
		if err := m.Delete(&k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("allow list of the filter: %w", err)
		}
	}
	for k := range want {
		if err := m.Put(&k, uint32(1)); err != nil {
			return fmt.Errorf("allow list of the filter: %w", err)
		}
	}
	set := t.set
	set.Flags &^= settingAllow
	if len(want) > 0 {
		set.Flags |= settingAllow
	}
	return t.settle(set)
}
