package rpc

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// Certificates is the Authenticator that believes the client's certificate,
// which the handshake has verified against the cell's authority.
type Certificates struct {
	Cell string
	Now  func() time.Time
}

// Authenticate implements Authenticator. It asks for the certificate's end at
// each request: a connection may live longer.
func (c Certificates) Authenticate(r *http.Request) (Peer, error) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return Peer{}, unauthenticated(errors.New("no verified certificate"))
	}
	leaf := r.TLS.PeerCertificates[0]
	if now := c.Now(); now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		return Peer{}, unauthenticated(errors.New("the certificate's time is over"))
	}
	who, err := principal(leaf, c.Cell)
	if err != nil {
		return Peer{}, unauthenticated(err)
	}
	p := Peer{Principal: who}
	if text := r.Header.Get(capabilityHeader); text != "" {
		if p.Capability, err = base64.RawStdEncoding.Strict().DecodeString(text); err != nil || len(p.Capability) > capabilityBytes {
			return Peer{}, unauthenticated(errors.New("the capability has no valid form"))
		}
	}
	return p, nil
}

func unauthenticated(err error) error {
	return fault.New(fault.Unauthenticated, "this service knows its callers by a certificate of the cell", "该服务只认集群签发的证书").Because(err)
}

// principal reads the one name in a certificate: dun://cell/Kind/tenant/name,
// in the one way to write it.
func principal(leaf *x509.Certificate, cell string) (resource.Ref, error) {
	if len(leaf.URIs) != 1 || leaf.IsCA {
		return resource.Ref{}, errors.New("want a certificate with exactly one name")
	}
	text := leaf.URIs[0].String()
	rest, ok := strings.CutPrefix(text, "dun://"+cell+"/")
	parts := strings.Split(rest, "/")
	if !ok || cell == "" || len(parts) != 3 {
		return resource.Ref{}, errors.New("the name is not of this cell")
	}
	r := resource.Ref{Kind: parts[0], Tenant: parts[1], Name: parts[2]}
	if u, err := identity.PrincipalURI(cell, r); err != nil || u.String() != text {
		return resource.Ref{}, errors.New("the name has no valid form")
	}
	return r, nil
}
