package scrub

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/cilium/ebpf"
)

// layout numbers the shapes of bpf/types.h. A filter of another layout is
// replaced by a new one when that is filled.
const layout = 5

const (
	cellsOfRow  = 8192
	sketchRows  = 4
	bloomBlocks = 4096
)

// Table is the filter's memory: what is protected and how, who is denied, what
// was counted. It needs the descriptors of the maps and no privilege.
type Table struct {
	maps map[string]*ebpf.Map
	cpus int

	mu     sync.Mutex
	set    filterSettings
	held   [2]map[netip.Prefix]bool // in the tries of each bank
	tree   [2]*tree                 // what this process wrote; nil = nothing yet
	denied map[denial]time.Duration // until when
	filter bloom
}

// mapNames are all maps that a Table uses.
var mapNames = []string{
	filterMapConfig, filterMapNodes, filterMapPolicies, filterMapRules, filterMapRulehits, filterMapBloom, filterMapSketch, filterMapCounters, filterMapCountersout,
	filterMapTotal, filterMapPrefixes4a, filterMapPrefixes4b, filterMapPrefixes6a, filterMapPrefixes6b, filterMapAllow, filterMapDeny,
	filterMapProven, filterMapAsked, filterMapAskedports, filterMapOffered, filterMapAside, filterMapKnown, filterMapSamples,
}

// Take makes a Table of the descriptors that hand gives by name. A filter that
// an earlier process filled goes on as it is until Publish.
func Take(hand func(name string) (*os.File, error)) (t *Table, err error) {
	t = &Table{maps: map[string]*ebpf.Map{}, denied: map[denial]time.Duration{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Close())
		}
	}()
	for _, name := range mapNames {
		m, err := takeMap(hand, name)
		if err != nil {
			return t, fmt.Errorf("map %s of the filter: %w", name, err)
		}
		t.maps[name] = m
	}
	if t.cpus, err = ebpf.PossibleCPU(); err != nil {
		return t, fmt.Errorf("processors: %w", err)
	}
	return t, t.adopt()
}

func takeMap(hand func(string) (*os.File, error), name string) (*ebpf.Map, error) {
	f, err := hand(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := mapOf(f)
	runtime.KeepAlive(f)
	return m, err
}

// adopt reads what an earlier process left, or begins anew.
func (t *Table) adopt() error {
	if err := t.maps[filterMapConfig].Lookup(uint32(0), &t.set); err != nil {
		return fmt.Errorf("settings of the filter: %w", err)
	}
	t.set.Slots = t.maps[filterMapCounters].MaxEntries()
	if t.set.Layout == layout {
		for bank := range t.held {
			if err := t.readBank(bank); err != nil {
				return err
			}
		}
		return t.readDenied()
	}
	t.held = [2]map[netip.Prefix]bool{{}, {}}
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return fmt.Errorf("key of the filter: %w", err)
	}
	t.set.Key = [2]uint64{binary.NativeEndian.Uint64(b[:8]), binary.NativeEndian.Uint64(b[8:])}
	return t.maps[filterMapConfig].Put(uint32(0), &t.set) // its layout is 0: nothing is in force
}

// Filled reports whether a policy was ever published.
func (t *Table) Filled() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.set.Layout == layout
}

// Slots is how many policies there may be.
func (t *Table) Slots() uint32 { return t.maps[filterMapCounters].MaxEntries() }

// Close gives the descriptors back; the filter goes on.
func (t *Table) Close() error {
	var errs []error
	for _, m := range t.maps {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

func (t *Table) tries(bank int) (v4, v6 *ebpf.Map) {
	if bank == 0 {
		return t.maps[filterMapPrefixes4a], t.maps[filterMapPrefixes6a]
	}
	return t.maps[filterMapPrefixes4b], t.maps[filterMapPrefixes6b]
}

func (t *Table) readBank(bank int) error {
	t.held[bank] = map[netip.Prefix]bool{}
	v4, v6 := t.tries(bank)
	var k4 filterPrefix4
	var slot uint32
	all := v4.Iterate()
	for all.Next(&k4, &slot) {
		var b [4]byte
		binary.NativeEndian.PutUint32(b[:], k4.Addr)
		t.held[bank][netip.PrefixFrom(netip.AddrFrom4(b), int(k4.Bits))] = true
	}
	if err := all.Err(); err != nil {
		return fmt.Errorf("prefixes of the filter: %w", err)
	}
	var k6 filterPrefix6
	all = v6.Iterate()
	for all.Next(&k6, &slot) {
		t.held[bank][netip.PrefixFrom(addressOf(k6.Addr), int(k6.Bits))] = true
	}
	if err := all.Err(); err != nil {
		return fmt.Errorf("prefixes of the filter: %w", err)
	}
	return nil
}

func addressOf(q [4]uint32) netip.Addr {
	var b [16]byte
	for i, w := range q {
		binary.NativeEndian.PutUint32(b[4*i:], w)
	}
	return netip.AddrFrom16(b)
}
