package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/challenges"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/file"
	"github.com/dun-sec/dun/internal/core/nodelink"
	"github.com/dun-sec/dun/internal/core/resource"
)

const (
	tellSoon    = 20 * time.Millisecond // after a change: who applied it waits
	repairEvery = time.Second           // of verdicts; a ban reaches every edge within 5 s
	shipEvery   = time.Second
	renewEvery  = time.Hour
	fetchAgain  = 2 * time.Second

	challengesAtOnce = 4
	challengeTime    = 3 * time.Second
)

// pause waits, or until ctx ends, which makes it false.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// afterChange fetches certificates of hosts that are new, and tries again what
// did not come.
func (m *member) afterChange(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.moved:
		}
		if !m.applied() {
			continue
		}
		err := m.hosts.follow(ctx, m.keeper.All("Site"))
		if err == nil {
			m.whole.Store(true)
			continue
		}
		if ctx.Err() != nil {
			return
		}
		m.opt.Log.Warn("certificates of hosts are not there yet", "err", err)
		time.AfterFunc(fetchAgain, m.poke)
	}
}

// tell reports how this node is: soon after what it enforces moved, and at each
// heartbeat.
func (m *member) tell(ctx context.Context) {
	var told resource.Position
	var at time.Time
	for pause(ctx, tellSoon) {
		rev, synced := m.edge.Enforced()
		if m.floods.scrub.works() {
			r, there := m.floods.scrub.centre.Enforced()
			rev, synced = min(rev, r), synced && there
		}
		now := resource.Position{Epoch: m.keeper.At().Epoch, Revision: rev}
		if !synced || !m.live() || now == told && m.opt.Now().Sub(at) < nodelink.Heartbeat {
			continue
		}
		s := m.status()
		total := m.edge.Stats().Total
		err := m.link.Report(ctx, nodelink.Report{
			Version: m.opt.Version, Epoch: now.Epoch, Revision: rev, Roles: s.Roles, Endpoints: s.Endpoints, Requests: total.Requests, Blocked: total.Blocked,
		})
		if err != nil {
			pause(ctx, time.Second)
			continue
		}
		told, at = now, m.opt.Now()
	}
}

// shippedFile is how far events were handed on.
const shippedFile = "lkg/shipped"

// ship hands the events of this node to the control plane, so that one question
// finds what any node saw. It goes on where it was after a break; a few may come
// twice after a crash.
func (m *member) ship(ctx context.Context) {
	b, err := os.ReadFile(m.dir.File(shippedFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.opt.Log.Warn("how far events were handed on cannot be read; all are sent", "err", err)
	}
	cursor, kept := strings.TrimSpace(string(b)), time.Now()
	saved := cursor
	for pause(ctx, shipEvery) {
		for {
			list, next, err := m.events.From(ctx, cursor, nodelink.MaxEvents)
			if err != nil {
				m.opt.Log.Error("events cannot be read; their place is given up", "err", err)
				cursor = ""
				break
			}
			if len(list) == 0 || m.hand(ctx, list) != nil {
				break
			}
			if cursor = next; len(list) < nodelink.MaxEvents {
				break
			}
		}
		if cursor != saved && time.Since(kept) > shipEvery {
			if err := file.Replace(m.dir.File(shippedFile), 0o600, []byte(cursor+"\n")); err != nil {
				m.opt.Log.Warn("how far events were handed on is not kept", "err", err)
			}
			saved, kept = cursor, time.Now()
		}
	}
}

// hand sends some events; a group that is too large for one call goes in
// halves.
func (m *member) hand(ctx context.Context, list []events.Event) error {
	err := m.link.Ship(ctx, list)
	if err != nil && ctx.Err() == nil {
		m.opt.Log.Debug("events wait", "count", len(list), "err", err)
	}
	return err
}

// repair brings the verdicts here and on other nodes together.
func (m *member) repair(ctx context.Context) {
	for pause(ctx, repairEvery) {
		if !m.live() {
			continue
		}
		if err := m.link.Repair(ctx, m.bans); err != nil && ctx.Err() == nil {
			m.opt.Log.Debug("verdicts are not repaired", "err", err)
		}
	}
}

// account tells what sites took.
func (m *member) account(ctx context.Context) {
	send := func(ctx context.Context) {
		entries := m.edge.Usage()
		for len(entries) > 0 {
			n := min(len(entries), nodelink.MaxEvents)
			if err := m.link.Usage(ctx, entries[:n]); err != nil {
				m.edge.Owe(entries)
				return
			}
			entries = entries[n:]
		}
	}
	for pause(ctx, usageEvery) {
		send(ctx)
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	send(last)
}

// renew keeps the node's own certificate young.
func (m *member) renew(ctx context.Context) {
	me := *m.me
	for {
		pair, err := me.pair()
		if err == nil && due(pair.Leaf, m.opt.Now()) {
			err = m.renewNow(ctx, &me)
		}
		if err != nil && ctx.Err() == nil {
			m.opt.Log.Error("the certificate of this node is not renewed", "err", err)
		}
		if !pause(ctx, renewEvery) {
			return
		}
	}
}

func (m *member) renewNow(ctx context.Context, me *membership) error {
	der, err := m.link.Renew(ctx)
	if err != nil {
		return err
	}
	next := *me
	next.Certificate = der
	pair, err := next.pair()
	if err != nil {
		return err
	}
	if err := m.dir.writeMembership(&next); err != nil {
		return err
	}
	*me = next
	return m.link.Use(pair)
}

// askedChallenges answers ACME authorities that come to this node's doors from
// what waits in the control plane: few at once, and not for long.
type askedChallenges struct {
	link *nodelink.Link
	room chan struct{}
}

// HTTP implements edge.Challenges.
func (a *askedChallenges) HTTP(tenant, host, path string) (string, bool) {
	if !strings.HasPrefix(path, challenges.PathPrefix) {
		return "", false
	}
	select {
	case a.room <- struct{}{}:
		defer func() { <-a.room }()
	default:
		return "", false
	}
	ctx, cancel := context.WithTimeout(context.Background(), challengeTime)
	defer cancel()
	return a.link.Challenge(ctx, tenant, host, path)
}

// TLS implements edge.Challenges: a certificate with its key stays where the
// order is.
func (a *askedChallenges) TLS(_, _ string) *tls.Certificate { return nil }
