package rpc

import (
	"encoding/base64"
	"errors"
	"net/http"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
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
	who, err := identity.PrincipalOf(leaf, c.Cell)
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
