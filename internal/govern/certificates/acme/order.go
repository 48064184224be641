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
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"

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
	s := &solver{o}
	c := &acmez.Client{
		Client:           &acme.Client{Directory: o.Directory, HTTPClient: web, UserAgent: "Dun", PollTimeout: time.Minute},
		ChallengeSolvers: map[string]acmez.Solver{acme.ChallengeTypeHTTP01: s, acme.ChallengeTypeTLSALPN01: s},
	}
	account, kept, err := register(ctx, c, o)
	if out.Account = kept; err != nil {
		return out, fmt.Errorf("account: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return out, err
	}
	csr, err := acmez.NewCSR(key, o.Names)
	if err != nil {
		return out, fmt.Errorf("make a request: %w", err)
	}
	params, err := acmez.OrderParametersFromCSR(account, csr)
	if err != nil {
		return out, fmt.Errorf("make an order: %w", err)
	}
	got, err := c.ObtainCertificate(ctx, params)
	if err != nil {
		return out, fmt.Errorf("order: %w", err)
	}
	if len(got) == 0 {
		return out, errors.New("the authority gave no certificate")
	}
	chain := string(bytes.TrimSpace(got[0].ChainPEM)) + "\n"
	if err := check(chain, key, o.Names, o.Now()); err != nil {
		return out, fmt.Errorf("the authority gave a certificate that is refused: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return out, err
	}
	defer clear(der)
	out.Chain, out.Key = chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return out, nil
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

// kept is an account as it is sealed.
type kept struct {
	Location string   `json:"location"`
	Contact  []string `json:"contact"`
	Key      []byte   `json:"key"` // SEC 1
}

// register takes up the account at the authority, or makes one.
func register(ctx context.Context, c *acmez.Client, o Order) (acme.Account, []byte, error) {
	var k kept
	if len(o.Account) > 0 && json.Unmarshal(o.Account, &k) == nil {
		if key, err := x509.ParseECPrivateKey(k.Key); err == nil {
			a, err := c.GetAccount(ctx, acme.Account{Location: k.Location, Contact: k.Contact, PrivateKey: key})
			if err == nil && a.Status == acme.StatusValid {
				return a, o.Account, nil
			}
			if p, ok := errors.AsType[acme.Problem](err); err != nil && (!ok || p.Type != acme.ProblemTypeAccountDoesNotExist) {
				return a, o.Account, err
			}
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return acme.Account{}, nil, err
	}
	a := acme.Account{TermsOfServiceAgreed: true, PrivateKey: key}
	if o.Email != "" {
		a.Contact = []string{"mailto:" + o.Email}
	}
	if a, err = c.NewAccount(ctx, a); err != nil {
		return a, nil, err
	}
	k = kept{Location: a.Location, Contact: a.Contact}
	if k.Key, err = x509.MarshalECPrivateKey(key); err != nil {
		return a, nil, err
	}
	b, err := json.Marshal(k)
	return a, b, err
}

// solver answers the challenges of one order, for the names that were asked
// for and no other.
type solver struct{ o Order }

// Present implements acmez.Solver.
func (s *solver) Present(_ context.Context, c acme.Challenge) error {
	host := strings.ToLower(c.Identifier.Value)
	if !slices.Contains(s.o.Names, host) {
		return errors.New("the authority asks for a name that was not ordered")
	}
	if c.Type == acme.ChallengeTypeTLSALPN01 {
		cert, err := acmez.TLSALPN01ChallengeCert(c)
		if err != nil {
			return fmt.Errorf("make the certificate of a challenge: %w", err)
		}
		return s.o.Challenges.PutTLS(s.o.Tenant, host, cert)
	}
	return s.o.Challenges.PutHTTP(s.o.Tenant, host, c.Token, c.KeyAuthorization)
}

// CleanUp implements acmez.Solver.
func (s *solver) CleanUp(_ context.Context, c acme.Challenge) error {
	token := c.Token
	if c.Type == acme.ChallengeTypeTLSALPN01 {
		token = ""
	}
	s.o.Challenges.Take(s.o.Tenant, strings.ToLower(c.Identifier.Value), token)
	return nil
}
