package gate

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/gate/internal/store"
)

// MaxSessions is what one principal may hold.
const MaxSessions = maxSessions

// MaxShares is how many shares of one asset are looked at.
const MaxShares = maxShares

// Tuned returns o with what only tests may set: the length of the ring, the
// pause between signatures, and a store around the real one.
func (o Options) Tuned(ring, ringBytes int, signEvery time.Duration, wrap func(store.Store) store.Store) Options {
	o.tuning = tuning{ring: ring, ringBytes: ringBytes, signEvery: signEvery, store: wrap, denials: 50 * time.Millisecond}
	return o
}

// Together makes the calls one group, in their order: the writer is held until
// each of them waits in the queue or has been refused before it.
func (g *Gate) Together(calls ...func()) {
	begun, release := make(chan struct{}), make(chan struct{})
	hold := &member{ctx: context.Background(), done: make(chan struct{}), run: func(*build) error {
		close(begun)
		<-release
		return nil
	}}
	g.queue <- hold
	<-begun
	var all sync.WaitGroup
	for _, call := range calls {
		waiting, done := len(g.queue), make(chan struct{})
		all.Go(func() {
			defer close(done)
			call()
		})
		for refused := false; len(g.queue) == waiting && !refused; {
			select {
			case <-done:
				refused = true
			default:
				runtime.Gosched()
			}
		}
	}
	close(release)
	all.Wait()
}

// BreakDenials makes every write of the log of denials fail.
func (g *Gate) BreakDenials() {
	if err := g.denials.store.Close(); err != nil {
		panic(err)
	}
}

// RealTime is the check of control 2.1-13 with another bar.
func (g *Gate) RealTime(bar time.Duration) assurance.Check { return g.realTime(bar) }
