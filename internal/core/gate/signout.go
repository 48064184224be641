package gate

import (
	"context"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/identity"
)

// CloseSession ends the session of the token; a leaf of class login keeps who
// ended it. A token that stands for nobody is refused as Authenticate refuses
// it. When it returns without an error the session is gone from the disk too.
func (g *Gate) CloseSession(ctx context.Context, by identity.Actor, token string) error {
	m := &member{ctx: ctx, done: make(chan struct{})}
	m.run = func(b *build) error {
		s, err := g.authenticate(token)
		if err != nil {
			return err
		}
		user := s.Principal
		hash, _ := identity.HashToken(token)
		if b.revoked(hash[:]) {
			return unauthenticated()
		}
		err = b.leaf(fact{class: audit.Login, kind: "Session", action: "close", time: b.now(), actor: by, tenant: user.Tenant, name: user.Name})
		if err != nil {
			return err
		}
		b.group.Revoke = append(b.group.Revoke, hash[:])
		return nil
	}
	return g.submit(ctx, m)
}
