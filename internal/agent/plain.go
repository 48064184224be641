package agent

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// plainAware makes a TLS door answer who speaks HTTP in clear with the way to
// HTTPS and with nothing else: no form is ever served in clear, no credential
// taken (control 4.1-1).
type plainAware struct{ net.Listener }

// Accept implements net.Listener.
func (l plainAware) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &firstByte{Conn: c}, nil
}

// firstByte looks at the first byte of a connection. Its reads are those of
// the TLS handshake, on the connection's own goroutine and under its deadline.
type firstByte struct {
	net.Conn
	seen bool
}

const (
	handshakeRecord = 22      // RFC 8446 section 5.1: how every TLS connection begins
	maxClearHead    = 8 << 10 // bytes of a request in clear that are read
)

// Read implements net.Conn.
func (c *firstByte) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.seen || n == 0 {
		return n, err
	}
	c.seen = true
	if p[0] == handshakeRecord {
		return n, err
	}
	c.sendOn(p[:n])
	return 0, io.EOF
}

// sendOn answers a request in clear. What is no request gets no answer.
func (c *firstByte) sendOn(begun []byte) {
	r, err := http.ReadRequest(bufio.NewReader(io.LimitReader(io.MultiReader(bytes.NewReader(begun), c.Conn), maxClearHead)))
	if err != nil || r.Host == "" || strings.Trim(r.Host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:-[]") != "" {
		return
	}
	to := url.URL{Scheme: "https", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath} // what follows a ? may be a secret: it stays out of the answer
	// Who left does not hear it.
	_, _ = fmt.Fprintf(c.Conn, "HTTP/1.1 308 Permanent Redirect\r\nLocation: %s\r\nCache-Control: no-store\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", to.String())
}
