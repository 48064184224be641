package signin

import (
	"context"
	"database/sql"
	"errors"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/identity/upstream"
	"github.com/dun-sec/dun/internal/core/resource"
)

const upstreamSchema = `;
CREATE TABLE IF NOT EXISTS upstream ( -- whom a provider means, since the first time
	tenant TEXT NOT NULL, issuer TEXT NOT NULL, subject TEXT NOT NULL,
	uid    TEXT NOT NULL, name TEXT NOT NULL, -- of the user
	PRIMARY KEY (tenant, issuer, subject), UNIQUE (tenant, issuer, uid)
) STRICT, WITHOUT ROWID`

// maxSubject bounds what a provider may have kept of somebody (OpenID Connect
// Core section 2: 255 characters).
const maxSubject = 255

// Upstream takes what a provider of the tenant said. match finds the user of
// the tenant the first time; from then on the provider's subject counts, so that
// an address that somebody else gets later opens nothing. Where the provider
// asked for one factor only a ticket for a code of the user's own app is given
// instead. Errors: unauthenticated; forbidden when there is no second factor.
func (s *Store) Upstream(ctx context.Context, by identity.Actor, tenant string, said upstream.Said, match func(string) (name string, ok bool)) (p Passed, ticket string, err error) {
	if len(said.Subject) > maxSubject {
		return p, "", refused()
	}
	try := brake{kind: sourceOf, key: network(by.Source)}
	if err := s.slow.take(s.opt.Now(), try); err != nil {
		return p, "", err
	}
	uid, name, err := s.bound(ctx, tenant, said, match)
	if err != nil {
		return p, "", err
	}
	user := resource.Ref{Kind: "User", Tenant: tenant, Name: name}
	if said.TwoFactors {
		s.slow.give(try)
		return Passed{User: user, Proof: identity.ProofUpstream, uid: uid}, "", nil
	}
	c, err := s.credentials(ctx, uid)
	if err != nil {
		return p, "", err
	}
	if c.code == "" {
		return p, "", fault.New(fault.Forbidden, "the provider asked for one factor, and no authenticator app is set here; an operator's link sets one", "身份提供方仅验证了一个因素,且此处未设置身份验证器应用;可通过管理员生成的链接设置")
	}
	return p, s.tickets.issue(s.opt.Now(), pending{user: user, uid: uid, try: []brake{try}, changed: c.changed, proof: identity.ProofUpstream}), nil
}

// bound finds the user whom the provider means, and keeps it the first time.
// What was kept of a user who is gone, or is another by now, is forgotten.
func (s *Store) bound(ctx context.Context, tenant string, said upstream.Said, match func(string) (string, bool)) (uid, name string, err error) {
	if uid, name, err = s.kept(ctx, tenant, said); err != nil || uid != "" {
		return uid, name, err
	}
	if said.Match == "" {
		return "", "", refused()
	}
	name, ok := match(said.Match)
	if !ok {
		return "", "", refused()
	}
	if uid, ok = s.opt.Find(tenant, name); !ok {
		return "", "", refused()
	}
	// A user whom this provider knows by another subject keeps that one.
	if err := s.exec(ctx, `INSERT INTO upstream VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`, tenant, said.Issuer, said.Subject, uid, name); err != nil {
		return "", "", err
	}
	if uid, name, err = s.kept(ctx, tenant, said); err == nil && uid == "" {
		err = refused()
	}
	return uid, name, err
}

func (s *Store) kept(ctx context.Context, tenant string, said upstream.Said) (uid, name string, err error) {
	err = s.opt.DB.Reader.QueryRowContext(ctx, `SELECT uid, name FROM upstream WHERE tenant = ? AND issuer = ? AND subject = ?`, tenant, said.Issuer, said.Subject).Scan(&uid, &name)
	switch now, ok := s.opt.Find(tenant, name); {
	case errors.Is(err, sql.ErrNoRows):
		return "", "", nil
	case err != nil:
		return "", "", unavailable(err)
	case !ok:
		return "", "", refused() // disabled, or gone
	case now != uid:
		return "", "", s.exec(ctx, `DELETE FROM upstream WHERE tenant = ? AND issuer = ? AND subject = ?`, tenant, said.Issuer, said.Subject)
	}
	return uid, name, nil
}
