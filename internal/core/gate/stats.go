package gate

// Stats are figures of a gate since it was opened, for its operator.
type Stats struct {
	Groups      uint64 // transactions that reached the disk
	Changes     uint64 // changes of records in them, statuses among them
	Denied      uint64 // refusals
	Queue       int    // writes that wait for the writer
	LogSize     int64  // leaves of the log
	Memory      int64  // bytes that the records take as stored
	MemoryLimit int64  // and may take
	Watchers    int64  // feeds that wait for a change at this moment
}

// Stats reads the figures; each is exact, but they are not of one instant.
func (g *Gate) Stats() Stats {
	s := Stats{
		Groups: g.groups.Load(), Changes: g.changes.Load(), Denied: g.denied.Load(), Queue: len(g.queue),
		LogSize: g.main.signed.committed(), Watchers: g.watchers.Load(),
	}
	s.Memory, s.MemoryLimit = g.Memory()
	return s
}

// committed is the size of the log on disk.
func (c *checkpoints) committed() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.want.Size
}
