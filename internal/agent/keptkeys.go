package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/lkg"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
)

const (
	keptKeysPause = time.Second    // keys that are opened together are written together
	keptKeysEvery = 24 * time.Hour // the file is written anew, since last-known-good has an age limit
)

// keptKeys are the keys of certificates that the edge of this node opened, for
// a start while the record store does not open and no leaf can be written: each
// was told to the audit log when it was opened. They lie beside last-known-good
// under its seal, and in memory only until they are written.
type keptKeys struct {
	file  *lkg.File
	at    func() (resource.Position, bool) // false = the store is not open, and nothing is written
	need  func(owner resource.Ref, ref secret.Ref) bool
	now   func() time.Time
	log   *slog.Logger
	dirty chan struct{} // one slot

	mu      sync.Mutex
	pending map[secret.Ref]keptKey
}

type keptKey struct {
	Owner   resource.Ref `json:"owner"`
	Purpose string       `json:"purpose"`
	Content []byte       `json:"content"`
}

// add keeps a key that was just opened.
func (k *keptKeys) add(owner resource.Ref, ref secret.Ref, purpose string, v secret.Value) {
	k.mu.Lock()
	k.pending[ref] = keptKey{owner, purpose, append([]byte(nil), v.Reveal()...)}
	k.mu.Unlock()
	select {
	case k.dirty <- struct{}{}:
	default:
	}
}

// open gives a key that was kept, to the record and for the purpose that it was
// opened for then.
func (k *keptKeys) open(owner resource.Ref, ref secret.Ref, purpose string) (secret.Value, error) {
	all, err := k.load()
	if err != nil {
		return secret.Value{}, fmt.Errorf("read the keys that were kept: %w", err)
	}
	defer wipe(all)
	x, ok := all[ref]
	if !ok || x.Owner != owner || x.Purpose != purpose {
		return secret.Value{}, errors.New("the key was not kept")
	}
	return secret.New(append([]byte(nil), x.Content...)), nil
}

func (k *keptKeys) load() (map[secret.Ref]keptKey, error) {
	s, err := k.file.Load(k.now())
	if err != nil {
		return nil, err
	}
	defer clear(s.Payload)
	all := map[secret.Ref]keptKey{}
	return all, json.Unmarshal(s.Payload, &all)
}

func wipe(all map[secret.Ref]keptKey) {
	for _, x := range all {
		clear(x.Content)
	}
}

// save writes what is needed: of the file as it was and of what came since.
func (k *keptKeys) save() error {
	at, ok := k.at()
	if !ok {
		return nil
	}
	all, err := k.load()
	if err != nil {
		all = map[secret.Ref]keptKey{} // whatever it was: each start opens every key anew
	}
	k.mu.Lock()
	for ref, x := range k.pending {
		all[ref] = x
	}
	clear(k.pending)
	k.mu.Unlock()
	defer wipe(all)
	for ref, x := range all {
		if !k.need(x.Owner, ref) {
			clear(x.Content)
			delete(all, ref)
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		return err
	}
	defer clear(b)
	return k.file.Save(lkg.Snapshot{Epoch: at.Epoch, Number: at.Revision, Time: k.now(), Payload: b})
}

// run writes what is added until ctx ends, and then once more.
func (k *keptKeys) run(ctx context.Context) {
	again := time.NewTicker(keptKeysEvery)
	defer again.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-again.C:
		case <-k.dirty:
			pause := time.NewTimer(keptKeysPause)
			select {
			case <-ctx.Done():
			case <-pause.C:
			}
			pause.Stop()
		}
		if err := k.save(); err != nil {
			k.log.Warn("keys of certificates are not kept for a start without records", "err", err)
		}
	}
}
