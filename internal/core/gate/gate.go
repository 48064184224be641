// Package gate is the only way to write a record, and the way to read one. It
// owns the order authenticate, decode, read old, authorise old and new,
// validate, commit {record, change, leaf} in one transaction, tell watchers
// (design section 2), the memory copy that reads come from, and the sessions.
// It never acts without a decision of core/policy, and nothing is acknowledged
// before it is on disk.
package gate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/gate/internal/store"
	"github.com/dun-sec/dun/internal/core/gate/internal/store/sqlite"
	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
)

// Options of a gate. Path, Cell, Registry, Signer and VKey are needed.
type Options struct {
	Path           string // of records.db
	CheckpointFile string // where the newest signed checkpoint lies; "" = memory only
	Cell           string
	Node           string // name of this node, in each leaf's context
	Registry       *resource.Registry
	Signer         note.Signer // of the log
	VKey           string
	Denials        DenialOptions
	Approvals      Approvals // nil = no change needs the assent of others
	Memory         int64     // bytes of all records as stored that may be held; 0 = 2 GiB
	Group          int       // members of one transaction; 0 = 256
	Now            func() time.Time
	Log            *slog.Logger
	Builtins       []policy.Builtin // nil = those of the release; a test breaks one on purpose

	tuning tuning
}

// tuning is what this package's own tests set; zero values mean the defaults.
type tuning struct {
	ring      int
	ringBytes int
	signEvery time.Duration
	denials   time.Duration // window of their rate
	store     func(store.Store) store.Store
}

// Defaults.
const (
	maxGroup     = 256            // members of one transaction
	maxWrites    = 1000           // changes after which a transaction takes no more members
	queueLength  = 1024           // writes that wait; more wait in their callers
	ringLength   = 100_000        // changes that a watcher may lag behind
	ringBytes    = 64 << 20       // of them, as stored
	memoryBudget = 2 << 30        // a million records of 2 KiB (design section 1)
	replyLife    = 24 * time.Hour // of an idempotency key
	replyPurge   = 10 * time.Minute
	checkpointAt = time.Second // at most one signature in this time
)

// Gate is safe for concurrent use.
type Gate struct {
	opt      Options
	compiler *policy.Compiler
	store    store.Store
	state    atomic.Pointer[state]
	ring     *ring
	sessions *sessions
	main     *ledger
	denials  *denials // nil = refusals are only counted
	kept     retention
	founding atomic.Bool

	queue   chan *member
	stop    chan struct{}
	stopped chan struct{} // closed when the writer has returned
	once    sync.Once
	done    sync.WaitGroup
	denied  atomic.Uint64

	groups, changes atomic.Uint64 // committed
	watchers        atomic.Int64  // feeds that wait

	// Owned by the writer goroutine.
	tree      *audit.Tree
	epoch     string
	lastPurge time.Time
	crowd     int           // callers that come together
	took      time.Duration // the last flush
}

// Open opens the store, checks that log and records fit each other, and starts
// the writer. It refuses to start rather than repair.
func Open(ctx context.Context, opt Options) (*Gate, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	opt.Memory, opt.Group = cmp.Or(opt.Memory, memoryBudget), cmp.Or(opt.Group, maxGroup)
	if opt.Builtins == nil {
		list, err := policy.Builtins()
		if err != nil {
			return nil, err
		}
		opt.Builtins = list
	}
	compiler, err := policy.NewCompilerOf(opt.Registry, opt.Builtins)
	if err != nil {
		return nil, err
	}
	var st store.Store
	if st, err = sqlite.Open(ctx, opt.Path); err != nil {
		return nil, err
	}
	if opt.tuning.store != nil {
		st = opt.tuning.store(st)
	}
	g := &Gate{
		opt: opt, compiler: compiler, store: st, queue: make(chan *member, queueLength), stop: make(chan struct{}), stopped: make(chan struct{}),
		ring: newRing(cmp.Or(opt.tuning.ring, ringLength), cmp.Or(opt.tuning.ringBytes, ringBytes)), sessions: newSessions(),
	}
	g.founding.Store(true) // until approvals know a second founder
	if err := g.load(ctx); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	if opt.Denials.Path != "" {
		if g.denials, err = openDenials(ctx, &opt, g.epoch, cmp.Or(opt.tuning.denials, denialWindow), g.stop); err != nil {
			return nil, errors.Join(err, st.Close())
		}
		g.denials.signed.resume()
		g.denials.stopped.Add(1)
		go g.denials.write()
		g.done.Go(func() { g.sign(g.denials.signed) })
	}
	g.main.signed.resume()
	g.done.Add(1)
	go g.write()
	g.done.Go(g.retain)
	g.done.Go(func() { g.sign(g.main.signed) })
	return g, nil
}

