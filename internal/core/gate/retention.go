package gate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/gate/internal/store"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

const (
	historyLife = 400 * 24 * time.Hour // of a version that is no longer in force (design section 2)
	expireFirst = time.Minute          // after the start
	expireEvery = time.Hour
	expireBatch = 500 // versions in one transaction
)

// retention remembers how the last round went.
type retention struct {
	mu  sync.Mutex
	err error
}

func (r *retention) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// retain drops what is past its retention, round by round.
func (g *Gate) retain() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	t := time.NewTimer(expireFirst)
	defer t.Stop()
	for {
		select {
		case <-g.stop:
			return
		case <-t.C:
		}
		n, err := g.Expire(ctx)
		if err != nil && !errors.Is(err, context.Canceled) {
			g.opt.Log.Error("history past its retention not dropped", "err", err)
		}
		if n > 0 {
			g.opt.Log.Info("history past its retention dropped", "versions", n)
		}
		t.Reset(expireEvery)
	}
}

// Expire drops the versions that went out of force longer ago than their
// kind's retention: never one that is in force, nor one that was in force
// within it. Leaves stay, and say who did what and when; what the record was
// can no longer be read. Each transaction logs what it dropped.
func (g *Gate) Expire(ctx context.Context) (dropped int, err error) {
	defer func() {
		g.kept.mu.Lock()
		g.kept.err = err
		g.kept.mu.Unlock()
	}()
	for _, k := range g.opt.Registry.All() {
		n, err := g.expireKind(ctx, k)
		dropped += n
		if err != nil {
			return dropped, err
		}
	}
	return dropped, nil
}

func (g *Gate) expireKind(ctx context.Context, k *resource.Kind) (dropped int, err error) {
	life := k.Retention
	if life == 0 {
		life = historyLife
	}
	if life == resource.Forever || g.state.Load().holds(k.Name) {
		return 0, nil
	}
	before := g.opt.Now().Add(-life).UnixMicro()
	for {
		rows, err := g.store.Expired(ctx, k.Name, before, expireBatch)
		if err != nil || len(rows) == 0 {
			return dropped, err
		}
		m := &member{ctx: ctx, done: make(chan struct{})}
		m.run = func(b *build) error { return b.expire(k, before, rows) }
		if err := g.submit(ctx, m); err != nil {
			return dropped, err
		}
		dropped += len(rows)
	}
}

func (b *build) expire(k *resource.Kind, before int64, rows []store.Expired) error {
	f := erasureFact{Reason: "out of force since before " + time.UnixMicro(before).UTC().Format(time.RFC3339)}
	for _, r := range rows {
		f.Revisions = f.Revisions.add(r.Revision)
		b.group.Drop = append(b.group.Drop, r.Revision)
		if r.Deletion {
			continue // it says nothing that could be guessed at
		}
		if err := errors.Join(b.unsalt(r.Seq, audit.FieldNew), b.unsalt(r.Next, audit.FieldOld)); err != nil {
			return err
		}
	}
	return b.erased(identity.Service("gate"), k.Name, actionExpire, resource.Platform, f)
}

// unsalt takes the salt of one field away: without it the commitment to what
// was dropped cannot be guessed at.
func (b *build) unsalt(seq uint64, f audit.Field) error {
	for i := range b.group.Salts {
		if s := &b.group.Salts[i]; s.Seq == seq {
			clear(s.Salts[int(f)*audit.SaltSize : (int(f)+1)*audit.SaltSize])
			return nil
		}
	}
	rows, err := b.g.store.Leaves(b.ctx, seq, 1)
	if err != nil {
		return err
	}
	if len(rows) == 0 || rows[0].Seq != seq {
		return fmt.Errorf("leaf %d is missing", seq)
	}
	salts := bytes.Clone(rows[0].Salts)
	if len(salts) != audit.Fields*audit.SaltSize {
		return nil // erased
	}
	clear(salts[int(f)*audit.SaltSize : (int(f)+1)*audit.SaltSize])
	b.group.Salts = append(b.group.Salts, store.Salts{Seq: seq, Salts: salts})
	return nil
}
