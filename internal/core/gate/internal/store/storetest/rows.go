package storetest

import (
	"bytes"
	"errors"

	"github.com/dun-sec/dun/internal/core/gate/internal/store"
)

func leaf(seq uint64) store.Leaf {
	return store.Leaf{
		Seq: seq, Body: []byte{byte(seq), 1}, Salts: bytes.Repeat([]byte{byte(seq)}, 7*32), Tenant: []byte("acme"), Actor: []byte("User acme/ann"),
		Context: []byte("{}"),
	}
}

// A nil value is absent, and nothing else is.
func leaves(k *kit) {
	full := leaf(1)
	full.Name, full.Reason, full.Old, full.New = []byte("a"), []byte("why"), 1, 2
	gone := leaf(2)
	gone.Name, gone.Old = []byte("a"), 2
	lost := leaf(3) // commits to a revision that history no longer has
	lost.Name, lost.Old, lost.New = []byte("a"), 99, 1
	nameless := leaf(0)
	nameless.Tenant = nil
	k.commit(store.Group{
		Changes: []store.Change{change(1, "a", "one"), change(2, "a", "\x00two\xff"), change(3, "a", "")},
		Leaves:  []store.Leaf{nameless, full, gone, lost},
	})
	full.OldData, full.NewData = []byte("one"), []byte("\x00two\xff")
	gone.OldData, lost.NewData = []byte("\x00two\xff"), []byte("one")
	want := []store.Leaf{nameless, full, gone, lost}
	k.both(func() {
		same(k, "all", ok[[]store.Leaf](k)(k.Leaves(k.Context(), 0, 100)), want)
		same(k, "a page", ok[[]store.Leaf](k)(k.Leaves(k.Context(), 1, 2)), want[1:3])
		same(k, "the end", len(ok[[]store.Leaf](k)(k.Leaves(k.Context(), 4, 10))), 0)
	})
}

func reply(key string, time int64) store.Reply {
	return store.Reply{Actor: "User acme/ann", Key: key, Epoch: "epoch", Hash: []byte{1, 2}, Time: time, Results: []store.Outcome{{Revision: 1}, {Revision: 7, Unchanged: true}}}
}

func replies(k *kit) {
	other := reply("k", 5)
	other.Actor = "User acme/bob"
	k.commit(store.Group{Replies: []store.Reply{reply("k", 10), reply("old", 1), other}})
	get := func(actor, key string) (store.Reply, error) { return k.Reply(k.Context(), actor, key) }
	k.both(func() {
		for _, want := range []store.Reply{reply("k", 10), reply("old", 1), other} {
			same(k, "reply", ok[store.Reply](k)(get(want.Actor, want.Key)), want)
		}
		for _, r := range []store.Reply{{Actor: "User acme/ann", Key: "K"}, {Actor: "User acme/ann", Key: ""}, {Actor: "User acme/eve", Key: "k"}} {
			if _, err := get(r.Actor, r.Key); !errors.Is(err, store.ErrNotFound) {
				k.Errorf("%s %q: %v", r.Actor, r.Key, err)
			}
		}
	})
	// A key that is used again holds its new answer, and a purge spares what is not older.
	again := reply("old", 20)
	again.Hash = []byte{9}
	k.commit(store.Group{PurgeReply: 10, Replies: []store.Reply{again}})
	k.both(func() {
		same(k, "again", ok[store.Reply](k)(get("User acme/ann", "old")), again)
		same(k, "spared", ok[store.Reply](k)(get("User acme/ann", "k")), reply("k", 10))
		if _, err := get("User acme/bob", "k"); !errors.Is(err, store.ErrNotFound) {
			k.Errorf("purged: %v", err)
		}
	})
}

func sessions(k *kit) {
	session := func(n byte) store.Session {
		return store.Session{Hash: bytes.Repeat([]byte{n}, 32), Kind: "User", Tenant: "acme", Name: "ann", Epoch: "epoch", Created: int64(n), Expires: int64(n) + 100, Source: "192.0.2.1", Proof: "link", MFA: n%2 == 1}
	}
	all := func() map[byte]store.Session {
		out := map[byte]store.Session{}
		for _, x := range ok[[]store.Session](k)(k.Sessions(k.Context())) {
			out[x.Hash[0]] = x
		}
		return out
	}
	k.commit(store.Group{Open: []store.Session{session(1), session(2), session(3)}})
	k.commit(store.Group{Open: []store.Session{session(4), session(5)}, Revoke: [][]byte{session(2).Hash, session(5).Hash, session(9).Hash}})
	k.both(func() {
		same(k, "sessions", all(), map[byte]store.Session{1: session(1), 3: session(3), 4: session(4)})
	})
}

