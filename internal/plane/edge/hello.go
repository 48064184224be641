package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

// maxHello bounds the bytes of a ClientHello that are looked at to find its
// name; those of browsers have about 2 KiB.
const maxHello = 16 << 10

var errHello = errors.New("the hello was seen")

// peekHello reads until it knows the server name of a ClientHello, however that
// comes in pieces, or that there is none. read is all that was taken from c, so
// that somebody else can begin anew with it. The library parses: a handshake
// that ends where its configuration is asked for.
func peekHello(ctx context.Context, c net.Conn) (name string, found bool, read []byte) {
	c.SetReadDeadline(time.Now().Add(handshakeTimeout))
	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Unix(1, 0)) })
	defer func() {
		if stop() {
			c.SetReadDeadline(time.Time{})
		}
	}()
	var seen bytes.Buffer
	sniff := &sniffed{Conn: c, from: io.TeeReader(io.LimitReader(c, maxHello), &seen)}
	// Its error says nothing: what is no ClientHello fails again in the real handshake.
	_ = tls.Server(sniff, &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		name, found = h.ServerName, true
		return nil, errHello
	}}).HandshakeContext(ctx)
	return name, found, seen.Bytes()
}

// sniffed lets a handshake read and keeps from the client what it would say.
type sniffed struct {
	net.Conn
	from io.Reader
}

// Read implements io.Reader.
func (s *sniffed) Read(p []byte) (int, error) { return s.from.Read(p) }

// Write implements io.Writer.
func (s *sniffed) Write(p []byte) (int, error) { return len(p), nil }

// Close keeps the connection.
func (s *sniffed) Close() error { return nil }

// replayed gives what was read once more.
type replayed struct {
	net.Conn
	first []byte
}

// Read implements io.Reader.
func (r *replayed) Read(p []byte) (int, error) {
	if len(r.first) > 0 {
		n := copy(p, r.first)
		if r.first = r.first[n:]; len(r.first) == 0 {
			r.first = nil // the hello need not stay for the connection's life
		}
		return n, nil
	}
	return r.Conn.Read(p)
}

// CloseWrite ends the sending side.
func (r *replayed) CloseWrite() error { return closeWrite(r.Conn) }

func closeWrite(c net.Conn) error {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return c.Close()
}
