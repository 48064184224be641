package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Bounds of what an authority may make us do in one order.
const (
	answerTime  = 20 * time.Second
	answerBytes = 256 << 10
	headerBytes = 32 << 10
	leastAsks   = 60 // requests of an order, with asksEach for each name
	asksEach    = 20
)

// DialFunc connects on behalf of a tenant.
type DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// client speaks to an authority over the given dialer: HTTPS alone, without
// redirects or proxies, a bounded number of times, and it reads no endless
// answer. ca is PEM; "" = the system's authorities.
func client(dial DialFunc, ca string, names int) (*http.Client, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM([]byte(ca)) {
			return nil, errors.New("the directory's own authority cannot be read")
		}
	}
	b := &bounded{t: &http.Transport{
		DialContext: dial, TLSClientConfig: conf, TLSHandshakeTimeout: answerTime, Proxy: nil,
		ResponseHeaderTimeout: answerTime, MaxResponseHeaderBytes: headerBytes, DisableCompression: true, MaxConnsPerHost: 4, MaxIdleConns: 4,
	}}
	b.left.Store(int64(leastAsks + asksEach*names))
	return &http.Client{
		Timeout: answerTime, Transport: b,
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("the authority redirects") },
	}, nil
}

type bounded struct {
	t    *http.Transport
	left atomic.Int64 // requests of this order
}

// RoundTrip implements http.RoundTripper.
func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, errors.New("the authority names an address that is not https")
	}
	if b.left.Add(-1) < 0 {
		return nil, errors.New("the authority asks for too many requests")
	}
	resp, err := b.t.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", r.URL.Hostname(), err)
	}
	resp.Body = &short{ReadCloser: resp.Body, left: answerBytes}
	return resp, nil
}

// CloseIdleConnections is what http.Client looks for.
func (b *bounded) CloseIdleConnections() { b.t.CloseIdleConnections() }

type short struct {
	io.ReadCloser
	left int64
}

// Read implements io.Reader.
func (s *short) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, errors.New("the authority's answer does not end")
	}
	n, err := s.ReadCloser.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	return n, err
}
