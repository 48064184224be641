package gate

import (
	"context"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate/internal/store"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// SessionLife is how long a bearer session lives (formats.md, profile).
const SessionLife = 24 * time.Hour

// maxSessions bounds what one principal may hold; the oldest gives way.
const maxSessions = 64

// sessions is the memory copy; the writer changes it after each commit.
type sessions struct {
	mu   sync.RWMutex
	byID map[[32]byte]store.Session
}

func newSessions() *sessions { return &sessions{byID: map[[32]byte]store.Session{}} }

func (s *sessions) load(list []store.Session, epoch string) {
	for _, x := range list {
		if x.Epoch == epoch && len(x.Hash) == 32 {
			s.byID[[32]byte(x.Hash)] = x
		}
	}
}

func (s *sessions) apply(open []store.Session, revoke [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range open {
		s.byID[[32]byte(x.Hash)] = x
	}
	for _, h := range revoke {
		delete(s.byID, [32]byte(h))
	}
}

// stale lists sessions of p that have to go before it gets one more: the
// expired ones, and the oldest above the bound.
func (s *sessions) stale(p resource.Ref, now int64) [][]byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out [][]byte
	live := 0
	var oldest *store.Session
	for _, x := range s.byID {
		switch {
		case x.Expires <= now:
			out = append(out, x.Hash)
		case x.Kind == p.Kind && x.Tenant == p.Tenant && x.Name == p.Name:
			live++
			if oldest == nil || x.Created < oldest.Created {
				oldest = &x
			}
		}
	}
	if live >= maxSessions {
		out = append(out, oldest.Hash)
	}
	return out
}

// OpenSession makes a bearer session for the user and returns its token, the
// only copy. replaces, when not empty, is a token that ends in the same
// transaction. by is who asked; a leaf of class login keeps it.
func (g *Gate) OpenSession(ctx context.Context, by identity.Actor, user resource.Ref, replaces string) (token string, expires time.Time, err error) {
	token = identity.NewToken()
	hash, _ := identity.HashToken(token)
	m := &member{ctx: ctx, done: make(chan struct{})}
	m.run = func(b *build) error {
		if b.state.get(user.Kind, user.Tenant, user.Name) == nil {
			return notFound(user)
		}
		now := g.opt.Now()
		expires = now.Add(SessionLife).UTC().Truncate(time.Second)
		stale := g.sessions.stale(user, now.UnixMicro())
		if old, ok := identity.HashToken(replaces); ok {
			if _, live := g.sessions.get(old); !live {
				return unauthenticated()
			}
			stale = append(stale, old[:])
		}
		err := b.leaf(fact{class: audit.Login, kind: "Session", action: "open", time: b.now(), actor: by, tenant: user.Tenant, name: user.Name})
		if err != nil {
			return err
		}
		b.group.Revoke = append(b.group.Revoke, stale...)
		b.group.Open = append(b.group.Open, store.Session{
			Hash: hash[:], Kind: user.Kind, Tenant: user.Tenant, Name: user.Name, Epoch: g.epoch,
			Created: now.UnixMicro(), Expires: expires.UnixMicro(),
		})
		return nil
	}
	if err := g.submit(ctx, m); err != nil {
		return "", time.Time{}, err
	}
	return token, expires, nil
}

// now is the time of a leaf that changes no record; it takes its place in the
// cell's one order of times.
func (b *build) now() int64 {
	b.state.time = max(b.g.opt.Now().UnixMicro(), b.state.time+1)
	return b.state.time
}

func (s *sessions) get(hash [32]byte) (store.Session, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	x, ok := s.byID[hash]
	return x, ok
}

// Authenticate turns a bearer token into the principal that it stands for.
// Unknown, expired, of another epoch, of a deleted or disabled user: all look
// the same.
func (g *Gate) Authenticate(token string) (resource.Ref, time.Time, error) {
	hash, ok := identity.HashToken(token)
	if !ok {
		return resource.Ref{}, time.Time{}, unauthenticated()
	}
	x, ok := g.sessions.get(hash)
	if !ok || x.Expires <= g.opt.Now().UnixMicro() || x.Epoch != g.At().Epoch {
		return resource.Ref{}, time.Time{}, unauthenticated()
	}
	s := g.state.Load()
	o := s.get(x.Kind, x.Tenant, x.Name)
	if o == nil {
		return resource.Ref{}, time.Time{}, unauthenticated()
	}
	if k, err := s.reg.Kind(x.Kind); err != nil || k.Disabled(o) || o.Metadata.Created.UnixMicro() > x.Created {
		return resource.Ref{}, time.Time{}, unauthenticated() // the last: a new user under an old name
	}
	return resource.Ref{Kind: x.Kind, Tenant: x.Tenant, Name: x.Name}, time.UnixMicro(x.Expires).UTC(), nil
}

func unauthenticated() error {
	return fault.New(fault.Unauthenticated, "no valid session; sign in again with dun login, or on the machine with dun admin recover --data DIR",
		"会话无效;请用 dun login 重新登录,或在本机执行 dun admin recover --data DIR")
}
