package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/gate/internal/store"
	"github.com/dun-sec/dun/internal/core/gate/internal/store/sqlite"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// Limits of the log of denials (formats.md, Log): whoever is refused chooses
// how often, so he must not choose what it costs.
const (
	denialWindow = time.Second
	denialRate   = 100 // leaves in a window, the one that counts the rest among them
	denialQueue  = 256
)

// DenialOptions say where refusals are kept. Path "" keeps none.
type DenialOptions struct {
	Path           string // of denials.db
	CheckpointFile string
	Signer         note.Signer // of the origin audit.DenialsOrigin
	VKey           string
}

// denials is the log of refusals: its own file, tree, signatures and writer,
// so that a storm of refusals never stands in the way of a change. A refusal
// is answered before its leaf is on disk, and a log that cannot be written
// does not stop the gate: what is lost is counted and alarmed.
type denials struct {
	ledger
	queue      chan fact
	kick       chan chan struct{} // asks for what waits to be written now
	suppressed atomic.Uint64      // since the last leaf that told of them
	broken     atomic.Bool        // the last write failed
	stopped    sync.WaitGroup
	tree       *audit.Tree
	env        leafEnv
	cell       string
	now        func() time.Time
	log        *slog.Logger
	window     time.Duration
	time       int64 // µs, of the last leaf
}

func openDenials(ctx context.Context, opt *Options, epoch string, window time.Duration, stop chan struct{}) (*denials, error) {
	st, err := sqlite.Open(ctx, opt.Denials.Path)
	if err != nil {
		return nil, fmt.Errorf("the log of denials: %w", err)
	}
	d := &denials{
		queue: make(chan fact, denialQueue), kick: make(chan chan struct{}), now: opt.Now, log: opt.Log, window: window, env: leafEnv{node: opt.Node, epoch: epoch}, cell: opt.Cell,
	}
	head, err := st.Head(ctx)
	if errors.Is(err, store.ErrNotFound) {
		head, err = store.Head{Cell: opt.Cell, Root: audit.NewTree().Root()}, nil
	}
	if err == nil && head.Cell != opt.Cell {
		err = fmt.Errorf("it belongs to cell %s, not %s", head.Cell, opt.Cell)
	}
	if err == nil {
		d.time = head.Time
		d.tree, err = audit.LoadTree(head.Size, st)
	}
	if err == nil && d.tree.Root() != head.Root {
		err = errors.New("its tree does not match its root")
	}
	d.ledger = ledger{store: st, vkey: opt.Denials.VKey, stop: stop}
	if err == nil {
		d.signed, err = loadCheckpoints(checkpointOptions{
			file: opt.Denials.CheckpointFile, origin: audit.DenialsOrigin(opt.Cell), signer: opt.Denials.Signer, vkey: opt.Denials.VKey,
		}, d.tree, st)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the log of denials: %w", err), st.Close())
	}
	return d, nil
}

// note takes a refusal without ever waiting.
func (d *denials) note(f fact) {
	select {
	case d.queue <- f:
	default:
		d.suppressed.Add(1)
	}
}

// write puts what was refused into the log, a few times in a window and at
// most so many leaves in it.
func (d *denials) write() {
	defer d.stopped.Done()
	beat := time.NewTicker(d.window / 10)
	defer beat.Stop()
	used, beats := 0, 0
	for {
		select {
		case <-d.stop:
			d.flush(denialRate, true)
			return
		case done := <-d.kick:
			used += d.flush(denialRate-1-used, false)
			close(done)
			continue
		case <-beat.C:
		}
		if beats++; beats == 10 {
			used, beats = 0, 0
			used += d.flush(denialRate, true)
		} else {
			used += d.flush(denialRate-1-used, false)
		}
	}
}

// sync waits until what was refused before is in the log, or counted.
func (d *denials) sync() {
	done := make(chan struct{})
	select {
	case d.kick <- done:
		<-done
	case <-d.stop:
	}
}

// flush writes what waits, up to room leaves, and counts what found none. tell
// adds the leaf that says how many went without.
func (d *denials) flush(room int, tell bool) int {
	var list []fact
	for more := true; more; {
		select {
		case f := <-d.queue:
			if len(list) < room-1 || !tell && len(list) < room {
				list = append(list, f)
			} else {
				d.suppressed.Add(1)
			}
		default:
			more = false
		}
	}
	n := uint64(0)
	if tell {
		n = d.suppressed.Swap(0)
	}
	if n > 0 {
		list = append(list, fact{class: audit.Denial, kind: "Denial", action: "suppressed", reason: strconv.FormatUint(n, 10), actor: identity.Service("gate")})
	}
	if len(list) == 0 {
		return 0
	}
	if err := d.commit(list); err != nil {
		d.suppressed.Add(uint64(len(list)) + n)
		if !d.broken.Swap(true) {
			d.log.Error("the log of denials cannot be written", "err", err)
		}
		return 0
	}
	d.broken.Store(false)
	return len(list)
}

func (d *denials) commit(list []fact) error {
	tree := d.tree.Clone()
	g := store.Group{FirstHash: tlog.StoredHashCount(tree.Size())}
	at := d.time
	for _, f := range list {
		at = max(d.now().UnixMicro(), at+1)
		f.time = at
		if err := appendLeaf(&g, tree, f, d.env); err != nil {
			return err
		}
	}
	g.Head = store.Head{Cell: d.cell, Epoch: d.env.epoch, Time: at, Size: tree.Size(), Root: tree.Root()}
	if err := d.store.Commit(context.Background(), &g); err != nil {
		return err
	}
	d.tree, d.time = tree, at
	d.signed.advance(g.Head.Size, g.Head.Root)
	return nil
}

// deny counts a refusal and takes it to the log of denials.
func (g *Gate) deny(a identity.Actor, r resource.Ref, action string, policies []string) {
	g.denied.Add(1)
	g.opt.Log.Debug("denied", "actor", a.String(), "kind", r.Kind, "tenant", r.Tenant, "name", r.Name, "action", action, "policies", policies, "req", a.Request)
	if g.denials != nil {
		g.denials.note(fact{class: audit.Denial, kind: r.Kind, action: action, actor: a, tenant: r.Tenant, name: clip(r.Name), policies: policies})
	}
}

// Refused takes a refusal that a door decided, such as of a token that stands
// for nobody, to the log of denials.
func (g *Gate) Refused(a identity.Actor, kind, action string) {
	g.RefusedAt(a, resource.Ref{Kind: kind, Tenant: resource.Platform}, action)
}

// RefusedAt is Refused for what was named; the door names what there is only:
// what people type into the wrong field is no name.
func (g *Gate) RefusedAt(a identity.Actor, target resource.Ref, action string) {
	if a.Principal == (resource.Ref{}) {
		a.Principal = resource.Ref{Kind: "Anonymous", Tenant: resource.Platform, Name: "nobody"}
	}
	g.deny(a, target, action, nil)
}

// clip bounds a name that somebody typed who may not even know that it is none.
func clip(name string) string {
	if len(name) > 128 {
		return name[:128]
	}
	return name
}
