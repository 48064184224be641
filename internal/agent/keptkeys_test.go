package agent

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/lkg"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
)

func TestKeysAreKeptForAStartWithoutRecords(t *testing.T) {
	_, sign, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := lkg.Keys{Sign: sign}
	rand.Read(keys.Seal[:])
	dir, now, open := t.TempDir(), time.Now(), true
	gone := map[secret.Ref]bool{}
	start := func(seal lkg.Keys) *keptKeys {
		return &keptKeys{
			file: lkg.Open(dir, lkg.Place{Role: "edge-keys", Cell: "c", Node: "n1"}, seal), pending: map[secret.Ref]keptKey{}, dirty: make(chan struct{}, 1),
			at:   func() (resource.Position, bool) { return resource.Position{Epoch: "e", Revision: 7}, open },
			need: func(_ resource.Ref, ref secret.Ref) bool { return !gone[ref] }, now: func() time.Time { return now }, log: slog.New(slog.DiscardHandler),
		}
	}
	owner := resource.Ref{Kind: "Certificate", Tenant: "acme", Name: "shop", UID: "u"}
	other := owner
	other.UID = "v"
	const canary = "canary-9912-kept"
	k := start(keys)
	for _, ref := range []secret.Ref{"s-1", "s-2"} {
		k.add(owner, ref, "certificate-key", secret.New([]byte(canary+string(ref))))
		if err := k.save(); err != nil {
			t.Fatal(err)
		}
	}
	if len(k.pending) != 0 {
		t.Error("keys that were written stay in memory")
	}
	b, err := os.ReadFile(k.file.Path())
	if err != nil || bytes.Contains(b, []byte(canary)) || bytes.Contains(b, []byte("certificate-key")) {
		t.Errorf("the file shows it, or is not there: %v", err)
	}
	again := start(keys)
	for _, tt := range []struct {
		owner   resource.Ref
		ref     secret.Ref
		purpose string
		ok      bool
	}{{owner, "s-1", "certificate-key", true}, {owner, "s-2", "certificate-key", true}, {other, "s-1", "certificate-key", false}, {owner, "s-1", "other", false}, {owner, "s-3", "certificate-key", false}} {
		v, err := again.open(tt.owner, tt.ref, tt.purpose)
		if (err == nil) != tt.ok || tt.ok && string(v.Reveal()) != canary+string(tt.ref) {
			t.Errorf("%+v: %q %v", tt, v.Reveal(), err)
		}
	}
	stranger := keys
	rand.Read(stranger.Seal[:])
	if _, err := start(stranger).open(owner, "s-1", "certificate-key"); err == nil {
		t.Error("another node reads it")
	}
	gone["s-1"] = true // its certificate was replaced
	if err := again.save(); err != nil {
		t.Fatal(err)
	}
	if _, err := again.open(owner, "s-1", "certificate-key"); err == nil {
		t.Error("a key that nothing needs stays")
	}
	open = false
	again.add(owner, "s-4", "certificate-key", secret.New([]byte(canary)))
	if err := again.save(); err != nil {
		t.Fatal(err)
	}
	if _, err := again.open(owner, "s-4", "certificate-key"); err == nil {
		t.Error("it is written while the store is closed")
	}
	now = now.Add(lkg.MaxAge + time.Hour)
	if _, err := again.open(owner, "s-2", "certificate-key"); err == nil {
		t.Error("it is good for ever")
	}
}
