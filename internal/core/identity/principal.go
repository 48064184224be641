package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"regexp"

	"github.com/dun-sec/dun/internal/core/resource"
)

var kindForm = regexp.MustCompile(`^[A-Z][A-Za-z0-9]{0,62}$`)

// PrincipalURI is the name of a principal in a certificate,
// dun://cell/Kind/tenant/name; there is one way to write it.
func PrincipalURI(cell string, p resource.Ref) (*url.URL, error) {
	if !resource.ValidName(cell) || !kindForm.MatchString(p.Kind) || !resource.ValidName(p.Tenant) || !resource.ValidName(p.Name) {
		return nil, errors.New("a principal in a certificate has a cell, a kind, a tenant and a name")
	}
	return &url.URL{Scheme: "dun", Host: cell, Path: "/" + p.Kind + "/" + p.Tenant + "/" + p.Name}, nil
}

// IssuePrincipal issues the certificate by which a service or node of the cell
// proves itself to others of the cell, as client and as server, valid 60 days.
// It names no host, so that no browser takes it. The caller decides who
// deserves one.
func (c *CA) IssuePrincipal(cell string, p resource.Ref) (*tls.Certificate, error) {
	uri, err := PrincipalURI(cell, p)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	t := c.now()
	tmpl := &x509.Certificate{
		NotBefore: t.Add(-backdate), NotAfter: t.Add(leafLife), URIs: []*url.URL{uri}, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	return c.sign(tmpl, key)
}
