package scrub

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// As in bpf/types.h.
const (
	treeNodes = 4096 // of each bank
	deeper    = 0x80000000
	askTrie   = 0x7fffffff
)

// node decides by one byte of an address: 0, a slot + 1, deeper with the next
// node, or askTrie.
type node [256]uint32

// tree finds the policy of an address with a load for each byte of it, whatever
// the prefixes are and whoever chooses the address: a trie that looks at single
// bits takes a flood over many addresses ten times as long. The first node is the
// root of IPv4, the second that of IPv6; nodes are numbered as in the filter's
// map, from base on. Prefixes for which there is no room are left to the tries.
type tree struct {
	base  uint32
	nodes []node
}

func newTree(base uint32, want map[netip.Prefix]uint32) *tree {
	t := &tree{base: base, nodes: make([]node, 2, 64)}
	prefixes := make([]netip.Prefix, 0, len(want))
	for p := range want {
		prefixes = append(prefixes, p)
	}
	// Shorter ones first: a longer one is written over them.
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(a.Bits(), b.Bits()), a.Addr().Compare(b.Addr()))
	})
	for _, p := range prefixes {
		t.add(p, want[p]+1)
	}
	return t
}

func (t *tree) add(p netip.Prefix, found uint32) {
	at := uint32(0)
	if p.Addr().Is6() {
		at = 1
	}
	bits := p.Bits()
	for _, b := range p.Addr().AsSlice() {
		if bits <= 8 {
			first := int(b)
			for i := first; i < first+1<<(8-bits); i++ {
				if t.nodes[at][i] != askTrie {
					t.nodes[at][i] = found
				}
			}
			return
		}
		bits -= 8
		e := t.nodes[at][b]
		switch {
		case e == askTrie:
			return
		case e&deeper != 0:
			at = e&^deeper - t.base
			continue
		case len(t.nodes) == treeNodes:
			t.nodes[at][b] = askTrie
			return
		}
		var n node
		for i := range n {
			n[i] = e
		}
		t.nodes = append(t.nodes, n)
		t.nodes[at][b] = deeper | (t.base + uint32(len(t.nodes)-1))
		at = uint32(len(t.nodes) - 1)
	}
}

// putTree writes the bank's tree, as far as the bank does not hold it.
func (t *Table) putTree(bank int, want map[netip.Prefix]uint32) error {
	next := newTree(uint32(bank)*treeNodes, want)
	old := t.tree[bank]
	t.tree[bank] = nil // not known if it fails
	for i := range next.nodes {
		if old != nil && i < len(old.nodes) && old.nodes[i] == next.nodes[i] {
			continue
		}
		if err := t.maps[filterMapNodes].Put(next.base+uint32(i), &next.nodes[i]); err != nil {
			return fmt.Errorf("tree of prefixes: %w", err)
		}
	}
	t.tree[bank] = next
	return nil
}
