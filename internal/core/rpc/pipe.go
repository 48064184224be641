package rpc

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// pipeBytes is how much may be under way in one direction. Without any room,
// as in net.Pipe, two sides that speak at once wait for each other for ever:
// one that begins, and one that refuses him.
const pipeBytes = 64 << 10

// pipe makes both ends of a connection within the process.
func pipe() (a, b net.Conn) {
	x, y := newHalf(), newHalf()
	return &pipeConn{in: x, out: y}, &pipeConn{in: y, out: x}
}

// half is one direction.
type half struct {
	mu        sync.Mutex
	buf       []byte
	ended     bool          // the writer has closed: what is left is read
	abandoned bool          // the reader has closed
	moved     chan struct{} // closed at each change of the above
	readBy    time.Time     // deadlines; zero = none
	writeBy   time.Time
}

func newHalf() *half { return &half{moved: make(chan struct{})} }

// change changes the half and wakes whoever waits for it.
func (h *half) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	close(h.moved)
	h.moved = make(chan struct{})
}

// try runs step until it is done, waiting for a change in between, up to the
// deadline.
func (h *half) try(by *time.Time, step func() (done bool)) error {
	for {
		h.mu.Lock()
		deadline := *by
		if !deadline.IsZero() && !time.Now().Before(deadline) {
			h.mu.Unlock()
			return os.ErrDeadlineExceeded
		}
		if step() {
			close(h.moved)
			h.moved = make(chan struct{})
			h.mu.Unlock()
			return nil
		}
		moved := h.moved // after step, which may have moved something itself
		h.mu.Unlock()
		if deadline.IsZero() {
			<-moved
			continue
		}
		t := time.NewTimer(time.Until(deadline))
		select {
		case <-moved:
		case <-t.C:
		}
		t.Stop()
	}
}

// pipeConn is one end.
type pipeConn struct{ in, out *half }

// Read implements net.Conn.
func (c *pipeConn) Read(p []byte) (n int, err error) {
	late := c.in.try(&c.in.readBy, func() bool {
		switch {
		case c.in.abandoned:
			err = net.ErrClosed
		case len(c.in.buf) > 0:
			n = copy(p, c.in.buf)
			c.in.buf = c.in.buf[n:]
		case c.in.ended:
			err = io.EOF
		default:
			return len(p) == 0
		}
		return true
	})
	if late != nil {
		return 0, late
	}
	return n, err
}

// Write implements net.Conn.
func (c *pipeConn) Write(p []byte) (n int, err error) {
	late := c.out.try(&c.out.writeBy, func() bool {
		if c.out.ended || c.out.abandoned {
			err = net.ErrClosed
			return true
		}
		k := min(len(p)-n, pipeBytes-len(c.out.buf))
		if k > 0 {
			c.out.buf = append(c.out.buf, p[n:n+k]...)
			n += k
			close(c.out.moved) // the reader makes room for the rest
			c.out.moved = make(chan struct{})
		}
		return n == len(p)
	})
	if late != nil {
		return n, late
	}
	return n, err
}

// Close implements net.Conn.
func (c *pipeConn) Close() error {
	c.out.change(func() { c.out.ended = true })
	c.in.change(func() { c.in.abandoned, c.in.buf = true, nil })
	return nil
}

// LocalAddr implements net.Conn.
func (c *pipeConn) LocalAddr() net.Addr { return pipeAddr{} }

// RemoteAddr implements net.Conn.
func (c *pipeConn) RemoteAddr() net.Addr { return pipeAddr{} }

// SetDeadline implements net.Conn.
func (c *pipeConn) SetDeadline(t time.Time) error {
	c.in.change(func() { c.in.readBy = t })
	c.out.change(func() { c.out.writeBy = t })
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *pipeConn) SetReadDeadline(t time.Time) error {
	c.in.change(func() { c.in.readBy = t })
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *pipeConn) SetWriteDeadline(t time.Time) error {
	c.out.change(func() { c.out.writeBy = t })
	return nil
}
