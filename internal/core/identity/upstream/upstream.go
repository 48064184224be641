// Package upstream asks an OpenID Connect provider who somebody is (OpenID
// Connect Core 1.0, authorization code flow with PKCE). It owns the
// conversation and nothing that lasts. It knows no user and opens no session:
// it says what a provider said, after checking that the provider said it, to
// us, now, in answer to this question. What a provider sends is bounded.
package upstream

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
)

// Provider is one that was attached.
type Provider struct {
	Ref          resource.Ref
	Title        string
	Issuer       string
	ClientID     string
	Secret       func(ctx context.Context) (string, error) // opens the client secret
	ByName       bool                                      // find people by name and not by e-mail address
	TrustEmail   bool
	SecondFactor []string
	CA           string // PEM; "" = the system's
}

// Question is what a browser was sent away with; it comes back with the answer.
type Question struct {
	Tenant, Name string // of the provider
	State        string
	Nonce        string
	Verifier     string // PKCE
	Back         string // page to go to
	Expires      time.Time
}

// Said is what a provider said of somebody.
type Said struct {
	Issuer, Subject string
	Match           string // e-mail address or name by which he is found the first time; "" = none that may be believed
	TwoFactors      bool
}

// Bounds of what a provider may make us do.
const (
	QuestionLife = 10 * time.Minute
	keepFor      = time.Hour // what a provider says of itself, and its keys
	maxKept      = 64
	answerTime   = 10 * time.Second
	answerBytes  = 1 << 20
	maxCode      = 4096
)

// Client is safe for concurrent use.
type Client struct {
	dial func(tenant string) func(ctx context.Context, network, addr string) (net.Conn, error)
	now  func() time.Time

	mu   sync.Mutex
	kept map[string]known
}

type known struct {
	provider *oidc.Provider
	client   *http.Client
	until    time.Time
}

// New makes a client that connects by dial, on behalf of the provider's tenant.
func New(dial func(tenant string) func(ctx context.Context, network, addr string) (net.Conn, error), now func() time.Time) *Client {
	return &Client{dial: dial, now: now, kept: map[string]known{}}
}

// discover reads what a provider says of itself, at most once an hour.
func (c *Client) discover(ctx context.Context, p Provider) (known, error) {
	key := p.Ref.Tenant + " " + p.Issuer + " " + p.CA
	c.mu.Lock()
	k, ok := c.kept[key]
	c.mu.Unlock()
	if ok && k.until.After(c.now()) {
		return k, nil
	}
	client, err := c.client(p)
	if err != nil {
		return known{}, err
	}
	// The provider keeps this context for fetching its keys later.
	found, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), client), p.Issuer)
	if err != nil {
		return known{}, unreachable(p, err)
	}
	k = known{found, client, c.now().Add(keepFor)}
	c.mu.Lock()
	defer c.mu.Unlock()
	for old := range c.kept {
		if len(c.kept) >= maxKept {
			delete(c.kept, old)
		}
	}
	c.kept[key] = k
	return k, nil
}

func unreachable(p Provider, err error) error {
	return fault.New(fault.Unavailable, "the provider %s does not answer as it should", "身份提供方 %s 未按预期应答", p.Title).Because(err)
}

func (c *Client) client(p Provider) (*http.Client, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if p.CA != "" {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM([]byte(p.CA)) {
			return nil, errors.New("the provider's authority cannot be read")
		}
	}
	tr := &http.Transport{
		DialContext: c.dial(p.Ref.Tenant), TLSClientConfig: conf, TLSHandshakeTimeout: answerTime, Proxy: nil,
		MaxResponseHeaderBytes: 64 << 10, MaxConnsPerHost: 8, MaxIdleConns: 2, IdleConnTimeout: time.Minute,
	}
	return &http.Client{
		Timeout: answerTime, Transport: bounded{tr},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("the provider redirects") },
	}, nil
}

