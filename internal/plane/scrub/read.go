package scrub

import (
	"fmt"
	"net/netip"
)

// Counts is what one policy saw since the filter was installed.
type Counts struct {
	Packets, Bytes, Passed [Vectors]uint64
	// Suspect packets came in without a proof. Of what goes out, Reason[Proven]
	// counts connections that came to be.
	Suspect [Vectors]uint64
	Reason  [Reasons]uint64
}

// Totals is what all interfaces saw.
type Totals struct {
	Seen      uint64 // packets
	Untouched uint64 // that go to no protected address
	Sampled   uint64
	Unsampled uint64 // samples for which there was no room
}

// Counts sums the processors' counters of a slot: of what came in, or of what
// its hosts sent.
func (t *Table) Counts(slot uint32, out bool) (Counts, error) {
	m := t.maps[filterMapCounters]
	if out {
		m = t.maps[filterMapCountersout]
	}
	var each []filterCounts
	if err := m.Lookup(slot, &each); err != nil {
		return Counts{}, fmt.Errorf("counters of policy %d: %w", slot, err)
	}
	var sum Counts
	var aside filterCounts
	which := 2 * slot
	if out {
		which++
	}
	if err := t.maps[filterMapAside].Lookup(which, &aside); err != nil {
		return Counts{}, fmt.Errorf("counters of policy %d: %w", slot, err)
	}
	each = append(each, aside)
	for i := range each {
		c := &each[i]
		for v := range Vectors {
			sum.Packets[v] += c.Packets[v]
			sum.Bytes[v] += c.Bytes[v]
			sum.Passed[v] += c.Passed[v]
			sum.Suspect[v] += c.Suspect[v]
		}
		for r := range Reasons {
			sum.Reason[r] += c.Reason[r]
		}
	}
	return sum, nil
}

// Total sums what every processor saw.
func (t *Table) Total() (Totals, error) {
	var each []filterTotals
	if err := t.maps[filterMapTotal].Lookup(uint32(0), &each); err != nil {
		return Totals{}, fmt.Errorf("totals of the filter: %w", err)
	}
	var sum Totals
	for _, c := range each {
		sum.Seen += c.Seen
		sum.Untouched += c.Untouched
		sum.Sampled += c.Sampled
		sum.Unsampled += c.Unsampled
	}
	return sum, nil
}

// RuleHits is how many packets each rule of a policy dropped. A slot's counters
// are those of whatever rule stood there; see what moved since it was set.
func (t *Table) RuleHits(slot uint32) (out [MaxRules]uint64, err error) {
	for i := range out {
		if err := t.maps[filterMapRulehits].Lookup(slot*MaxRules+uint32(i), &out[i]); err != nil {
			return out, fmt.Errorf("use of rule %d: %w", i, err)
		}
	}
	return out, nil
}

// Sketch is one reading of how many packets of each vector went to each address
// of policies that are wider than one address: a count-min sketch, never below
// the truth, modulo 2^32.
type Sketch struct {
	key [2]uint64
	row [sketchRows][cellsOfRow]uint32
}

// Sketch reads all processors'.
func (t *Table) Sketch() (*Sketch, error) {
	t.mu.Lock()
	out := &Sketch{key: t.set.Key}
	t.mu.Unlock()
	var each filterCells
	for cpu := range t.maps[filterMapSketch].MaxEntries() {
		if err := t.maps[filterMapSketch].Lookup(cpu, &each); err != nil {
			return nil, fmt.Errorf("sketch of processor %d: %w", cpu, err)
		}
		for r := range each.Row {
			for c, n := range each.Row[r] {
				out.row[r][c] += n
			}
		}
	}
	return out, nil
}

// Since is how many packets of the vector went to the address between two
// readings: the least that any row says.
func (s *Sketch) Since(old *Sketch, dst netip.Addr, v Vector) uint32 {
	w := words(dst)
	h := keyed(s.key, w[0], w[1], uint64(v))
	least := ^uint32(0)
	for r := range s.row {
		n := s.row[r][h&(cellsOfRow-1)]
		if old != nil {
			n -= old.row[r][h&(cellsOfRow-1)]
		}
		least = min(least, n)
		h >>= 13
	}
	return least
}
