// Package acme gets one certificate from an ACME authority (RFC 8555). It owns
// the conversation and nothing that lasts: keys and accounts are handed in and
// out, answers to challenges go through core/challenges, and connections are
// made by the dialer that is given. What an authority sends is bounded and
// checked: it can refuse a certificate, and nothing else.
package acme

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/dun-sec/dun/internal/core/challenges"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// OrderTime bounds one order, whatever the authority does.
const OrderTime = 3 * time.Minute

// Order is one certificate that is wanted.
type Order struct {
	Tenant     string
	Names      []string // small letters
	Directory  string   // https://
	CA         string   // PEM; "" = the system's
	Email      string
	Account    []byte // as Issued.Account of an earlier order; nil = none
	Dial       DialFunc
	Challenges *challenges.Set
	Now        func() time.Time
	Limit      time.Duration // of the whole order; 0 = OrderTime
}

// Issued is what came of an order. Account is set as soon as there is one, also
// beside an error, so that the next try needs no new one.
type Issued struct {
	Chain   string // PEM
	Key     []byte // PKCS 8, PEM
	Account []byte // secret
}

// Get carries an order out. It returns within its limit.
func Get(ctx context.Context, o Order) (out Issued, err error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(o.Limit, OrderTime))
	defer cancel()
	web, err := client(o.Dial, o.CA, len(o.Names))
	if err != nil {
		return out, err
	}
	defer web.CloseIdleConnections()
	c := &acme.Client{HTTPClient: web, DirectoryURL: o.Directory, UserAgent: "Dun", RetryBackoff: retry}
	if out.Account, err = register(ctx, c, o); err != nil {
		return out, fmt.Errorf("account: %w", err)
	}
	order, err := proven(ctx, c, o)
	if err != nil {
		return out, fmt.Errorf("order: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return out, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: o.Names}, key)
	if err != nil {
		return out, fmt.Errorf("make a request: %w", err)
	}
	got, _, err := c.CreateCertFromOrder(ctx, order, csr, true)
	if err != nil {
		return out, fmt.Errorf("certificate: %w", err)
	}
	var chain bytes.Buffer
	for _, der := range got {
		if err := pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return out, err
		}
	}
	if err := check(chain.String(), key, o.Names, o.Now()); err != nil {
		return out, fmt.Errorf("the authority gave a certificate that is refused: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return out, err
	}
	defer clear(der)
	out.Chain, out.Key = chain.String(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return out, nil
}

// retry bounds how often one request is made again (a nonce that was used, a
// server that stumbles), whatever the authority would like.
func retry(n int, _ *http.Request, _ *http.Response) time.Duration {
	if n > 8 {
		return 0
	}
	return time.Duration(n) * 250 * time.Millisecond
}

// check holds what an authority gave against what was asked for.
func check(chainPEM string, key *ecdsa.PrivateKey, names []string, now time.Time) error {
	chain, why := edge.ParseChain(chainPEM)
	if why != nil {
		return fmt.Errorf("it %s", why.En)
	}
	leaf := chain[0]
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return errors.New("it is for another key")
	}
	got := edge.Names(leaf)
	for _, n := range names {
		if !slices.Contains(got, n) {
			return fmt.Errorf("it does not cover %s", n)
		}
	}
	for _, n := range got {
		if !slices.Contains(names, n) {
			return errors.New("it covers names that were not asked for")
		}
	}
	if !now.Before(leaf.NotAfter) || now.Add(time.Hour).Before(leaf.NotBefore) {
		return errors.New("it is not valid now")
	}
	for i := range chain[1:] {
		if chain[i].CheckSignatureFrom(chain[i+1]) != nil {
			return errors.New("its chain is broken")
		}
	}
	return nil
}

// register takes up the account at the authority, or makes one. It sets the
// client's key and returns what is to be sealed of it: SEC 1.
func register(ctx context.Context, c *acme.Client, o Order) ([]byte, error) {
	if key, err := x509.ParseECPrivateKey(o.Account); err == nil {
		c.Key = key
		a, err := c.GetReg(ctx, "")
		if err == nil && a.Status == acme.StatusValid {
			return o.Account, nil
		}
		if err != nil && !errors.Is(err, acme.ErrNoAccount) {
			return o.Account, err
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	c.Key, c.KID = key, ""
	a := &acme.Account{}
	if o.Email != "" {
		a.Contact = []string{"mailto:" + o.Email}
	}
	if _, err := c.Register(ctx, a, acme.AcceptTOS); err != nil {
		return nil, err
	}
	return x509.MarshalECPrivateKey(key)
}
