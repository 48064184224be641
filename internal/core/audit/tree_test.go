package audit

import (
	"errors"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

// memory is a store of hashes as the gate's would be.
type memory []tlog.Hash

func (m memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		if at >= int64(len(m)) {
			return nil, errors.New("no such hash")
		}
		out[i] = m[at]
	}
	return out, nil
}

func TestTreeEqualsTlog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(0, 300).Draw(t, "size")
		reload := rapid.Int64Range(0, 300).Draw(t, "reload")
		var stored memory
		tree := NewTree()
		for n := range size {
			if n == reload {
				loaded, err := LoadTree(n, stored)
				if err != nil {
					t.Fatal(err)
				}
				tree = loaded
			}
			leaf := []byte{byte(n), byte(n >> 8)}
			want, err := tlog.StoredHashes(n, leaf, stored)
			if err != nil {
				t.Fatal(err)
			}
			if got := tree.Append(LeafHash(leaf)); !slices.Equal(got, want) {
				t.Fatalf("append %d stores %v, want %v", n, got, want)
			}
			stored = append(stored, want...)
		}
		want, err := tlog.TreeHash(size, stored)
		if err != nil || tree.Root() != want || tree.Size() != size {
			t.Fatalf("size %d root %v, want %d %v %v", tree.Size(), tree.Root(), size, want, err)
		}
	})
}

func TestCloneIsIndependent(t *testing.T) {
	tree := NewTree()
	for n := range 5 {
		tree.Append(LeafHash([]byte{byte(n)}))
	}
	before := tree.Root()
	c := tree.Clone()
	for n := range 9 {
		c.Append(LeafHash([]byte{byte(n)}))
	}
	if tree.Size() != 5 || tree.Root() != before || c.Size() != 14 {
		t.Error("appends to a clone reach the original")
	}
}

func TestLoadTreeRefuses(t *testing.T) {
	for _, size := range []int64{-1, MaxSize + 1, 1 << 62} {
		if _, err := LoadTree(size, memory{}); err == nil {
			t.Errorf("size %d was accepted", size)
		}
	}
	if _, err := LoadTree(3, memory{}); err == nil {
		t.Error("a store without hashes was accepted")
	}
	short := tlog.HashReaderFunc(func([]int64) ([]tlog.Hash, error) { return nil, nil })
	if _, err := LoadTree(3, short); err == nil {
		t.Error("a reader that returns too few hashes was accepted")
	}
}
