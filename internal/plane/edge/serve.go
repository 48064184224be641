package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"github.com/dun-sec/dun/internal/core/id"
)

// Serve answers on both listeners, either of which may be nil, until ctx ends;
// then it stops accepting, lets requests in progress finish for drainTimeout,
// closes the rest and returns nil. It owns the listeners.
func (e *Edge) Serve(ctx context.Context, httpLn, httpsLn net.Listener) error {
	if httpsLn != nil && e.opts.Issuer == nil {
		return errors.New("serve HTTPS: no issuer of certificates")
	}
	base, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	crew := &crew{}
	srv := e.server(base, crew)
	gate := make(chan struct{}, e.bounds.connections)
	fail := make(chan error, 2)
	var running sync.WaitGroup
	serve := func(ln net.Listener) {
		running.Go(func() {
			if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
				fail <- fmt.Errorf("serve %s: %w", ln.Addr(), err)
			}
		})
	}
	if httpsLn != nil { // the clear door sends on to it from its first request
		if _, port, err := net.SplitHostPort(httpsLn.Addr().String()); err == nil {
			e.served.Store(&port)
		}
	}
	if httpLn != nil {
		serve(newDoor(base, httpLn, gate, e.preparePlain))
	}
	if httpsLn != nil {
		serve(newDoor(base, httpsLn, gate, e.prepareTLS(e.tlsConfig())))
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-fail:
	}
	drain, cancel := context.WithTimeout(base, drainTimeout)
	srv.Shutdown(drain)
	cancel()
	stop() // upgraded connections, which Shutdown does not know, and what did not drain
	srv.Close()
	running.Wait()
	crew.wait()
	return err
}

func (e *Edge) server(base context.Context, crew *crew) *http.Server {
	return &http.Server{
		Handler:           crew.watch(e.Handler()),
		TLSConfig:         e.tlsConfig(),
		ReadHeaderTimeout: e.bounds.headerWait,
		// "OPTIONS *" would be answered by net/http, without a request id.
		DisableGeneralOptionsHandler: true,
		IdleTimeout:                  keepAlive,
		MaxHeaderBytes:               maxHeaderBytes,
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: maxStreams, MaxReadFrameSize: maxFrame, SendPingTimeout: keepAlive, PingTimeout: headerTimeout},
		// What clients do wrong must not fill the log; events tell it, counted.
		ErrorLog:    slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		BaseContext: func(net.Listener) context.Context { return base },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if w := wireConnOf(c); w != nil {
				return context.WithValue(ctx, wireKey{}, w)
			}
			return ctx
		},
		ConnState: func(c net.Conn, s http.ConnState) {
			if w := wireConnOf(c); w != nil && s == http.StateIdle {
				w.serving.Store(false)
			}
		},
	}
}

func wireConnOf(c net.Conn) *wireConn {
	switch c := c.(type) {
	case *wireConn:
		return c
	case tlsWireConn:
		return c.wireConn
	}
	return nil
}

// newWire wraps an HTTP/1 connection.
func (e *Edge) newWire(c net.Conn, state *tls.ConnectionState) *wireConn {
	w := &wireConn{Conn: c, tls: state}
	w.refuse = func(status int) []byte {
		now := e.opts.Now()
		request := id.Request(now, e.opts.NodeID)
		source, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		e.report.reportWire(request, source, status, now)
		return e.pages.raw(request, status)
	}
	return w
}

// crew counts the handlers of one Serve, so that it can wait for them:
// http.Server.Close does not, nor for connections that were taken over.
type crew struct {
	mu      sync.Mutex
	running int           // guarded by mu
	closed  bool          // guarded by mu
	empty   chan struct{} // guarded by mu; made by wait
}

func (c *crew) watch(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			panic(http.ErrAbortHandler)
		}
		c.running++
		c.mu.Unlock()
		defer c.leave()
		h.ServeHTTP(w, r)
	})
}

func (c *crew) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running--; c.running == 0 && c.closed {
		close(c.empty)
	}
}

// wait lets no handler begin any more and returns when the last one ended.
func (c *crew) wait() {
	c.mu.Lock()
	c.closed, c.empty = true, make(chan struct{})
	if c.running == 0 {
		close(c.empty)
	}
	c.mu.Unlock()
	<-c.empty
}
