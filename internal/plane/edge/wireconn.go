package edge

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
)

// wireConn is an HTTP/1 connection under net/http. Reads pass the framing
// check; what net/http would answer by itself, outside of any request of ours,
// is replaced by our own page, so that each response carries a request id.
type wireConn struct {
	net.Conn
	tls     *tls.ConnectionState // nil on plain HTTP
	refuse  func(status int) []byte
	serving atomic.Bool // a handler runs or its response is being written
	raw     atomic.Bool // after an upgrade the bytes are no HTTP any more

	mu     sync.Mutex // guards the following
	scan   wireScan
	fault  error
	closed bool // our own refusal was written; nothing may follow
}

type wireKey struct{}

func wireOf(ctx context.Context) *wireConn {
	w, _ := ctx.Value(wireKey{}).(*wireConn)
	return w
}

// Read implements net.Conn.
func (c *wireConn) Read(p []byte) (int, error) {
	if c.raw.Load() {
		return c.Conn.Read(p)
	}
	c.mu.Lock()
	fault := c.fault
	c.mu.Unlock()
	if fault != nil {
		c.refuseNow()
		return 0, fault
	}
	n, err := c.Conn.Read(p)
	if n == 0 || c.raw.Load() {
		return n, err
	}
	c.mu.Lock()
	safe, bad := c.scan.scan(p[:n])
	c.fault = bad
	c.mu.Unlock()
	switch {
	case bad == nil:
		return n, err
	case safe > 0:
		return safe, nil // what came before is answered first
	}
	c.refuseNow()
	return 0, bad
}

// refuseNow answers a fault between two requests: net/http closes an idle
// connection without a word. During a request its handler answers.
func (c *wireConn) refuseNow() {
	if !c.serving.Load() {
		c.Write([]byte("HTTP/1.1 400"))
	}
}

// Write implements net.Conn.
func (c *wireConn) Write(p []byte) (int, error) {
	if c.serving.Load() || c.raw.Load() {
		return c.Conn.Write(p)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return len(p), nil
	}
	c.closed = true
	if _, err := c.Conn.Write(c.refuse(statusOf(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// CloseWrite lets net/http end a response before it closes, so that a client
// still reads the refusal of its unfinished upload.
func (c *wireConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// tlsWireConn is found by net/http to be TLS through ConnectionState.
type tlsWireConn struct{ *wireConn }

func (c tlsWireConn) ConnectionState() tls.ConnectionState { return *c.tls }

// statusOf reads the code from the start of an HTTP/1 response; 400 for
// anything else.
func statusOf(p []byte) int {
	if len(p) < 12 || string(p[:7]) != "HTTP/1." {
		return 400
	}
	n := 0
	for _, c := range p[9:12] {
		if c < '0' || c > '9' {
			return 400
		}
		n = n*10 + int(c-'0')
	}
	if n < 400 || n > 599 {
		return 400
	}
	return n
}