func statuses(k *kit) {
	status := func(name, uid string, rev uint64) store.Status {
		return store.Status{Kind: "Site", Tenant: "acme", Name: name, UID: uid, Revision: rev, Data: []byte(`{"n":"é"}`)}
	}
	all := func() map[string]store.Status {
		out := map[string]store.Status{}
		for _, x := range ok[[]store.Status](k)(k.Statuses(k.Context())) {
			out[x.Name] = x
		}
		return out
	}
	k.commit(store.Group{Statuses: []store.Status{status("a", "u1", 1), status("b", "u2", 2)}})
	k.commit(store.Group{Statuses: []store.Status{status("a", "u1", 3), status("c", "u3", 4)}})
	k.both(func() {
		same(k, "statuses", all(), map[string]store.Status{"a": status("a", "u1", 3), "b": status("b", "u2", 2), "c": status("c", "u3", 4)})
	})
	// A deletion takes the status along, and one that follows it in the group stays.
	gone := func(name string, rev uint64) store.Change {
		return store.Change{Revision: rev, Kind: "Site", Tenant: "acme", Name: name, UID: "u", Action: "delete", Actor: "x"}
	}
	k.commit(store.Group{Changes: []store.Change{gone("a", 5), gone("b", 6)}, Statuses: []store.Status{status("b", "u9", 7)}})
	k.both(func() {
		same(k, "statuses", all(), map[string]store.Status{"b": status("b", "u9", 7), "c": status("c", "u3", 4)})
	})
}

func erasure(k *kit) {
	put := func(rev uint64, name string, time int64, data string) store.Change {
		return store.Change{Revision: rev, Kind: "Site", Tenant: "acme", Name: name, UID: "u", Action: "x", Actor: "x", Time: time, Seq: rev + 100, Data: []byte(data)}
	}
	gone := put(5, "b", 50, "")
	gone.Data = nil
	leaf := func(seq uint64) store.Leaf {
		return store.Leaf{Seq: seq, Body: []byte{1}, Salts: bytes.Repeat([]byte{7}, 7*32), Tenant: []byte("acme")}
	}
	k.commit(store.Group{
		Changes: []store.Change{put(1, "a", 10, "a1"), put(2, "b", 20, "b1"), put(3, "a", 30, "a2"), put(4, "a", 40, "a3"), gone},
		Leaves:  []store.Leaf{leaf(0), leaf(1)},
	})
	expired := func(before int64, limit int) []store.Expired {
		return ok[[]store.Expired](k)(k.Expired(k.Context(), "Site", before, limit))
	}
	k.both(func() {
		same(k, "nothing out of force", len(expired(30, 10)), 0)
		same(k, "followed before", expired(31, 10), []store.Expired{{Revision: 1, Seq: 101, Next: 103}})
		same(k, "a deletion", expired(51, 10), []store.Expired{{Revision: 1, Seq: 101, Next: 103}, {Revision: 2, Seq: 102, Next: 105}, {Revision: 3, Seq: 103, Next: 104}, {Revision: 5, Seq: 105, Deletion: true}})
		same(k, "limit", len(expired(51, 2)), 2)
	})
	less := bytes.Repeat([]byte{8}, 7*32)
	k.commit(store.Group{Drop: []uint64{1, 9}, Erase: []uint64{0, 9}, Salts: []store.Salts{{Seq: 1, Salts: less}}})
	k.both(func() {
		list := ok[[]store.Leaf](k)(k.Leaves(k.Context(), 0, 10))
		if len(list) != 2 || list[0].Salts != nil || list[0].Tenant != nil || string(list[0].Body) != "\x01" || !bytes.Equal(list[1].Salts, less) {
			k.Errorf("%+v", list)
		}
		if _, err := k.Change(k.Context(), 1); !errors.Is(err, store.ErrNotFound) {
			k.Errorf("a dropped version: %v", err)
		}
		same(k, "left", len(ok[[]store.Change](k)(k.Changes(k.Context(), 0, 10))), 4)
	})
}
