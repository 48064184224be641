package edge

import (
	"crypto/tls"
	"net"
	"sync/atomic"
)

// handshaking is a connection while its handshake is made. The costly half of
// one, the signature, lies between the choice of the certificate and the next
// read: for so long it holds a turn, which tenants get one after the other, so that a flood of
// handshakes at one tenant's hosts waits behind itself.
type handshaking struct {
	net.Conn
	turns *turns
	held  atomic.Bool
}

// Read implements net.Conn.
func (h *handshaking) Read(p []byte) (int, error) {
	h.rest()
	return h.Conn.Read(p)
}

// CloseWrite ends the sending side.
func (h *handshaking) CloseWrite() error {
	if w, ok := h.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// rest gives the turn back, once.
func (h *handshaking) rest() {
	if h.held.Load() && h.held.CompareAndSwap(true, false) {
		h.turns.leave()
	}
}

// certificateInTurn implements tls.Config.GetCertificate: it takes a turn of the
// tenant whose host the hello names, or of nobody, who is one tenant of its own,
// and then gives the certificate. It is asked after a second hello, too, which a
// client can ask for, and not for a resumed session, which signs nothing. It
// fails when too many wait, or for too long.
func (e *Edge) certificateInTurn(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	h, ok := hello.Conn.(*handshaking)
	if !ok || h.held.Load() {
		return e.certs.get(hello)
	}
	tenant := ""
	if snap := e.snap.Load(); snap != nil {
		if host, _ := normalHost(hello.ServerName); host != "" {
			if t := snap.lookup(host); t != nil {
				tenant = t.name.tenant
			}
		}
	}
	if err := h.turns.enter(hello.Context(), tenant, e.bounds.wait); err != nil {
		return nil, err
	}
	h.held.Store(true)
	return e.certs.get(hello)
}
