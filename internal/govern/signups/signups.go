// Package signups makes a tenant with its first user of what somebody asked for
// and an operator approved. It owns the order: the records first, by the
// operator's own right and the approvals that they need, and the stranger's link
// is good only while his user says that it was made for this request.
package signups

import (
	"context"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/identity/signup"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/access"
	"github.com/dun-sec/dun/internal/kinds/system"
)

// Decide is the action that policy is asked about, on the platform.
const Decide = "signup.decide"

// Gate is what is asked of core/gate.
type Gate interface {
	Apply(context.Context, gate.Request) ([]gate.Result, error)
	May(a identity.Actor, action, tenant string) error
	Record(context.Context, identity.Actor, gate.Fact) error
	Labelled(ref resource.Ref, key string) string
}

// SignUps decides.
type SignUps struct {
	gate  Gate
	store *signup.Store
}

// New works on a store.
func New(g Gate, s *signup.Store) *SignUps { return &SignUps{g, s} }

// Ask keeps a wish; the token is of the link.
func (s *SignUps) Ask(ctx context.Context, w signup.Wish) (string, error) { return s.store.Ask(ctx, w) }

// Pending lists what waits, for who may decide.
func (s *SignUps) Pending(ctx context.Context, a identity.Actor) ([]signup.Pending, error) {
	if err := s.gate.May(a, Decide, resource.Platform); err != nil {
		return nil, err
	}
	return s.store.Pending(ctx)
}

// Approve makes the tenant, its first user and the policy that gives him every
// right in it, in one transaction. The error is a *gate.Waiting where others
// must assent first.
func (s *SignUps) Approve(ctx context.Context, a identity.Actor, id string) error {
	p, err := s.find(ctx, a, id)
	if err != nil {
		return err
	}
	var changes []gate.Change
	for _, o := range []*resource.Object{
		{Kind: "Tenant", Version: 1, Metadata: resource.Metadata{Tenant: resource.Platform, Name: p.Tenant}, Spec: &system.TenantSpec{Title: p.Tenant}},
		{Kind: "User", Version: 1, Metadata: resource.Metadata{Tenant: p.Tenant, Name: p.Name, Labels: map[string]string{signup.Label: p.ID}}, Spec: &access.UserSpec{}},
		{Kind: "Policy", Version: 1, Metadata: resource.Metadata{Tenant: p.Tenant, Name: "owner"}, Spec: &access.PolicySpec{
			Description: "The first user of the tenant has every right in it", Cedar: `permit (principal == User::"` + p.Tenant + "/" + p.Name + `", action, resource);`}},
	} {
		changes = append(changes, gate.Change{Op: gate.Put, Ref: o.Ref(), Object: o})
	}
	_, err = s.gate.Apply(ctx, gate.Request{Actor: a, Changes: changes, Reason: "signed up"})
	return err
}

// Refuse forgets a wish.
func (s *SignUps) Refuse(ctx context.Context, a identity.Actor, id string) error {
	p, err := s.find(ctx, a, id)
	if err != nil {
		return err
	}
	if err := s.gate.Record(ctx, a, gate.Fact{Class: audit.Change, Kind: "SignUp", Action: "refuse", Tenant: resource.Platform, Name: p.ID}); err != nil {
		return err
	}
	return s.store.Drop(ctx, p.ID)
}

func (s *SignUps) find(ctx context.Context, a identity.Actor, id string) (signup.Pending, error) {
	if err := s.gate.May(a, Decide, resource.Platform); err != nil {
		return signup.Pending{}, err
	}
	return s.store.Find(ctx, id)
}

// Made reports whether the user of a wish is there, and was made for it.
func (s *SignUps) Made(p signup.Pending) bool { return s.gate.Labelled(p.User(), signup.Label) == p.ID }

// Enter burns the link of a token and says who enters by it.
func (s *SignUps) Enter(ctx context.Context, token string) (resource.Ref, error) {
	return s.store.Enter(ctx, token, s.Made)
}
