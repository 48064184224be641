package acme

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/acme"
)

// The challenges that the edge's doors answer, in the order of trying: a door
// in clear may be closed where TLS is open, and the other way round.
var kinds = []string{"http-01", "tls-alpn-01"}

// proven makes an order and proves its names, by the first kind of challenge
// that the authority is content with.
func proven(ctx context.Context, c *acme.Client, o Order) (order *acme.Order, err error) {
	for _, kind := range kinds {
		order, err = prove(ctx, c, o, kind)
		_, other := errors.AsType[*acme.AuthorizationError](err)
		if !other && !errors.Is(err, errNotOffered) {
			return order, err
		}
	}
	return nil, err
}

var errNotOffered = errors.New("the authority offers neither http-01 nor tls-alpn-01")

func prove(ctx context.Context, c *acme.Client, o Order, kind string) (*acme.Order, error) {
	order, err := c.AuthorizeOrder(ctx, acme.DomainIDs(o.Names...))
	if err != nil {
		return nil, err
	}
	if len(order.AuthzURLs) > len(o.Names) {
		return nil, errors.New("the authority asks for more proofs than names")
	}
	var pending []*acme.Authorization
	var asked []*acme.Challenge
	for _, url := range order.AuthzURLs {
		z, err := c.GetAuthorization(ctx, url)
		if err != nil {
			return nil, err
		}
		host := strings.ToLower(z.Identifier.Value)
		if !slices.Contains(o.Names, host) {
			return nil, errors.New("the authority asks for a name that was not ordered")
		}
		if z.Status == acme.StatusValid {
			continue
		}
		i := slices.IndexFunc(z.Challenges, func(x *acme.Challenge) bool { return x.Type == kind })
		if i < 0 {
			return nil, errNotOffered
		}
		take, err := o.present(c, z.Challenges[i], host)
		if err != nil {
			return nil, err
		}
		defer take()
		pending, asked = append(pending, z), append(asked, z.Challenges[i])
	}
	for _, x := range asked {
		if _, err := c.Accept(ctx, x); err != nil {
			return nil, err
		}
	}
	for _, z := range pending {
		if _, err := c.WaitAuthorization(ctx, z.URI); err != nil {
			return nil, err
		}
	}
	ready, err := c.WaitOrder(ctx, order.URI)
	if err != nil {
		return nil, err
	}
	ready.URI = order.URI
	return ready, nil
}

// present makes the doors answer one challenge until take is called.
func (o *Order) present(c *acme.Client, x *acme.Challenge, host string) (take func(), err error) {
	if x.Type == "tls-alpn-01" {
		cert, err := c.TLSALPN01ChallengeCert(x.Token, host)
		if err != nil {
			return nil, fmt.Errorf("make the certificate of a challenge: %w", err)
		}
		return func() { o.Challenges.Take(o.Tenant, host, "") }, o.Challenges.PutTLS(o.Tenant, host, &cert)
	}
	answer, err := c.HTTP01ChallengeResponse(x.Token)
	if err != nil {
		return nil, fmt.Errorf("answer a challenge: %w", err)
	}
	return func() { o.Challenges.Take(o.Tenant, host, x.Token) }, o.Challenges.PutHTTP(o.Tenant, host, x.Token, answer)
}
