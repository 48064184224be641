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
	"strings"

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
	tmpl, err := c.forPrincipal(cell, p)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return c.sign(tmpl, key)
}

// IssuePrincipalFor is IssuePrincipal for a key that was made elsewhere and
// stays there: the certificate alone, in DER.
func (c *CA) IssuePrincipalFor(cell string, p resource.Ref, key *ecdsa.PublicKey) ([]byte, error) {
	tmpl, err := c.forPrincipal(cell, p)
	if err != nil {
		return nil, err
	}
	return c.signFor(tmpl, key)
}

func (c *CA) forPrincipal(cell string, p resource.Ref) (*x509.Certificate, error) {
	uri, err := PrincipalURI(cell, p)
	if err != nil {
		return nil, err
	}
	t := c.now()
	return &x509.Certificate{
		NotBefore: t.Add(-backdate), NotAfter: t.Add(leafLife), URIs: []*url.URL{uri}, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, nil
}

// PrincipalOf reads the one name in a certificate: dun://cell/Kind/tenant/name,
// in the one way to write it. The caller has verified the certificate against
// the cell's authority. A service, a node and a person are named alike, so that
// a door that asks people for a certificate reads it by this, too.
func PrincipalOf(leaf *x509.Certificate, cell string) (resource.Ref, error) {
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
	if u, err := PrincipalURI(cell, r); err != nil || u.String() != text {
		return resource.Ref{}, errors.New("the name has no valid form")
	}
	return r, nil
}
