package gate

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
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

// EnrolLife is how long one lives that a link opened.
const EnrolLife = time.Hour

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

func (s *sessions) get(hash [32]byte) (store.Session, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	x, ok := s.byID[hash]
	return x, ok
}

// sessions lists them as the group being built will leave them.
func (b *build) sessions() []store.Session {
	s := b.g.sessions
	s.mu.RLock()
	out := slices.Collect(maps.Values(s.byID))
	s.mu.RUnlock()
	out = append(out, b.group.Open...)
	return slices.DeleteFunc(out, func(x store.Session) bool { return b.revoked(x.Hash) })
}

func (b *build) revoked(hash []byte) bool {
	return slices.ContainsFunc(b.group.Revoke, func(h []byte) bool { return bytes.Equal(h, hash) })
}

func sessionOf(x store.Session, p resource.Ref) bool {
	return x.Kind == p.Kind && x.Tenant == p.Tenant && x.Name == p.Name
}

// signOut ends every session of p in the transaction that disables or deletes
// it: enabling it again, or another p, brings none of them back.
func (b *build) signOut(p resource.Ref) {
	for _, x := range b.sessions() {
		if sessionOf(x, p) {
			b.group.Revoke = append(b.group.Revoke, x.Hash)
		}
	}
}

// stale lists what has to go before p gets one more session: the expired ones
// of everybody, and the oldest of p above the bound. replaced goes anyway.
func (b *build) stale(p resource.Ref, now int64, replaced []byte) [][]byte {
	var out [][]byte
	var live []store.Session
	for _, x := range b.sessions() {
		switch {
		case bytes.Equal(x.Hash, replaced):
		case x.Expires <= now:
			out = append(out, x.Hash)
		case sessionOf(x, p):
			live = append(live, x)
		}
	}
	slices.SortFunc(live, func(x, y store.Session) int { return cmp.Compare(x.Created, y.Created) })
	for i := range len(live) - maxSessions + 1 {
		out = append(out, live[i].Hash)
	}
	return out
}

// Session is who a live session stands for.
type Session struct {
	Principal resource.Ref
	UID       string // of its record
	Expires   time.Time
	Proof     identity.Proof
	MFA       bool
}

// Actor is whom the session makes of a visitor.
func (s Session) Actor(visitor identity.Actor) identity.Actor {
	visitor.Principal, visitor.Proof, visitor.MFA = s.Principal, s.Proof, s.MFA
	return visitor
}

// OpenSession makes a bearer session for the user and returns its token, the
// only copy. replaces, when not empty, is a token that ends in the same
// transaction. by is who asked, from where, and what he proved: the session is
// worth that much; a leaf of class login keeps it.
func (g *Gate) OpenSession(ctx context.Context, by identity.Actor, user resource.Ref, replaces string) (token string, expires time.Time, err error) {
	token = identity.NewToken()
	hash, _ := identity.HashToken(token)
	m := &member{ctx: ctx, done: make(chan struct{})}
	m.run = func(b *build) (err error) {
		expires, err = b.openSession(by, user, replaces, hash[:])
		return err
	}
	if err := g.submit(ctx, m); err != nil {
		return "", time.Time{}, err
	}
	return token, expires, nil
}

func (b *build) openSession(by identity.Actor, user resource.Ref, replaces string, hash []byte) (time.Time, error) {
	var expires time.Time
	o := b.state.get(user.Kind, user.Tenant, user.Name)
	if o == nil {
		return expires, notFound(user)
	}
	k, err := b.state.reg.Kind(user.Kind)
	if err != nil {
		return expires, err
	}
	if k.Disabled(o) {
		return expires, unauthenticated()
	}
	clock := b.g.opt.Now()
	var gone []byte
	if old, ok := identity.HashToken(replaces); ok {
		gone = old[:]
		at := slices.IndexFunc(b.sessions(), func(x store.Session) bool {
			return bytes.Equal(x.Hash, gone) && sessionOf(x, user) && x.Expires > clock.UnixMicro()
		})
		if at < 0 {
			return expires, unauthenticated()
		}
	}
	revoke := b.stale(user, clock.UnixMicro(), gone)
	if gone != nil {
		revoke = append(revoke, gone)
	}
	// The order of the cell and not the clock says whether the session or its
	// user came first: a clock can jump back.
	created := b.now()
	err = b.leaf(fact{class: audit.Login, kind: "Session", action: "open", time: created, actor: by, tenant: user.Tenant, name: user.Name, reason: string(by.Proof)})
	if err != nil {
		return expires, err
	}
	life := SessionLife
	if by.Proof == identity.ProofLink {
		life = EnrolLife
	}
	expires = clock.Add(life).UTC().Truncate(time.Second)
	b.group.Revoke = append(b.group.Revoke, revoke...)
	b.group.Open = append(b.group.Open, store.Session{
		Hash: hash, Kind: user.Kind, Tenant: user.Tenant, Name: user.Name, Epoch: b.g.epoch,
		Created: created, Expires: expires.UnixMicro(), Source: by.Source, Proof: string(by.Proof), MFA: by.MFA,
	})
	return expires, nil
}

// Authenticate turns a bearer token into the session that it stands for.
// Unknown, expired, of another epoch, of a deleted or disabled user, or opened
// by a link: all look the same.
func (g *Gate) Authenticate(token string) (Session, error) {
	s, err := g.authenticate(token)
	if err == nil && s.Proof == identity.ProofLink {
		return Session{}, unauthenticated()
	}
	return s, err
}

// Enrolling is Authenticate for the sessions that a link opened: their owner
// sets his proofs by them and does nothing else.
func (g *Gate) Enrolling(token string) (Session, error) {
	s, err := g.authenticate(token)
	if err == nil && s.Proof != identity.ProofLink {
		return Session{}, unauthenticated()
	}
	return s, err
}

func (g *Gate) authenticate(token string) (Session, error) {
	hash, ok := identity.HashToken(token)
	if !ok {
		return Session{}, unauthenticated()
	}
	x, ok := g.sessions.get(hash)
	if !ok || x.Expires <= g.opt.Now().UnixMicro() || x.Epoch != g.At().Epoch {
		return Session{}, unauthenticated()
	}
	s := g.state.Load()
	o := s.get(x.Kind, x.Tenant, x.Name)
	if o == nil {
		return Session{}, unauthenticated()
	}
	if k, err := s.reg.Kind(x.Kind); err != nil || k.Disabled(o) || o.Metadata.Created.UnixMicro() > x.Created {
		return Session{}, unauthenticated() // the last: a new user under an old name
	}
	return Session{
		Principal: resource.Ref{Kind: x.Kind, Tenant: x.Tenant, Name: x.Name}, UID: o.Metadata.UID,
		Expires: time.UnixMicro(x.Expires).UTC(), Proof: identity.Proof(x.Proof), MFA: x.MFA,
	}, nil
}

func unauthenticated() error {
	return fault.New(fault.Unauthenticated, "no valid session; sign in again with dun login, or on the machine with dun admin recover --data DIR",
		"会话无效;请用 dun login 重新登录,或在本机执行 dun admin recover --data DIR")
}
