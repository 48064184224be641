package edge

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dun-sec/dun/internal/kinds/edge"
)

// origin is one server of a site, with its weight there.
type origin struct {
	*upstream
	weight int
	host   string  // Host header instead of the client's; "" = the client's
	health *health // nil = not checked
}

// upstream is the connection pool to one server. Sites of a tenant that name
// it alike share it, and it outlives snapshots in which it does not change.
type upstream struct {
	url       *url.URL
	label     string // as configured, for events
	transport *http.Transport
	restUntil atomic.Int64 // unix ns; avoided until then
	busy      atomic.Int64 // requests in progress, to the last byte of their answers
	breaker   breaker
}

// upstreamKey holds everything that makes connections differ. The tenant's
// revision is part of it: when its allowed networks change, connections that
// were dialled under the old ones must not be used again.
type upstreamKey struct {
	tenant, url, serverName string
	revision                uint64
	ca                      [sha256.Size]byte
	wait                    time.Duration
}

// originPool holds the upstreams of the current snapshot; its size is bounded
// by the configured origins.
type originPool struct {
	dial func(string) DialFunc
	rest time.Duration
	mu   sync.Mutex
	all  map[upstreamKey]*upstream // guarded by mu
}

func newOriginPool(dial func(string) DialFunc, b bounds) *originPool {
	return &originPool{dial: dial, rest: b.rest, all: map[upstreamKey]*upstream{}}
}

// originRound is one compilation's view of the pool.
type originRound struct {
	pool *originPool
	next map[upstreamKey]*upstream
}

func (p *originPool) begin() *originRound {
	return &originRound{pool: p, next: map[upstreamKey]*upstream{}}
}

// commit makes the round's upstreams the pool and closes what is gone.
// Requests in progress finish on the old ones.
func (r *originRound) commit() {
	r.pool.mu.Lock()
	old := r.pool.all
	r.pool.all = r.next
	r.pool.mu.Unlock()
	for k, u := range old {
		if r.next[k] == nil {
			u.transport.CloseIdleConnections()
		}
	}
}

func (r *originRound) origin(tenant string, revision uint64, s *edge.Origin, wait time.Duration) (*origin, error) {
	k := upstreamKey{tenant: tenant, url: s.URL, serverName: s.ServerName, revision: revision, ca: sha256.Sum256([]byte(s.CA)), wait: wait}
	u := r.next[k]
	if u == nil {
		r.pool.mu.Lock()
		u = r.pool.all[k]
		r.pool.mu.Unlock()
	}
	if u == nil {
		var err error
		if u, err = r.pool.connect(k, s); err != nil {
			return nil, err
		}
	}
	r.next[k] = u
	return &origin{upstream: u, weight: cmp.Or(s.Weight, 1), host: s.Host}, nil
}

func (p *originPool) connect(k upstreamKey, s *edge.Origin) (*upstream, error) {
	at, err := url.Parse(s.URL)
	if err != nil {
		return nil, fmt.Errorf("read address: %w", err)
	}
	if at.Scheme != "http" && at.Scheme != "https" || at.Host == "" {
		return nil, errors.New("address is not http:// or https://")
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.ServerName}
	if s.CA != "" {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM([]byte(s.CA)) {
			return nil, errors.New("ca holds no certificate")
		}
	}
	dial := p.dial(k.tenant)
	// HTTP/2, and so gRPC, is spoken to https:// origins that choose it in ALPN.
	// http:// means HTTP/1.1: HTTP/2 without TLS (h2c) is not supported.
	return &upstream{url: at, label: s.URL, transport: &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dialTimeout)
			defer cancel()
			c, err := dial(ctx, network, addr)
			if err != nil {
				return nil, &dialError{err}
			}
			return c, nil
		},
		TLSClientConfig: conf, TLSHandshakeTimeout: dialTimeout, ForceAttemptHTTP2: true,
		DisableCompression: true, Proxy: nil,
		ResponseHeaderTimeout: k.wait, MaxResponseHeaderBytes: maxOriginHeader,
		MaxIdleConnsPerHost: idleOriginConns, IdleConnTimeout: idleOriginConn,
	}}, nil
}

// dialError marks a failure before any byte of the request was sent.
type dialError struct{ err error }

// Error implements error.
func (e *dialError) Error() string { return "dial origin: " + e.err.Error() }

// Unwrap gives the dialer's error.
func (e *dialError) Unwrap() error { return e.err }

// Timeout lets callers tell a silent origin from one that refuses.
func (e *dialError) Timeout() bool {
	var t interface{ Timeout() bool }
	return errors.Is(e.err, context.DeadlineExceeded) || errors.As(e.err, &t) && t.Timeout()
}
