package scrub

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
)

// denial is a verdict: a source that sends nothing to a scope any more.
type denial struct {
	scope  uint32
	source netip.Addr // an IPv4 address, an IPv6 address, or one whose last 64 bits are 0: its /64
}

func (d denial) key() filterDenied { return filterDenied{Scope: d.scope, Addr: quarters(d.source)} }

func (d denial) hash(key [2]uint64) uint64 {
	w := words(d.source)
	if d.source.Is4() {
		return mixed(key, w[1], uint64(d.scope)<<1)
	}
	return mixed(key, w[0], uint64(d.scope)<<1|1)
}

// MaxDenied is how many sources may be denied at once.
const MaxDenied = 100_000

// Denial is who is denied, by whom, until when (of the monotonic clock).
type Denial struct {
	Scope  uint32
	Source netip.Prefix // an address, or an IPv6 /64
	Until  time.Duration
}

// SetDenied makes the list of denials what is given; beyond MaxDenied the rest
// is refused. The bloom filter before the list is written anew in its other
// bank whenever somebody left, and then changed over.
func (t *Table) SetDenied(list []Denial) error {
	if len(list) > MaxDenied {
		return fmt.Errorf("%d denials: the filter has room for %d", len(list), MaxDenied)
	}
	want := make(map[denial]time.Duration, len(list))
	for _, d := range list {
		p := plain(d.Source)
		if !p.IsSingleIP() && (p.Addr().Is4() || p.Bits() != 64) {
			return fmt.Errorf("%s cannot be denied here: an address, or an IPv6 /64", p)
		}
		k := denial{d.Scope, p.Addr()}
		want[k] = max(want[k], d.Until)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.maps[filterMapDeny]
	left := false
	for d := range t.denied {
		if _, stays := want[d]; stays {
			continue
		}
		left = true
		k := d.key()
		if err := m.Delete(&k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget the denial of %s: %w", d.source, err)
		}
		delete(t.denied, d)
	}
	if left {
		t.filter = bloom{}
		for d := range want {
			t.filter.add(d.hash(t.set.Key))
		}
		if err := t.writeBloom(1 - t.set.Bloom&1); err != nil {
			return err
		}
	}
	for d, until := range want {
		if err := t.deny(d, until, !left); err != nil {
			return err
		}
	}
	return nil
}

// deny writes one; in the bloom filter it must be seen last.
func (t *Table) deny(d denial, until time.Duration, add bool) error {
	if old, same := t.denied[d]; same && old == until {
		return nil
	}
	k, v := d.key(), filterVerdict{Until: uint64(max(0, until))}
	var was filterVerdict
	if t.maps[filterMapDeny].Lookup(&k, &was) == nil {
		v.Used = was.Used
	}
	if err := t.maps[filterMapDeny].Put(&k, &v); err != nil {
		return fmt.Errorf("deny %s: %w", d.source, err)
	}
	t.denied[d] = until
	if !add {
		return nil
	}
	block := t.filter.add(d.hash(t.set.Key))
	if err := t.maps[filterMapBloom].Put((t.set.Bloom&1)*bloomBlocks+block, &t.filter[block]); err != nil {
		return fmt.Errorf("deny %s: %w", d.source, err)
	}
	return nil
}

// readDenied takes up what an earlier process denied.
func (t *Table) readDenied() error {
	var k filterDenied
	var v filterVerdict
	all := t.maps[filterMapDeny].Iterate()
	for all.Next(&k, &v) {
		a := addressOf(k.Addr)
		if a.Is4In6() {
			a = a.Unmap()
		}
		d := denial{k.Scope, a}
		t.denied[d] = time.Duration(v.Until)
		t.filter.add(d.hash(t.set.Key))
	}
	if err := all.Err(); err != nil {
		return fmt.Errorf("denials of the filter: %w", err)
	}
	return nil
}

// Used is how many packets a denial stopped.
func (t *Table) Used(d Denial) uint64 {
	k := denial{d.Scope, plain(d.Source).Addr()}.key()
	var v filterVerdict
	if t.maps[filterMapDeny].Lookup(&k, &v) != nil {
		return 0
	}
	return v.Used
}

// bloom is the mirror of the bank in force: four bits of one block of 512.
type bloom [bloomBlocks][8]uint64

func (b *bloom) add(h uint64) (block uint32) {
	block = uint32(h) & (bloomBlocks - 1)
	for _, at := range [4]int{12, 21, 30, 39} {
		b[block][h>>at&7] |= 1 << (h >> (at + 3) & 63)
	}
	return block
}

func (t *Table) writeBloom(bank uint32) error {
	for i := range t.filter {
		if err := t.maps[filterMapBloom].Put(bank*bloomBlocks+uint32(i), &t.filter[i]); err != nil {
			return fmt.Errorf("write the bloom filter: %w", err)
		}
	}
	set := t.set
	set.Bloom = bank
	return t.settle(set)
}
