package edge

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// exchange carries bytes both ways between two connections, untouched.
type exchange struct {
	client, origin net.Conn
	in, out        *atomic.Uint64 // bytes from and to the client
	idle           time.Duration
	moved          atomic.Int64
	once           sync.Once
}

// run returns when both directions have ended; the end of one is handed on and
// leaves the other open. Nothing that moves for the idle time, the end of ctx
// or an answer of welcome that is no end both at once.
func (x *exchange) run(ctx context.Context, welcome func() bool) {
	defer context.AfterFunc(ctx, x.end)()
	idle := newIdleWatch(&x.moved, x.idle, x.end)
	defer idle.stop()
	over := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		t := time.NewTicker(welcomeEvery)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				if !welcome() {
					x.end()
					return
				}
			case <-over:
				return
			}
		}
	})
	var back sync.WaitGroup
	back.Go(func() { x.carry(x.client, x.origin, x.out) })
	x.carry(x.origin, x.client, x.in)
	back.Wait()
	close(over)
	all.Wait()
}

func (x *exchange) end() {
	x.once.Do(func() {
		x.client.Close()
		x.origin.Close()
	})
}

func (x *exchange) carry(to, from net.Conn, n *atomic.Uint64) {
	if _, err := io.Copy(&metered{to, &x.moved, n}, from); err != nil {
		x.end()
		return
	}
	if closeWrite(to) != nil {
		x.end()
	}
}

// metered counts what is written, and hides ReadFrom: each piece counts when it
// moves.
type metered struct {
	w     io.Writer
	moved *atomic.Int64
	n     *atomic.Uint64
}

// Write implements io.Writer.
func (m *metered) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	m.moved.Add(int64(n))
	m.n.Add(uint64(n))
	return n, err
}
