package gate

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"slices"
	"time"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate/internal/store"
	"github.com/dun-sec/dun/internal/core/identity"
)

// sessionID is how many bytes of a session's hash name it; they tell nothing
// of the token.
const sessionID = 10

// OwnSession is a live session as its owner sees it. The token is in none.
type OwnSession struct {
	ID               string
	Created, Expires time.Time
	Current          bool   // that of the token that asked
	Source           string // address that opened it; "" = the program itself
	Proof            identity.Proof
}

// OwnSessions lists the live sessions of whom the token stands for, newest
// first.
func (g *Gate) OwnSessions(token string) ([]OwnSession, error) {
	who, err := g.Authenticate(token)
	if err != nil {
		return nil, err
	}
	user := who.Principal
	mine, _ := identity.HashToken(token)
	now := g.opt.Now().UnixMicro()
	s := g.sessions
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []OwnSession
	for hash, x := range s.byID {
		if sessionOf(x, user) && x.Expires > now {
			out = append(out, OwnSession{
				ID: hex.EncodeToString(hash[:sessionID]), Created: time.UnixMicro(x.Created).UTC(), Expires: time.UnixMicro(x.Expires).UTC(), Current: hash == mine,
				Source: x.Source, Proof: identity.Proof(x.Proof),
			})
		}
	}
	slices.SortFunc(out, func(a, b OwnSession) int { return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID)) })
	return out, nil
}

// People stands for all other sessions but the machine's own, which somebody
// opened who needed no proof that could have been stolen.
const People = "people"

// EndSessions ends other sessions of whom the token stands for: the one named
// by id, all with "", or those of People. Each has its leaf; when it returns
// they are gone from memory and disk, and the next request by one is refused.
func (g *Gate) EndSessions(ctx context.Context, by identity.Actor, token, id string) (ended int, err error) {
	m := &member{ctx: ctx, done: make(chan struct{})}
	m.run = func(b *build) error {
		who, err := g.Authenticate(token)
		if err != nil {
			return err
		}
		user := who.Principal
		mine, _ := identity.HashToken(token)
		if b.revoked(mine[:]) {
			return unauthenticated()
		}
		gone := slices.DeleteFunc(b.sessions(), func(x store.Session) bool {
			return !sessionOf(x, user) || bytes.Equal(x.Hash, mine[:]) || id == People && x.Proof == string(identity.ProofMachine) ||
				id != "" && id != People && hex.EncodeToString(x.Hash[:sessionID]) != id
		})
		if id != "" && id != People && len(gone) == 0 {
			return fault.New(fault.NotFound, "there is no such session of yours, or it is the one that asks", "您没有此会话,或它就是当前会话")
		}
		for _, x := range gone {
			if err := b.leaf(fact{class: audit.Login, kind: "Session", action: "close", time: b.now(), actor: by, tenant: user.Tenant, name: user.Name}); err != nil {
				return err
			}
			b.group.Revoke = append(b.group.Revoke, x.Hash)
		}
		ended = len(gone)
		return nil
	}
	return ended, g.submit(ctx, m)
}
