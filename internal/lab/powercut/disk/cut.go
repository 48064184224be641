package disk

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
)

// Lost counts what a cut found unsynced and what of it is gone.
type Lost struct {
	Sectors     int `json:"sectors"` // written and not synced, each write counted
	SectorsLost int `json:"sectorsLost"`
	Names       int `json:"names"` // operations on names
	NamesLost   int `json:"namesLost"`
}

// Cut decides what of the unsynced survives; the platter then holds it. The
// same seed on the same history decides the same. How much survives differs
// from cut to cut, from nothing to everything: only so are a torn file and a
// merely late one both met.
func (d *Disk) Cut(seed uint64) Lost {
	r := rand.New(rand.NewPCG(seed, 0))
	var l Lost
	d.cutNames(r, &l)
	chance := []float64{0, 0.5, 0.5, 0.95, 1}[r.IntN(5)]
	for _, n := range slices.SortedFunc(maps.Keys(d.open), func(a, b *Node) int { return cmp.Compare(a.ID, b.ID) }) {
		n.cut(r, chance, &l)
	}
	clear(d.open)
	return l
}

// cutNames keeps a first part of each folder's operations. One that another
// folder lost ends this folder's part too.
func (d *Disk) cutNames(r *rand.Rand, l *Lost) {
	left := map[*Node]int{} // operations that survive; first all, then a part
	var dirs []*Node
	for _, o := range d.ops {
		for _, dir := range o.dirs() {
			if left[dir]++; left[dir] == 1 {
				dirs = append(dirs, dir)
			}
		}
	}
	for _, dir := range dirs { // in the order of the operations: seeds repeat
		left[dir] = r.IntN(left[dir] + 1)
	}
	for _, o := range d.ops {
		lost := slices.ContainsFunc(o.dirs(), func(n *Node) bool { return left[n] == 0 })
		for _, dir := range o.dirs() {
			if lost {
				left[dir] = 0
			} else {
				left[dir]--
			}
		}
		l.Names++
		if lost {
			l.NamesLost++
		} else {
			o.apply()
		}
	}
	d.ops = nil
}

// dirs lists the folders of an operation, each once.
func (o operation) dirs() []*Node {
	out := []*Node{o[0].dir}
	if len(o) > 1 && o[1].dir != o[0].dir {
		out = append(out, o[1].dir)
	}
	return out
}

// cut gives each sector the bytes that it had after one of the writes that
// touched it, and the node the attributes that it had at one time.
func (n *Node) cut(r *rand.Rand, chance float64, l *Lost) {
	last := map[int64]int{} // sector -> the newest change that reached it, +1
	for i, c := range n.unsynced {
		for s := range c.sectors() {
			l.Sectors++
			if r.Float64() < chance {
				last[s] = i + 1
			} else {
				l.SectorsLost++
			}
		}
	}
	attrs := len(n.unsynced) // how many changes of attributes survive
	if chance < 1 {
		attrs = r.IntN(len(n.unsynced) + 1)
	}
	buf, size := n.platter, n.kept.Size
	for i, c := range n.unsynced {
		for s := range c.sectors() {
			if i < last[s] {
				from, to := max(c.off, s*Sector), min(c.off+int64(len(c.data)), (s+1)*Sector)
				buf = writeAt(buf, from, c.data[from-c.off:to-c.off])
			}
		}
		if i < attrs {
			n.kept = c.attr
			if c.attr.Size < size { // what was cut off reads as zero if the file grows again
				clear(buf[min(c.attr.Size, int64(len(buf))):])
			}
			size = c.attr.Size
		}
	}
	n.platter, n.unsynced = resize(buf, size), nil
}

// sectors yields the sectors that a change writes to.
func (c change) sectors() func(func(int64) bool) {
	return func(yield func(int64) bool) {
		if len(c.data) == 0 {
			return
		}
		for s := c.off / Sector; s <= (c.off+int64(len(c.data))-1)/Sector; s++ {
			if !yield(s) {
				return
			}
		}
	}
}
