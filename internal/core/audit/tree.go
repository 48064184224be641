package audit

import (
	"crypto/sha256"
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// MaxSize is the largest size of a log: a size travels as a JSON number, and
// tlog's arithmetic does not end for sizes above 2^62.
const MaxSize = 1<<53 - 1

// Tree is the Merkle tree of RFC 6962 section 2.1, kept as its right edge
// only: one hash for each bit that is set in the size. An append therefore
// reads nothing. A Tree is not safe for use from two goroutines.
type Tree struct {
	size int64
	edge []tlog.Hash // roots of the full subtrees, widest first
}

// NewTree is the empty tree.
func NewTree() *Tree { return &Tree{} }

// LoadTree reads the right edge of a tree of size leaves from the stored
// hashes (indexes of tlog.StoredHashIndex). It does not check them: compare
// Root with the root that was stored or signed.
func LoadTree(size int64, r tlog.HashReader) (*Tree, error) {
	if size < 0 || size > MaxSize {
		return nil, fmt.Errorf("load tree: size %d is outside 0..%d", size, int64(MaxSize))
	}
	t := &Tree{size: size}
	if size == 0 {
		return t, nil
	}
	var indexes []int64
	var lo int64
	for level := bits.Len64(uint64(size)) - 1; level >= 0; level-- {
		if width := int64(1) << level; size&width != 0 {
			indexes = append(indexes, tlog.StoredHashIndex(level, lo>>level))
			lo += width
		}
	}
	edge, err := r.ReadHashes(indexes)
	if err != nil {
		return nil, fmt.Errorf("load tree: %w", err)
	}
	if len(edge) != len(indexes) {
		return nil, fmt.Errorf("load tree: got %d hashes, want %d", len(edge), len(indexes))
	}
	t.edge = slices.Clone(edge)
	return t, nil
}

// Clone is an independent copy: appends to it can be thrown away together.
func (t *Tree) Clone() *Tree {
	return &Tree{size: t.size, edge: slices.Clone(t.edge)}
}

// Append adds a leaf hash and returns the hashes to store, from index
// tlog.StoredHashIndex(0, n) on, where n is the size before: the same hashes as
// tlog.StoredHashesForRecordHash.
func (t *Tree) Append(leafHash tlog.Hash) (stored []tlog.Hash) {
	h := leafHash
	stored = append(stored, h)
	// Each trailing 1 bit of the old size is a subtree that h completes.
	for n := t.size; n&1 == 1; n >>= 1 {
		last := len(t.edge) - 1
		h = tlog.NodeHash(t.edge[last], h)
		t.edge = t.edge[:last]
		stored = append(stored, h)
	}
	t.edge = append(t.edge, h)
	t.size++
	return stored
}

// Size is the number of leaves.
func (t *Tree) Size() int64 { return t.size }

// Root is the Merkle tree hash; that of the empty tree is SHA-256 of nothing.
func (t *Tree) Root() tlog.Hash {
	if len(t.edge) == 0 {
		return emptyRoot()
	}
	last := len(t.edge) - 1
	h := t.edge[last]
	for _, left := range slices.Backward(t.edge[:last]) {
		h = tlog.NodeHash(left, h)
	}
	return h
}

// LeafHash is the hash of an encoded leaf in the tree.
func LeafHash(leaf []byte) tlog.Hash { return tlog.RecordHash(leaf) }

func emptyRoot() tlog.Hash { return sha256.Sum256(nil) }