func (g *Gate) load(ctx context.Context) error {
	head, err := g.store.Head(ctx)
	switch {
	case errors.Is(err, store.ErrNotFound):
		head = store.Head{Cell: g.opt.Cell, Epoch: id.Random(5), Root: audit.NewTree().Root()}
	case err != nil:
		return err
	case head.Cell != g.opt.Cell:
		return fmt.Errorf("the record store belongs to cell %s, not %s", head.Cell, g.opt.Cell)
	}
	if g.tree, err = audit.LoadTree(head.Size, g.store); err != nil {
		return fmt.Errorf("read the audit tree: %w", err)
	}
	if g.tree.Root() != head.Root {
		return errors.New("the audit tree does not match its root; restore from a backup")
	}
	g.main = &ledger{store: g.store, vkey: g.opt.VKey, stop: g.stop}
	g.main.signed, err = loadCheckpoints(checkpointOptions{g.opt.CheckpointFile, audit.Origin(g.opt.Cell), g.opt.Signer, g.opt.VKey}, g.tree, g.store)
	if err != nil {
		return err
	}
	s := newState(g.opt.Registry, resource.Position{Epoch: head.Epoch, Revision: head.Revision}, head.Time)
	err = g.store.Records(ctx, func(b []byte) error {
		o, err := g.opt.Registry.Load(b)
		if err != nil {
			return err
		}
		if o.Metadata.Revision > head.Revision {
			return fmt.Errorf("%s is of revision %d, above the head's %d; restore from a backup", o.Ref(), o.Metadata.Revision, head.Revision)
		}
		s.put(o)
		s.weight += int64(len(b))
		return nil
	})
	if err != nil {
		return err
	}
	statuses, err := g.store.Statuses(ctx)
	if err != nil {
		return err
	}
	if err := s.loadStatuses(statuses); err != nil {
		return err
	}
	if s.snap, err = g.compiler.Compile(s.access()); err != nil {
		return fmt.Errorf("compile the stored policies: %w", err)
	}
	g.epoch = head.Epoch
	g.state.Store(s)
	g.founders(s)
	g.ring.reset(head.Revision)
	list, err := g.store.Sessions(ctx)
	if err != nil {
		return err
	}
	g.sessions.load(list, head.Epoch)
	return nil
}

// Close stops the writer after what it has begun, signs the last checkpoint
// and closes the store. Writes that still wait are refused as unavailable.
func (g *Gate) Close() error {
	g.once.Do(func() { close(g.stop) })
	g.done.Wait()
	var errs []error
	if g.denials != nil {
		g.denials.stopped.Wait()
		errs = append(errs, g.denials.signed.finish(), g.denials.store.Close())
	}
	return errors.Join(append(errs, g.main.signed.finish(), g.store.Close())...)
}

// At is the position of the newest committed change.
func (g *Gate) At() resource.Position { return g.state.Load().at }

// Cell is the cell's name.
func (g *Gate) Cell() string { return g.opt.Cell }

// Registry is the list of kinds.
func (g *Gate) Registry() *resource.Registry { return g.opt.Registry }

// access lists the records that move policy.
func (s *state) access() iter.Seq[*resource.Object] {
	return func(yield func(*resource.Object) bool) {
		for _, k := range s.reg.All() {
			if !k.Access() {
				continue
			}
			more := true
			s.trees[k.Name].Ascend(func(o *resource.Object) bool {
				more = yield(o)
				return more
			})
			if !more {
				return
			}
		}
	}
}
