package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"time"
)

const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 60 * 24 * time.Hour
	backdate = time.Hour // clocks of clients differ
)

// CA is the cell's own certificate authority. Its key signs only certificates
// for servers (and, with nodes, for nodes) of this cell.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	now  func() time.Time
}

// NewCA makes a new authority and returns it with its two files in PEM.
func NewCA(cell string, now func() time.Time) (ca *CA, certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("make the authority's key: %w", err)
	}
	t := now()
	tmpl := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "Dun CA " + cell, Organization: []string{"Dun"}},
		NotBefore: t.Add(-backdate), NotAfter: t.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if tmpl.SerialNumber, err = serial(); err != nil {
		return nil, nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("sign the authority: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("encode the authority's key: %w", err)
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	ca, err = LoadCA(certPEM, keyPEM, now)
	return ca, certPEM, keyPEM, err
}

// LoadCA reads the two files that NewCA returned.
func LoadCA(certPEM, keyPEM []byte, now func() time.Time) (*CA, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("read the authority: %w", err)
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("read the authority: %w", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !cert.IsCA {
		return nil, errors.New("read the authority: not an authority of this program")
	}
	return &CA{cert: cert, key: key, now: now}, nil
}

// Certificate issues a server certificate for one host (a DNS name, with one
// leading "*." allowed, or an address), valid 60 days. The caller decides
// which hosts deserve one and keeps what it got.
func (c *CA) Certificate(_ context.Context, host string) (*tls.Certificate, error) {
	return c.Issue(host)
}

// Issue is Certificate for several hosts at once.
func (c *CA) Issue(hosts ...string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return c.sign(c.forHosts(hosts), key)
}

// IssueFor is Issue for a key that somebody else holds: the certificate alone,
// in DER.
func (c *CA) IssueFor(key *ecdsa.PublicKey, hosts ...string) ([]byte, error) {
	return c.signFor(c.forHosts(hosts), key)
}

func (c *CA) forHosts(hosts []string) *x509.Certificate {
	t := c.now()
	tmpl := &x509.Certificate{
		NotBefore: t.Add(-backdate), NotAfter: t.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if len(hosts) > 0 && len(hosts[0]) <= 64 {
		tmpl.Subject.CommonName = hosts[0]
	}
	for _, h := range hosts {
		if a, err := netip.ParseAddr(h); err == nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, a.AsSlice())
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	return tmpl
}

// DER is the authority's own certificate, which servers send along where a
// client knows the authority by its hash alone.
func (c *CA) DER() []byte { return c.cert.Raw }

// Fingerprint is the SHA-256 of an authority's public key, in hex: what a join
// token carries (RFC 7469 section 2.4 hashes the same bytes).
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

func (c *CA) signFor(tmpl *x509.Certificate, key *ecdsa.PublicKey) ([]byte, error) {
	var err error
	if tmpl.SerialNumber, err = serial(); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.cert, key, c.key)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate: %w", err)
	}
	return der, nil
}

// sign finishes a certificate for the key.
func (c *CA) sign(tmpl *x509.Certificate, key *ecdsa.PrivateKey) (*tls.Certificate, error) {
	der, err := c.signFor(tmpl, &key.PublicKey)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read a certificate back: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

func serial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	return n, nil
}
