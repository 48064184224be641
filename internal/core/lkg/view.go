package lkg

import (
	"context"
	"slices"

	"github.com/dun-sec/dun/internal/core/resource"
)

// View is what roles beside the one that reads Feed follow: the records of some
// kinds as they were handed on, those of a loaded snapshot too. There may be any
// number of views; each has one reader.
func (k *Keeper) View(kinds ...string) resource.Feed {
	return &view{k: k, kinds: kinds, sent: map[resource.Ref]*resource.Object{}}
}

type view struct {
	k     *Keeper
	kinds []string
	sent  map[resource.Ref]*resource.Object
	at    resource.Position
	seen  uint64 // resets and changes of its kinds
	begun bool
}

// Next implements resource.Feed.
func (v *view) Next(ctx context.Context) (resource.Batch, error) {
	for {
		b, moved, ok := v.look()
		if ok {
			return b, nil
		}
		select {
		case <-ctx.Done():
			return resource.Batch{At: v.at}, ctx.Err()
		case <-moved:
		}
	}
}

// look is what moved since the last batch; while nothing did, moved tells when to
// look again.
func (v *view) look() (b resource.Batch, moved <-chan struct{}, ok bool) {
	k := v.k
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.whole || v.begun && k.at == v.at {
		return b, k.moved, false
	}
	seen := k.resets
	for _, kind := range v.kinds {
		seen += k.touched[kind]
	}
	if v.begun && seen == v.seen {
		v.at = k.at
		return resource.Batch{Synced: true, At: k.at}, k.moved, true
	}
	v.seen = seen
	now := map[resource.Ref]*resource.Object{}
	for ref, o := range k.objects {
		if !slices.Contains(v.kinds, ref.Kind) {
			continue
		}
		now[ref] = o
		if v.sent[ref] != o {
			b.Changes = append(b.Changes, resource.Change{Ref: o.Ref(), Object: o, Revision: o.Metadata.Revision})
		}
	}
	for ref, o := range v.sent {
		if now[ref] == nil {
			b.Changes = append(b.Changes, resource.Change{Ref: o.Ref(), Revision: k.at.Revision})
		}
	}
	b.Reset, b.Synced, b.At = !v.begun, true, k.at
	v.sent, v.at, v.begun = now, k.at, true
	return b, k.moved, true
}
