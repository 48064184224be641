package disk

import (
	"maps"
	"slices"
	"syscall"
)

// Lookup finds a name in a folder, nil when there is none.
func (d *Disk) Lookup(dir *Node, name string) *Node { return dir.names[name] }

// Names lists a folder, sorted.
func (d *Disk) Names(dir *Node) []string { return slices.Sorted(maps.Keys(dir.names)) }

// Make makes a node with a name. It fails with EEXIST.
func (d *Disk) Make(dir *Node, name string, a Attr) (*Node, error) {
	if dir.names[name] != nil {
		return nil, syscall.EEXIST
	}
	n := d.node(a)
	if n.Dir() {
		n.Links = 2
	}
	d.rename(operation{{dir, name, n}})
	return n, nil
}

// Symlink makes a symbolic link.
func (d *Disk) Symlink(dir *Node, name, target string) (*Node, error) {
	n, err := d.Make(dir, name, Attr{Mode: syscall.S_IFLNK | 0o777})
	if err == nil {
		n.Link = target
	}
	return n, err
}

// Hard gives a file one more name.
func (d *Disk) Hard(n, dir *Node, name string) error {
	if dir.names[name] != nil {
		return syscall.EEXIST
	}
	n.Links++
	d.rename(operation{{dir, name, n}})
	return nil
}

// Remove takes a name away, of a file or of an empty folder.
func (d *Disk) Remove(dir *Node, name string) error {
	n := dir.names[name]
	switch {
	case n == nil:
		return syscall.ENOENT
	case len(n.names) > 0:
		return syscall.ENOTEMPTY
	}
	d.unlinked(n)
	d.rename(operation{{dir, name, nil}})
	return nil
}

// Rename moves a name, over another if there is one: RENAME_NOREPLACE and
// RENAME_EXCHANGE are as in renameat2(2).
func (d *Disk) Rename(from *Node, old string, to *Node, name string, flags uint32) error {
	const noReplace, exchange = 1, 2
	n, over := from.names[old], to.names[name]
	switch {
	case n == nil, flags&exchange != 0 && over == nil:
		return syscall.ENOENT
	case flags&noReplace != 0 && over != nil:
		return syscall.EEXIST
	case n == over:
		return nil
	case flags&exchange != 0:
		d.rename(operation{{from, old, over}, {to, name, n}})
		return nil
	case over != nil && len(over.names) > 0:
		return syscall.ENOTEMPTY
	}
	if over != nil {
		d.unlinked(over)
	}
	d.rename(operation{{from, old, nil}, {to, name, n}})
	return nil
}

func (d *Disk) unlinked(n *Node) {
	if n.Links--; n.Dir() {
		n.Links = 0
	}
}

// rename does an operation on what programs see and notes it for the platter.
func (d *Disk) rename(o operation) {
	for _, e := range o {
		if e.node == nil {
			delete(e.dir.names, e.name)
		} else {
			e.dir.names[e.name] = e.node
		}
	}
	d.ops = append(d.ops, o)
}
