package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// gatedListener accepts only as long as the process has room for connections.
type gatedListener struct {
	net.Listener
	gate   chan struct{} // shared by the listeners of a Serve
	closed chan struct{}
	once   *sync.Once
}

// Accept implements net.Listener.
func (l gatedListener) Accept() (net.Conn, error) {
	select {
	case l.gate <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.gate
		return nil, err
	}
	return &gatedConn{Conn: c, gate: l.gate}, nil
}

// Close implements net.Listener.
func (l gatedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// gatedConn gives its place back once.
type gatedConn struct {
	net.Conn
	gate chan struct{}
	once sync.Once
}

// Close implements net.Conn.
func (c *gatedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { <-c.gate })
	return err
}

// CloseWrite ends the sending side.
func (c *gatedConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

type plainListener struct {
	gatedListener
	edge *Edge
}

// Accept implements net.Listener.
func (l *plainListener) Accept() (net.Conn, error) {
	c, err := l.gatedListener.Accept()
	if err != nil {
		return nil, err
	}
	return l.edge.newWire(c, nil), nil
}

// tlsListener shakes hands before it hands a connection on, because what comes
// out decides who checks it: HTTP/2 goes to net/http as it is, HTTP/1 through
// wireConn.
type tlsListener struct {
	gatedListener
	edge  *Edge
	conf  *tls.Config
	ready chan net.Conn
	fail  chan error
	hands sync.WaitGroup // one for the accept loop and one for each handshake
	ctx   context.Context
	stop  context.CancelFunc
}

func newTLSListener(ctx context.Context, g gatedListener, e *Edge) *tlsListener {
	l := &tlsListener{gatedListener: g, edge: e, conf: e.tlsConfig(), ready: make(chan net.Conn), fail: make(chan error, 1)}
	l.ctx, l.stop = context.WithCancel(ctx)
	l.hands.Go(l.loop)
	return l
}

func (l *tlsListener) loop() {
	for {
		c, err := l.gatedListener.Accept()
		if err != nil {
			if l.passing(err) {
				continue
			}
			l.fail <- err
			return
		}
		l.hands.Go(func() { l.shake(c) })
	}
}

// passing reports, after a pause, whether err is one that clients can cause
// for a while, such as too many open files; the listener must survive it.
func (l *tlsListener) passing(err error) bool {
	if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) && !errors.Is(err, syscall.ENOBUFS) &&
		!errors.Is(err, syscall.ENOMEM) && !errors.Is(err, syscall.ECONNABORTED) {
		return false
	}
	pause := time.NewTimer(acceptPause)
	defer pause.Stop()
	select {
	case <-pause.C:
		return true
	case <-l.closed:
		return false
	}
}

func (l *tlsListener) shake(c net.Conn) {
	ctx, cancel := context.WithTimeout(l.ctx, handshakeTimeout)
	defer cancel()
	t := tls.Server(c, l.conf)
	if err := t.HandshakeContext(ctx); err != nil {
		c.Close()
		return
	}
	var out net.Conn = t
	if state := t.ConnectionState(); state.NegotiatedProtocol != "h2" {
		out = tlsWireConn{l.edge.newWire(t, &state)}
	}
	select {
	case l.ready <- out:
	case <-l.closed:
		t.Close()
	}
}

// Accept implements net.Listener.
func (l *tlsListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case err := <-l.fail:
		return nil, err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener; it waits for the handshakes.
func (l *tlsListener) Close() error {
	err := l.gatedListener.Close()
	l.stop()
	l.hands.Wait()
	return err
}
