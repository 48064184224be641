package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/dun-sec/dun/internal/console"
)

// originTest asks an origin as the edge would reach it: by the tenant's dialer,
// following nothing, and reading no more than the head of the answer.
func originTest(dial func(tenant string) func(ctx context.Context, network, address string) (net.Conn, error)) func(context.Context, string, string) (console.OriginAnswer, error) {
	return func(ctx context.Context, tenant, url string) (a console.OriginAnswer, err error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return a, err
		}
		tr := &http.Transport{DialContext: dial(tenant), DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10}
		defer tr.CloseIdleConnections()
		start := time.Now()
		res, err := tr.RoundTrip(req)
		if a.Took = time.Since(start); err != nil {
			return a, err
		}
		defer res.Body.Close()
		if _, err := io.CopyN(io.Discard, res.Body, 1); err != nil && err != io.EOF {
			return a, err
		}
		if a.Status = res.StatusCode; res.TLS != nil && len(res.TLS.PeerCertificates) > 0 {
			a.TLSName = res.TLS.PeerCertificates[0].Subject.CommonName
			if names := res.TLS.PeerCertificates[0].DNSNames; len(names) > 0 {
				a.TLSName = names[0]
			}
		}
		return a, nil
	}
}
