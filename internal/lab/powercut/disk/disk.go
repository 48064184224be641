// Package disk is the model of a disk that may lose power: each file and
// folder has what running programs see and what the platter holds, and a
// journal of what lies between. It owns the rules of loss; it knows no FUSE.
//
// The rules, stricter than ext4 where the two differ, never kinder than POSIX:
//
//   - fsync of a file makes its bytes, its size and its mode durable, never its
//     name (ext4 would bring the name of a new file along).
//   - fsync of a folder makes every name in it durable, never the bytes of the
//     files, and not the name of the folder itself in its parent.
//   - A sector of 512 bytes is never torn. Unsynced, it is after the cut as it
//     was after any one of the writes that touched it, each sector by itself.
//   - The size, mode and owner of a file move together and in order, and know
//     nothing of the sectors: a file may have grown and hold zeroes there.
//   - Unsynced names: of each folder a random first part of its operations
//     survives. A rename is one operation, also between two folders: it
//     survives in both or in neither.
//   - Unlinked bytes are gone only if the unlink is; times are not kept.
package disk

import (
	"syscall"
	"time"
)

// Sector is what a disk writes whole or not at all, in bytes.
const Sector = 512

// Attr is what a file or folder has beside its bytes and names.
type Attr struct {
	Mode     uint32 // type and permissions, as in stat(2)
	UID, GID uint32
	Size     int64 // of a regular file, bytes
}

// Node is a file or folder. Its fields belong to Disk and to whoever holds the
// caller's lock: a Disk is not safe for use by several goroutines.
type Node struct {
	ID    uint64
	Attr  Attr // as programs see it
	Links uint32
	Time  time.Time // of the last change
	Link  string    // where a symbolic link points

	data  []byte           // as programs see it; of Attr.Size bytes
	names map[string]*Node // as programs see them

	kept     Attr // on the platter, as the next three
	platter  []byte
	platted  map[string]*Node
	unsynced []change
}

// Dir says whether the node is a folder.
func (n *Node) Dir() bool { return n.Attr.Mode&syscall.S_IFMT == syscall.S_IFDIR }

// change is one unsynced step of one node: bytes written, or a cut to the new
// size; either way attr is what the node had after it.
type change struct {
	off  int64
	data []byte // nil = attributes only
	attr Attr
}

// edit sets or removes (nil) one name.
type edit struct {
	dir  *Node
	name string
	node *Node
}

// operation is one unsynced change of names; its edits happen together.
type operation []edit

func (o operation) touches(in map[*Node]bool) bool {
	for _, e := range o {
		if in[e.dir] {
			return true
		}
	}
	return false
}

func (o operation) apply() {
	for _, e := range o {
		if e.node == nil {
			delete(e.dir.platted, e.name)
		} else {
			e.dir.platted[e.name] = e.node
		}
	}
}

// Disk is a tree of nodes.
type Disk struct {
	Root *Node
	next uint64
	ops  []operation // unsynced, in order
	open map[*Node]bool
}

// New makes an empty disk.
func New() *Disk {
	d := &Disk{open: map[*Node]bool{}}
	d.Root = d.node(Attr{Mode: syscall.S_IFDIR | 0o755})
	d.Root.Links = 2
	return d
}

// node makes a node that nothing names yet. What it is made with is on the
// platter as soon as a name is.
func (d *Disk) node(a Attr) *Node {
	d.next++
	n := &Node{ID: d.next, Attr: a, kept: a, Links: 1, Time: time.Now()}
	if n.Dir() {
		n.names, n.platted = map[string]*Node{}, map[string]*Node{}
	}
	return n
}

// SyncFile makes a node's bytes and attributes durable.
func (d *Disk) SyncFile(n *Node) {
	for _, c := range n.unsynced {
		if c.data != nil {
			n.platter = writeAt(n.platter, c.off, c.data)
		}
		n.platter = resize(n.platter, c.attr.Size)
	}
	n.kept, n.unsynced = n.Attr, nil
	delete(d.open, n)
}

// SyncDir makes the names in a folder durable, and what must come before them
// in other folders.
func (d *Disk) SyncDir(n *Node) {
	d.SyncFile(n)
	needed := map[*Node]bool{n: true}
	due := make([]bool, len(d.ops))
	for i := len(d.ops) - 1; i >= 0; i-- {
		if due[i] = d.ops[i].touches(needed); due[i] {
			for _, e := range d.ops[i] {
				needed[e.dir] = true
			}
		}
	}
	var rest []operation
	for i, o := range d.ops {
		if due[i] {
			o.apply()
		} else {
			rest = append(rest, o)
		}
	}
	d.ops = rest
}

func (d *Disk) note(n *Node, c change) {
	c.attr = n.Attr
	n.unsynced = append(n.unsynced, c)
	n.Time = time.Now()
	d.open[n] = true
}
