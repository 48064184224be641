package gate

import "github.com/dun-sec/dun/internal/core/fault"

// weigh takes the growth of a change, in bytes as stored, against the budget
// of the memory copy: what would exceed it is refused, and what shrinks is
// always taken, so that a full cell can be emptied.
func (b *build) weigh(growth int) error {
	if next := b.state.weight + int64(growth); growth > 0 && next > b.g.opt.Memory {
		return fault.New(fault.Exhausted, "the records of this cell take %d bytes of the %d that its memory is set to hold; delete what is no longer needed",
			"集群记录已占 %d 字节,内存上限为 %d 字节;请删除不再需要的记录", b.state.weight, b.g.opt.Memory)
	}
	b.state.weight += int64(growth)
	return nil
}

// Memory is how many bytes the records take as stored, and how many they may.
func (g *Gate) Memory() (held, most int64) { return g.state.Load().weight, g.opt.Memory }
