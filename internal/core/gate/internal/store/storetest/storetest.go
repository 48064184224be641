// Package storetest is the conformance suite that every engine of the record
// store passes. It owns what a store.Store promises beyond its Go types, and
// knows no engine.
package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/dun-sec/dun/internal/core/gate/internal/store"
)

// Run runs the suite. open opens the same store each time it is called within
// one t, and a new one for a new t; the store before is closed by then.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, tt := range []struct {
		name string
		run  func(*kit)
	}{
		{"head", head},
		{"a commit is whole or nothing", atomic},
		{"history", history},
		{"changes", changes},
		{"live records", records},
		{"leaves", leaves},
		{"hashes", hashes},
		{"replies", replies},
		{"sessions", sessions},
		{"statuses", statuses},
		{"erasure", erasure},
		{"reads see every commit that returned", visible},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := &kit{T: t, open: open}
			k.Store = open(t)
			t.Cleanup(func() {
				if err := k.Close(); err != nil {
					t.Error(err)
				}
			})
			tt.run(k)
		})
	}
}

// kit is a store and the group that grows on it.
type kit struct {
	*testing.T
	store.Store
	open func(*testing.T) store.Store
	head store.Head
}

// both runs check now and once more after the store was closed and opened.
func (k *kit) both(check func()) {
	k.Helper()
	check()
	if err := k.Close(); err != nil {
		k.Fatal(err)
	}
	k.Store = k.open(k.T)
	check()
}

// commit writes g under the next head.
func (k *kit) commit(g store.Group) {
	k.Helper()
	if err := k.try(g); err != nil {
		k.Fatal(err)
	}
}

func (k *kit) try(g store.Group) error {
	h := k.head
	h.Cell, h.Epoch = "testcell", "epoch"
	for _, c := range g.Changes {
		h.Revision, h.Time = c.Revision, c.Time
	}
	h.Size += int64(len(g.Leaves))
	h.Root = sha256.Sum256([]byte(fmt.Sprint(h.Size)))
	g.Head = h
	err := k.Commit(context.Background(), &g)
	if err == nil {
		k.head = h
	}
	return err
}

func change(rev uint64, name, data string) store.Change {
	c := store.Change{
		Revision: rev, Kind: "Site", Tenant: "acme", Name: name, UID: "uid-" + name, Action: "update", Actor: "User acme/ann",
		Request: "req", Time: int64(rev) * 10, Seq: rev - 1,
	}
	if data != "" {
		c.Data = []byte(data)
	}
	return c
}

