package lkg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// saveEvery is how often the file is written at most; a save that takes long
// is followed by a pause of ten times as long.
const saveEvery = time.Second

// saveAgain is when a file is written anew although nothing moved: its age is
// how long ago the records were known to be current.
const saveAgain = 24 * time.Hour

// Keeper stands between the records and the role that enforces them: it hands
// on what a feed brings, and saves what was enforced beside it. It begins with
// a snapshot that was loaded, or waits for a feed, and goes over to a live feed
// when it is given one.
type Keeper struct {
	file *File
	reg  *resource.Registry
	now  func() time.Time
	log  *slog.Logger

	live chan resource.Feed // one slot: where the records come from next

	mu      sync.Mutex
	objects map[resource.Ref]*resource.Object // as of at
	at      resource.Position
	whole   bool              // everything up to at was handed on
	resets  uint64            // of the feed
	touched map[string]uint64 // changes of each kind, so that views need not look in vain
	done    resource.Position // enforced
	first   *resource.Batch   // the loaded snapshot, until it was handed on
	taken   time.Time         // when what is enforced was current; zero = now
	failed  error             // the last save
	saved   time.Time         // when it was asked for
	dirty   chan struct{}     // one slot: there is something to save
	moved   chan struct{}     // closed and made anew when at moves: views look
}

// NewKeeper makes a keeper without records.
func NewKeeper(f *File, reg *resource.Registry, now func() time.Time, log *slog.Logger) *Keeper {
	return &Keeper{file: f, reg: reg, now: now, log: log, live: make(chan resource.Feed, 1), objects: map[resource.Ref]*resource.Object{}, touched: map[string]uint64{}, dirty: make(chan struct{}, 1), moved: make(chan struct{})}
}

// payload is one record a line; the first line says how they are written.
const payloadForm = `{"v":1,"form":"records"}`

// Start loads what was enforced last and makes it the first batch.
func (k *Keeper) Start() error {
	s, err := k.file.Load(k.now())
	if err != nil {
		return err
	}
	lines := bytes.Split(bytes.TrimSuffix(s.Payload, []byte("\n")), []byte("\n"))
	if len(lines) == 0 || string(lines[0]) != payloadForm {
		return errors.New("it holds no records")
	}
	b := &resource.Batch{Reset: true, Synced: true, At: resource.Position{Epoch: s.Epoch, Revision: s.Number}}
	for i, line := range lines[1:] {
		o, err := k.reg.Load(line)
		if err != nil {
			return fmt.Errorf("record %d of it: %w", i, err)
		}
		b.Changes = append(b.Changes, resource.Change{Ref: o.Ref(), Object: o, Revision: o.Metadata.Revision})
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.first, k.taken = b, s.Time
	return nil
}

// First is how far the snapshot that Start loaded goes; zero without one.
func (k *Keeper) First() resource.Position {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.first == nil {
		return resource.Position{}
	}
	return k.first.At
}

// Use goes over to a live feed: its first batch replaces everything.
func (k *Keeper) Use(f resource.Feed) { k.live <- f }

// Since is when what is enforced was current, zero while it is live.
func (k *Keeper) Since() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.taken
}

// Failed is the error of the last save, nil when it went well.
func (k *Keeper) Failed() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed
}

// Get reads one of the records, as handed on; nil when there is none.
func (k *Keeper) Get(ref resource.Ref) *resource.Object {
	ref.UID = ""
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.objects[ref]
}

// All lists the records of a kind, as handed on.
func (k *Keeper) All(kind string) []*resource.Object {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []*resource.Object
	for ref, o := range k.objects {
		if ref.Kind == kind {
			out = append(out, o)
		}
	}
	return out
}

// At is how far what was handed on goes.
func (k *Keeper) At() resource.Position {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.at
}

// Feed is what the role follows. It has one reader.
func (k *Keeper) Feed() resource.Feed { return &keptFeed{k: k} }

type keptFeed struct {
	k   *Keeper
	src resource.Feed
}

// Next implements resource.Feed. That the role asks again says that it
// enforces what it was given before.
func (f *keptFeed) Next(ctx context.Context) (resource.Batch, error) {
	k := f.k
	k.enforced()
	if b := k.takeFirst(); b != nil {
		return *b, nil
	}
	if f.src == nil {
		select {
		case f.src = <-k.live:
		case <-ctx.Done():
			return resource.Batch{}, ctx.Err()
		}
	}
	b, err := f.src.Next(ctx)
	if err != nil {
		return b, err
	}
	k.apply(b, time.Time{})
	return b, nil
}

func (k *Keeper) takeFirst() *resource.Batch {
	k.mu.Lock()
	b, taken := k.first, k.taken
	k.first = nil
	k.mu.Unlock()
	if b != nil {
		k.apply(*b, taken)
	}
	return b
}

func (k *Keeper) apply(b resource.Batch, taken time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if b.Reset {
		clear(k.objects)
		k.resets++
	}
	for _, c := range b.Changes {
		ref := c.Ref
		ref.UID = ""
		k.touched[ref.Kind]++
		if c.Object == nil {
			delete(k.objects, ref)
		} else {
			k.objects[ref] = c.Object
		}
	}
	k.at, k.taken, k.whole = b.At, taken, k.whole && !b.Reset || b.Synced
	close(k.moved)
	k.moved = make(chan struct{})
}

// enforced asks for a save of what is in force now.
func (k *Keeper) enforced() {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if !k.taken.IsZero() || k.at == (resource.Position{}) || k.at == k.done && now.Sub(k.saved) < saveAgain {
		return
	}
	k.done, k.saved = k.at, now
	select {
	case k.dirty <- struct{}{}:
	default:
	}
}

// Run saves beside the role until ctx ends, and once more then.
func (k *Keeper) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			select {
			case <-k.dirty:
				k.save()
			default:
			}
			return
		case <-k.dirty:
		}
		took := k.save()
		t := time.NewTimer(max(saveEvery, 10*took))
		select {
		case <-ctx.Done():
			t.Stop()
		case <-t.C:
		}
	}
}

func (k *Keeper) save() time.Duration {
	begun := time.Now()
	k.mu.Lock()
	at, objects := k.at, maps.Clone(k.objects)
	k.mu.Unlock()
	var b bytes.Buffer
	b.WriteString(payloadForm + "\n")
	var err error
	for _, o := range objects {
		var line []byte
		if line, err = o.Stored(); err != nil {
			break
		}
		b.Write(line)
		b.WriteByte('\n')
	}
	if err == nil {
		err = k.file.Save(Snapshot{Epoch: at.Epoch, Number: at.Revision, Time: k.now(), Payload: b.Bytes()})
	}
	if err != nil {
		k.log.Error("last-known-good not saved", "role", k.file.place.Role, "err", err)
	}
	k.mu.Lock()
	k.failed = err
	k.mu.Unlock()
	return time.Since(begun)
}
