package agent

import (
	"context"
	"strings"

	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/identity/upstream"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
	"github.com/dun-sec/dun/internal/kinds/access"
)

// Upstream reads the attached identity providers for the faces, as the service
// signin.
type Upstream struct {
	gate    *gate.Gate
	secrets *secret.Store
	client  *upstream.Client
}

var signinService = identity.Service("signin")

// maxProviders is how many of a tenant are offered.
const maxProviders = 20

// Providers lists those of a tenant that have their client secret.
func (u *Upstream) Providers(ctx context.Context, tenant string) ([]upstream.Provider, error) {
	page, err := u.gate.List(ctx, signinService, gate.ListOptions{Kind: "IdentityProvider", Tenant: tenant, Limit: maxProviders})
	if err != nil {
		return nil, err
	}
	var out []upstream.Provider
	for _, o := range page.Items {
		spec, _ := o.Spec.(*access.IdentityProviderSpec)
		state, _ := o.State.(*access.IdentityProviderState)
		if spec == nil || state == nil || state.Secret == "" {
			continue
		}
		p := upstream.Provider{
			Ref: o.Ref(), Title: spec.Title, Issuer: spec.Issuer, ClientID: spec.ClientID,
			ByName: spec.Match == "name", TrustEmail: spec.TrustEmail, SecondFactor: spec.SecondFactor, CA: spec.CA,
		}
		if p.Title == "" {
			p.Title = o.Metadata.Name
		}
		p.Secret = func(ctx context.Context) (string, error) {
			v, err := u.secrets.OpenOf(ctx, signinService, o.Ref(), secret.Ref(state.Secret), access.ProviderPurpose)
			if err != nil {
				return "", err
			}
			defer v.Wipe()
			return strings.TrimSpace(string(v.Reveal())), nil // files end with a line break
		}
		out = append(out, p)
	}
	return out, nil
}

// Ask implements console.Upstream.
func (u *Upstream) Ask(ctx context.Context, p upstream.Provider, redirect, back string) (string, upstream.Question, error) {
	return u.client.Ask(ctx, p, redirect, back)
}

// Answer implements console.Upstream.
func (u *Upstream) Answer(ctx context.Context, p upstream.Provider, redirect string, q upstream.Question, state, code string) (upstream.Said, error) {
	return u.client.Answer(ctx, p, redirect, q, state, code)
}

// Match finds the user of the provider's tenant by e-mail address or by name;
// an address that two have is nobody's.
func (u *Upstream) Match(ctx context.Context, p upstream.Provider, said string) (string, bool) {
	if p.ByName {
		return said, resource.ValidName(said)
	}
	found := ""
	l, err := u.gate.Scan(signinService, gate.ListOptions{Kind: "User", Tenant: p.Ref.Tenant})
	if err != nil {
		return "", false
	}
	two := false
	_, err = l.Each(ctx, func(o *resource.Object) bool {
		if s, ok := o.Spec.(*access.UserSpec); ok && s.Email != "" && strings.EqualFold(s.Email, said) {
			two = found != ""
			found = o.Metadata.Name
		}
		return !two
	})
	return found, err == nil && found != "" && !two
}
