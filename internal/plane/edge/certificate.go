package edge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// noSite is the name in the one certificate that answers unknown names
// (RFC 6761 section 6.4: .invalid never exists).
const noSite = "dun.invalid"

// certificates hands out certificates by server name. It asks the issuer for
// configured hosts and dun.invalid alone, so that no client chooses what is
// signed; the cache is bounded by the configured hosts.
type certificates struct {
	edge *Edge
	mu   sync.Mutex
	all  map[string]*certificate // guarded by mu
}

// certificate is one cached certificate; mu also makes sure that only one
// handshake asks the issuer.
type certificate struct {
	mu    sync.Mutex
	cert  *tls.Certificate
	renew time.Time // two thirds of its life
	end   time.Time
}

func newCertificates(e *Edge) *certificates {
	return &certificates{edge: e, all: map[string]*certificate{}}
}

// get implements tls.Config.GetCertificate: the tenant's own certificate, else
// one that the cell signs.
func (c *certificates) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := noSite
	if s := c.edge.snap.Load(); s != nil {
		host := serverName(hello.ServerName, hello.Conn.LocalAddr())
		if known := s.configured(host); known != "" {
			if own := s.own.find(s.lookup(host), host); own != nil {
				return own, nil
			}
			name = known
		}
	}
	return c.of(hello.Context(), name)
}

// serverName is the host that a TLS client asked for. Clients send no name for
// a bare address (RFC 6066 section 3); then it is the address they came to.
func serverName(sni string, local net.Addr) string {
	if sni != "" {
		host, _ := normalHost(sni)
		return host
	}
	if local == nil {
		return ""
	}
	a, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return ""
	}
	return a.Addr().Unmap().WithZone("").String()
}

func (c *certificates) of(ctx context.Context, name string) (*tls.Certificate, error) {
	c.mu.Lock()
	e := at(c.all, name)
	c.mu.Unlock()
	now := c.edge.opts.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cert != nil && now.Before(e.renew) {
		return e.cert, nil
	}
	fresh, err := c.edge.opts.Issuer.Certificate(ctx, name)
	if err == nil {
		err = e.set(fresh)
	}
	if err != nil {
		if e.cert != nil && now.Before(e.end) {
			e.renew = now.Add(certificateMargin) // the old one is still good; do not ask at each handshake
			return e.cert, nil
		}
		return nil, fmt.Errorf("issue certificate for %s: %w", name, err)
	}
	return e.cert, nil
}

func (e *certificate) set(cert *tls.Certificate) error {
	if cert == nil || len(cert.Certificate) == 0 {
		return errors.New("the issuer returned no certificate")
	}
	leaf := cert.Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return fmt.Errorf("read issued certificate: %w", err)
		}
	}
	e.cert, e.end = cert, leaf.NotAfter
	e.renew = leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 3 * 2)
	return nil
}

// keep forgets the certificates of hosts that are no longer configured.
func (c *certificates) keep(s *snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.all {
		if name != noSite && s.configuredName(name) == nil {
			delete(c.all, name)
		}
	}
}

// configuredName finds the site that configures exactly this name.
func (s *snapshot) configuredName(name string) *site {
	if len(name) > 0 && name[0] == '*' {
		return s.wild[name[1:]]
	}
	return s.hosts[name]
}

// tlsConfig allows TLS 1.2 with forward secrecy and AEAD, and TLS 1.3
// (RFC 9325 section 4.2).
func (e *Edge) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos:         []string{"h2", "http/1.1"},
		GetCertificate:     e.certificateInTurn,
		GetConfigForClient: e.challenged,
	}
}
