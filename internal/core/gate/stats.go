package gate

import "sync/atomic"

// counters are what the gate has done since it was opened.
type counters struct {
	groups, members, denied atomic.Uint64
}

// Stats is what the gate has done since it was opened, and what it holds.
type Stats struct {
	Groups   uint64 // transactions
	Members  uint64 // requests in them
	Denied   uint64
	Waiting  int   // requests in the queue
	Leaves   int64 // of the main log
	Held     int64 // bytes of records as stored
	Revision uint64
}

// Stats reads the counters.
func (g *Gate) Stats() Stats {
	held, _ := g.Memory()
	return Stats{
		Groups: g.count.groups.Load(), Members: g.count.members.Load(), Denied: g.count.denied.Load(),
		Waiting: len(g.queue), Leaves: g.main.size(), Held: held, Revision: g.At().Revision,
	}
}
