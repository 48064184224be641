package rpc

import (
	"crypto/tls"
	"net/http"
)

// Pinned is a client for a machine that has no certificate of the cell yet:
// verify alone says whether the server is the one that it looks for. It
// follows no redirect and takes no proxy.
func Pinned(verify func(tls.ConnectionState) error) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, VerifyConnection: verify},
			TLSHandshakeTimeout: handshakeTime, MaxResponseHeaderBytes: headerBytes, DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