type bounded struct{ t *http.Transport }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, errors.New("the provider names an address that is not https")
	}
	res, err := b.t.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, answerBytes), res.Body}
	return res, nil
}

func (k known) config(p Provider, secret, redirect string) *oauth2.Config {
	return &oauth2.Config{ClientID: p.ClientID, ClientSecret: secret, Endpoint: k.provider.Endpoint(), RedirectURL: redirect, Scopes: []string{oidc.ScopeOpenID, "email", "profile"}}
}

func random() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// Ask returns where the browser is to go, and the question that it takes along,
// sealed. redirect is where the provider sends it back to. Errors: unavailable.
func (c *Client) Ask(ctx context.Context, p Provider, redirect, back string) (to string, q Question, err error) {
	k, err := c.discover(ctx, p)
	if err != nil {
		return "", q, err
	}
	q = Question{Tenant: p.Ref.Tenant, Name: p.Ref.Name, State: random(), Nonce: random(), Verifier: oauth2.GenerateVerifier(), Back: back, Expires: c.now().Add(QuestionLife)}
	return k.config(p, "", redirect).AuthCodeURL(q.State, oidc.Nonce(q.Nonce), oauth2.S256ChallengeOption(q.Verifier)), q, nil
}

// Answer checks what came back: that it is the answer to the question, and that
// the provider signed it for us. Errors: unauthenticated; unavailable.
func (c *Client) Answer(ctx context.Context, p Provider, redirect string, q Question, state, code string) (Said, error) {
	if state == "" || state != q.State || code == "" || len(code) > maxCode || !c.now().Before(q.Expires) || q.Tenant != p.Ref.Tenant || q.Name != p.Ref.Name {
		return Said{}, notAnswered(nil)
	}
	k, err := c.discover(ctx, p)
	if err != nil {
		return Said{}, err
	}
	secret, err := p.Secret(ctx)
	if err != nil {
		return Said{}, err
	}
	ctx = oidc.ClientContext(ctx, k.client)
	token, err := k.config(p, secret, redirect).Exchange(ctx, code, oauth2.VerifierOption(q.Verifier))
	if err != nil {
		return Said{}, notAnswered(errors.New("the provider gave no token")) // its own words may hold the code
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return Said{}, notAnswered(errors.New("the provider gave no ID token"))
	}
	id, err := k.provider.Verifier(&oidc.Config{ClientID: p.ClientID, Now: c.now}).Verify(ctx, raw)
	if err != nil {
		return Said{}, notAnswered(fmt.Errorf("the ID token: %w", err))
	}
	if id.Nonce != q.Nonce {
		return Said{}, notAnswered(errors.New("the ID token answers another question"))
	}
	return read(p, id)
}

// read takes from an ID token what counts.
func read(p Provider, id *oidc.IDToken) (Said, error) {
	var claims struct {
		Email         string   `json:"email"`
		EmailVerified any      `json:"email_verified"`
		Username      string   `json:"preferred_username"`
		ACR           string   `json:"acr"`
		AMR           []string `json:"amr"`
	}
	if err := id.Claims(&claims); err != nil {
		return Said{}, notAnswered(fmt.Errorf("the ID token's claims: %w", err))
	}
	s := Said{Issuer: id.Issuer, Subject: id.Subject}
	if id.Subject == "" {
		return Said{}, notAnswered(errors.New("the ID token names nobody"))
	}
	verified := claims.EmailVerified == true || claims.EmailVerified == "true"
	switch {
	case p.ByName:
		s.Match = claims.Username
	case verified || p.TrustEmail:
		s.Match = claims.Email
	}
	s.TwoFactors = slices.ContainsFunc(append(claims.AMR, claims.ACR), func(v string) bool { return v != "" && slices.Contains(p.SecondFactor, v) })
	return s, nil
}

func notAnswered(err error) error {
	return fault.New(fault.Unauthenticated, "signing in by the provider did not succeed; begin again", "通过身份提供方登录未成功;请重新开始").Because(err)
}
