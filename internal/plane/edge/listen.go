package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/dun-sec/dun/internal/core/challenges"
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

// door hands connections on when they are ready for net/http: after the PROXY
// header, and after the TLS handshake, because what comes out of that decides
// who checks the bytes: HTTP/2 goes to net/http as it is, HTTP/1 through
// wireConn.
type door struct {
	gatedListener
	prepare prepareFunc
	ready   chan net.Conn
	fail    chan error
	hands   sync.WaitGroup // one for the accept loop and one for each connection that is prepared
	ctx     context.Context
	stop    context.CancelFunc
}

// prepareFunc makes a connection ready, or closes it.
type prepareFunc func(context.Context, net.Conn) (net.Conn, error)

func newDoor(ctx context.Context, ln net.Listener, gate chan struct{}, prepare prepareFunc) *door {
	l := &door{
		gatedListener: gatedListener{ln, gate, make(chan struct{}), new(sync.Once)},
		prepare:       prepare, ready: make(chan net.Conn), fail: make(chan error, 1),
	}
	l.ctx, l.stop = context.WithCancel(ctx)
	l.hands.Go(l.loop)
	return l
}

func (l *door) loop() {
	for {
		c, err := l.gatedListener.Accept()
		if err != nil {
			if l.passing(err) {
				continue
			}
			l.fail <- err
			return
		}
		l.hands.Go(func() { l.hand(c) })
	}
}

// passing reports, after a pause, whether err is one that clients can cause
// for a while, such as too many open files; the listener must survive it.
func (l *door) passing(err error) bool {
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

func (l *door) hand(c net.Conn) {
	out, err := l.prepare(l.ctx, c)
	if err != nil {
		return // clients do this; the PROXY header's faults are reported where they are found
	}
	select {
	case l.ready <- out:
	case <-l.closed:
		out.Close()
	}
}

func (e *Edge) preparePlain(ctx context.Context, c net.Conn) (net.Conn, error) {
	c, err := e.introduced(ctx, c)
	if err != nil {
		return nil, err
	}
	return e.newWire(c, nil), nil
}

func (e *Edge) prepareTLS(conf *tls.Config) prepareFunc {
	return func(ctx context.Context, c net.Conn) (net.Conn, error) {
		c, err := e.introduced(ctx, c)
		if err != nil {
			return nil, err
		}
		if c, err = e.passThrough(ctx, c); err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
		defer cancel()
		h := &handshaking{Conn: c, turns: e.hands}
		t := tls.Server(h, conf)
		err = t.HandshakeContext(ctx)
		h.rest()
		if err != nil {
			c.Close()
			return nil, err
		}
		if t.ConnectionState().NegotiatedProtocol == challenges.Protocol {
			c.Close() // the handshake was all that was asked for
			return nil, errChallenged
		}
		if state := t.ConnectionState(); state.NegotiatedProtocol != "h2" {
			return tlsWireConn{e.newWire(t, &state)}, nil
		}
		return t, nil
	}
}

// Accept implements net.Listener.
func (l *door) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case err := <-l.fail:
		return nil, err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener; it waits for those that are prepared.
func (l *door) Close() error {
	err := l.gatedListener.Close()
	l.stop()
	l.hands.Wait()
	return err
}