func same[V any](k *kit, what string, got, want V) {
	k.Helper()
	if !reflect.DeepEqual(got, want) {
		k.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

func ok[V any](k *kit) func(V, error) V {
	return func(v V, err error) V {
		k.Helper()
		if err != nil {
			k.Fatal(err)
		}
		return v
	}
}

func head(k *kit) {
	if _, err := k.Head(k.Context()); !errors.Is(err, store.ErrNotFound) {
		k.Errorf("a new store: %v", err)
	}
	k.commit(store.Group{Changes: []store.Change{change(1, "a", "1")}, Leaves: []store.Leaf{leaf(0)}})
	k.commit(store.Group{Changes: []store.Change{change(2, "a", "2")}, Leaves: []store.Leaf{leaf(1)}})
	k.both(func() { same(k, "head", ok[store.Head](k)(k.Head(k.Context())), k.head) })
	if _, err := k.Change(k.Context(), 3); !errors.Is(err, store.ErrNotFound) {
		k.Errorf("a revision that is not there: %v", err)
	}
}

func atomic(k *kit) {
	k.commit(store.Group{Changes: []store.Change{change(1, "a", "1")}, Leaves: []store.Leaf{leaf(0)}, Hashes: []tlog.Hash{{1}}})
	before := k.head
	session := store.Session{Hash: make([]byte, 32), Kind: "User", Tenant: "acme", Name: "ann", Epoch: "epoch"}
	for name, g := range map[string]store.Group{
		"a revision twice": {Changes: []store.Change{change(2, "b", "2"), change(1, "c", "3")}, Leaves: []store.Leaf{leaf(1)}},
		"a leaf twice":     {Changes: []store.Change{change(2, "b", "2")}, Leaves: []store.Leaf{leaf(1), leaf(0)}, Open: []store.Session{session}},
		"a hash twice":     {Changes: []store.Change{change(2, "b", "2")}, Leaves: []store.Leaf{leaf(1)}, Hashes: []tlog.Hash{{2}}, Open: []store.Session{session}},
		"a session twice":  {Changes: []store.Change{change(2, "b", "2")}, Replies: []store.Reply{reply("k", 1)}, Open: []store.Session{session, session}},
	} {
		if err := k.try(g); err == nil {
			k.Errorf("%s was taken", name)
		}
	}
	k.both(func() {
		same(k, "head", ok[store.Head](k)(k.Head(k.Context())), before)
		same(k, "history", len(ok[[]store.Change](k)(k.Changes(k.Context(), 0, 10))), 1)
		same(k, "leaves", len(ok[[]store.Leaf](k)(k.Leaves(k.Context(), 0, 10))), 1)
		same(k, "sessions", len(ok[[]store.Session](k)(k.Sessions(k.Context()))), 0)
		same(k, "statuses", len(ok[[]store.Status](k)(k.Statuses(k.Context()))), 0)
		if _, err := k.Reply(k.Context(), "User acme/ann", "k"); !errors.Is(err, store.ErrNotFound) {
			k.Errorf("reply: %v", err)
		}
	})
	k.commit(store.Group{Changes: []store.Change{change(2, "b", "2")}, Leaves: []store.Leaf{leaf(1)}})
}

func history(k *kit) {
	g := store.Group{}
	for rev := range uint64(9) {
		g.Changes = append(g.Changes, change(rev+1, []string{"a", "b", "c"}[rev%3], fmt.Sprint("data ", rev+1)))
	}
	g.Changes = append(g.Changes, change(10, "a", ""))
	k.commit(g)
	revisions := func(list []store.Change) (out []uint64) {
		for _, c := range list {
			out = append(out, c.Revision)
		}
		return out
	}
	of := func(name string, before uint64, limit int) []uint64 {
		return revisions(ok[[]store.Change](k)(k.History(k.Context(), "Site", "acme", name, before, limit)))
	}
	k.both(func() {
		same(k, "newest first", of("a", 0, 100), []uint64{10, 7, 4, 1})
		same(k, "limit", of("a", 0, 2), []uint64{10, 7})
		same(k, "below", of("a", 7, 100), []uint64{4, 1})
		same(k, "below nothing", of("a", 1, 100), nil)
		same(k, "another name", of("b", 0, 100), []uint64{8, 5, 2})
		same(k, "no record", of("d", 0, 100), nil)
		same(k, "one change", ok[store.Change](k)(k.Change(k.Context(), 4)), change(4, "a", "data 4"))
		deleted := ok[store.Change](k)(k.Change(k.Context(), 10))
		if deleted.Data != nil {
			k.Errorf("a deletion has data: %q", deleted.Data)
		}
	})
}

func changes(k *kit) {
	var want []store.Change
	for rev := range uint64(5) {
		want = append(want, change(rev*10+10, fmt.Sprint("n", rev), "x"))
	}
	k.commit(store.Group{Changes: want})
	k.both(func() {
		same(k, "all", ok[[]store.Change](k)(k.Changes(k.Context(), 0, 100)), want)
		same(k, "above", ok[[]store.Change](k)(k.Changes(k.Context(), 20, 2)), want[2:4])
		same(k, "above all", len(ok[[]store.Change](k)(k.Changes(k.Context(), 50, 2))), 0)
	})
}

func records(k *kit) {
	k.commit(store.Group{Changes: []store.Change{change(1, "a", "1"), change(2, "b", "2"), change(3, "a", "3"), change(4, "c", "4")}})
	k.commit(store.Group{Changes: []store.Change{change(5, "c", ""), change(6, "b", ""), change(7, "b", "7")}})
	k.both(func() {
		got := map[string]bool{}
		err := k.Records(k.Context(), func(b []byte) error { got[string(b)] = true; return nil })
		if err != nil {
			k.Fatal(err)
		}
		same(k, "live", got, map[string]bool{"3": true, "7": true})
	})
	stop := errors.New("stop")
	if err := k.Records(k.Context(), func([]byte) error { return stop }); !errors.Is(err, stop) {
		k.Errorf("an error of the reader: %v", err)
	}
}

func hashes(k *kit) {
	k.commit(store.Group{Hashes: []tlog.Hash{{1}, {2}, {3}}})
	k.commit(store.Group{FirstHash: 3, Hashes: []tlog.Hash{{4}}})
	k.both(func() {
		same(k, "in the order asked", ok[[]tlog.Hash](k)(k.ReadHashes([]int64{3, 0, 2, 0})), []tlog.Hash{{4}, {1}, {3}, {1}})
		same(k, "none", len(ok[[]tlog.Hash](k)(k.ReadHashes(nil))), 0)
		if _, err := k.ReadHashes([]int64{0, 4}); err == nil {
			k.Error("a hash that is not there was read")
		}
	})
}

func visible(k *kit) {
	for rev := uint64(1); rev <= 50; rev++ {
		k.commit(store.Group{Changes: []store.Change{change(rev, "a", "x")}})
		done := make(chan store.Change)
		go func() { defer close(done); c, _ := k.Change(context.Background(), rev); done <- c }()
		if c := <-done; c.Revision != rev {
			k.Fatalf("revision %d is not seen after its commit", rev)
		}
		<-done
	}
}
