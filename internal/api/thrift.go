package api

import (
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

const (
	longList   = 5000     // records after which a list counts as long
	listMemory = 20 << 20 // bytes that may lie about while long lists are written
)

// thrift keeps long lists from doubling the program's memory: the collector
// lets garbage grow in proportion to what lives, and a hundred thousand records
// live. While one long list at least is written it runs earlier, and that list
// pays for it in time.
type thrift struct {
	mu    sync.Mutex
	lists int
	usual int // percent
}

// begin is called by a list that has become long; end when it is over.
func (t *thrift) begin() (end func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lists++; t.lists == 1 {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		percent := 100
		if v := live[0].Value; v.Kind() == metrics.KindUint64 && v.Uint64() > listMemory {
			percent = max(4, int(listMemory*100/v.Uint64()))
		}
		t.usual = debug.SetGCPercent(percent)
		if t.usual >= 0 && t.usual < percent {
			debug.SetGCPercent(t.usual)
		}
	}
	return sync.OnceFunc(t.end)
}

func (t *thrift) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lists--; t.lists == 0 {
		debug.SetGCPercent(t.usual)
	}
}
