package attacks

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/bytes"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/kinds/shield"
	"github.com/dun-sec/dun/internal/lab"
)

var protected = resource.Ref{Kind: "ProtectedAddress", Tenant: "platform", Name: "shop"}

// rack is a shelf on a real gate and a real store, whose time passes by hand.
type rack struct {
	*scene
	*shelf
	bytes *bytes.Store
}

func newRack(t *testing.T) *rack {
	s := newScene(t)
	r := &rack{scene: s, bytes: lab.Bytes(t, s.g, func() time.Time { return s.now })}
	r.reopen()
	return r
}

func (r *rack) reopen() {
	r.shelf = &shelf{record: NewKeeper().record, opt: EvidenceOptions{Gate: r.g, Store: r.bytes, Skip: "dun-canary", Now: func() time.Time { return r.now }, Log: slog.New(slog.DiscardHandler)},
		actor: identity.Service(shield.AttackOwner), kept: map[bytes.Ref]bytes.Info{}}
	r.takeUp(r.t.Context())
	r.sweep(r.t.Context())
}

// record makes the record of an attack that begins now.
func (r *rack) record() *resource.Object {
	r.t.Helper()
	f := &flood{tenant: protected.Tenant, address: "198.51.100.7/32", object: protected.Name, vectors: []string{"syn"}, start: r.now}
	if err := r.w.openFlood(r.t.Context(), f); err != nil {
		r.t.Fatal(err)
	}
	return r.read(f.record)
}

func (r *rack) read(ref resource.Ref) *resource.Object {
	r.t.Helper()
	o, err := r.g.Get(r.t.Context(), operator, ref)
	if err != nil {
		r.t.Fatal(err)
	}
	return o
}

func (r *rack) evidence(n byte, final bool) traffic.Evidence {
	return traffic.Evidence{Of: protected, Attack: "a1", Start: r.now, Final: final, Packets: int(n), Capture: traffic.Capture([]traffic.Frame{{Time: r.now, Length: 60, Data: []byte{n}}})}
}

func (r *rack) objects() int {
	r.t.Helper()
	list, err := r.bytes.List(r.t.Context(), "Attack", "", 100)
	if err != nil {
		r.t.Fatal(err)
	}
	return len(list)
}

func TestEvidenceIsKeptUnderItsRecord(t *testing.T) {
	r := newRack(t)
	r.take(t.Context(), r.evidence(1, false)) // before its record is there
	if r.objects() != 0 || len(r.waiting) != 1 {
		t.Fatal("kept without a record")
	}
	o := r.record()
	r.retry(t.Context())
	first := shield.EvidenceOf(r.read(o.Ref()))
	if first == nil || first.Packets != 1 || r.objects() != 1 || len(r.waiting) != 0 {
		t.Fatal(first, r.objects())
	}
	r.take(t.Context(), r.evidence(2, true))
	last := shield.EvidenceOf(r.read(o.Ref()))
	if last == nil || last.Packets != 2 || last.Reference == first.Reference || r.objects() != 1 {
		t.Fatal(last, r.objects())
	}
	i, err := r.bytes.Stat(t.Context(), bytes.Ref(last.Reference))
	if err != nil || i.Owner != o.Ref() || !i.Retain.Equal(i.Created.Add(evidenceHold)) || int(i.Size) != last.Bytes {
		t.Fatal(i, err)
	}
	// The record goes; what is held stays until it is held no longer.
	if _, err := r.g.Apply(t.Context(), gate.Request{Actor: operator, Changes: []gate.Change{{Op: gate.Delete, Ref: o.Ref(), Revision: r.read(o.Ref()).Metadata.Revision}}}); err != nil {
		t.Fatal(err)
	}
	if r.sweep(t.Context()); r.objects() != 1 {
		t.Fatal("held bytes are gone")
	}
	r.scene.now = r.scene.now.Add(evidenceHold + time.Hour)
	if r.sweep(t.Context()); r.objects() != 0 || len(r.kept) != 0 {
		t.Fatal("bytes without a record are there still")
	}
}

func TestOldAndOrphanedEvidenceIsErasedAtStart(t *testing.T) {
	r := newRack(t)
	o := r.record()
	if err := r.shelf.keep(t.Context(), o, r.evidence(1, true)); err != nil {
		t.Fatal(err)
	}
	r.end(o.Ref())
	// As a crash between the two leaves it; and one of a record of the same name.
	for _, uid := range []string{o.Metadata.UID, "other"} {
		owner := o.Ref()
		owner.UID = uid
		if _, err := r.bytes.Put(t.Context(), operator, owner, time.Time{}, io.LimitReader(zero{}, 9), 10); err != nil {
			t.Fatal(err)
		}
	}
	if r.reopen(); r.objects() != 1 {
		t.Fatalf("%d", r.objects())
	}
	r.scene.now = r.scene.now.Add(evidenceLife - time.Hour)
	if r.reopen(); r.objects() != 1 {
		t.Fatal("it is gone while its record is there")
	}
	r.scene.now = r.scene.now.Add(2 * time.Hour)
	if r.reopen(); r.objects() != 0 {
		t.Fatal("it is there for ever")
	}
}

type zero struct{}

func (zero) Read(p []byte) (int, error) { return len(p), nil }

func (r *rack) end(ref resource.Ref) {
	r.t.Helper()
	if _, err := r.g.Apply(r.t.Context(), gate.Request{Actor: operator, Changes: []gate.Change{{Op: gate.Act, Ref: ref, Verb: "end", Input: &shield.EndInput{}, Revision: r.read(ref).Metadata.Revision}}}); err != nil {
		r.t.Fatal(err)
	}
}

// Whoever attacks does not choose what is kept: a tenant's oldest gives way, and
// what is held is bounded.
func TestEvidenceIsBounded(t *testing.T) {
	r := newRack(t)
	at := func(n int, tenant string, held bool) {
		i := bytes.Info{Ref: bytes.Ref(tenant + time.Unix(int64(n), 0).String()), Owner: resource.Ref{Kind: "Attack", Tenant: tenant}, Created: r.scene.now.Add(time.Duration(n) * time.Second)}
		if held {
			i.Retain = r.scene.now.Add(time.Hour)
		}
		r.kept[i.Ref] = i
	}
	f := &frail{Store: r.bytes}
	r.shelf.opt.Store = f
	for n := range maxOfTenant {
		at(n, "platform", n < maxHeld)
	}
	if err := r.room(t.Context(), "other"); err != nil || len(f.erased) != 0 {
		t.Fatal(err, f.erased)
	}
	if err := r.room(t.Context(), "platform"); err != nil || len(f.erased) != 1 || len(r.kept) != maxOfTenant-1 {
		t.Fatal(err, f.erased)
	}
	if want := bytes.Ref("platform" + time.Unix(maxHeld, 0).String()); f.erased[0] != want {
		t.Errorf("%s went, not the oldest that is not held", f.erased[0])
	}
	r.hold(t.Context(), bytes.Info{Ref: "b-x", Owner: resource.Ref{Tenant: "platform"}, Created: r.scene.now})
	if f.retained != 0 {
		t.Error("more is held than may be")
	}
	clear(r.kept)
	for n := range maxOfTenant {
		at(n, "platform", true)
	}
	if err := r.room(t.Context(), "platform"); !fault.Is(err, fault.Exhausted) {
		t.Error(err)
	}
	for n := range 3 * maxWaiting {
		e := r.evidence(1, false)
		e.Start = e.Start.Add(time.Duration(n) * time.Hour)
		r.take(t.Context(), e)
	}
	if len(r.waiting) != maxWaiting {
		t.Error(len(r.waiting))
	}
	k := NewKeeper()
	for range 3 * maxWaiting {
		k.Keep(r.evidence(1, false)) // nobody takes it: it does not wait
	}
}

// frail is a store whose disk fails.
type frail struct {
	Store
	erased   []bytes.Ref
	retained int
}

func (f *frail) Put(context.Context, identity.Actor, resource.Ref, time.Time, io.Reader, int64) (bytes.Info, error) {
	return bytes.Info{}, errors.New("the disk is gone")
}
func (f *frail) Erase(_ context.Context, _ identity.Actor, r bytes.Ref) error {
	f.erased = append(f.erased, r)
	return nil
}
func (f *frail) Retain(context.Context, bytes.Ref, time.Time) error { f.retained++; return nil }

func TestADiskThatFailsLosesEvidenceAlone(t *testing.T) {
	r := newRack(t)
	r.shelf.opt.Store = &frail{Store: r.bytes}
	o := r.record()
	r.take(t.Context(), r.evidence(1, true))
	if e := shield.EvidenceOf(r.read(o.Ref())); e != nil || len(r.waiting) != 0 {
		t.Error(e)
	}
}

// Who may read the record and the tenant's evidence gets it, each time with a
// leaf; others learn nothing.
func TestWhoMayReadEvidence(t *testing.T) {
	r := newRack(t)
	ann := func(tenant string) identity.Actor {
		return identity.Actor{Principal: resource.Ref{Kind: "User", Tenant: tenant, Name: "ann"}, Door: "test"}
	}
	for _, y := range []string{
		"kind: Tenant\nmetadata: {tenant: platform, name: acme}\nspec: {}\n", "kind: User\nmetadata: {tenant: acme, name: ann}\nspec: {}\n", "kind: User\nmetadata: {tenant: platform, name: ann}\nspec: {}\n",
		"kind: Policy\nmetadata: {tenant: acme, name: all}\nspec: {cedar: 'permit (principal == User::\"acme/ann\", action, resource);'}\n",
		"kind: Policy\nmetadata: {tenant: platform, name: some}\nspec: {cedar: 'permit (principal == User::\"platform/ann\", action == Action::\"attack.read\", resource);'}\n",
	} {
		docs, err := resource.ParseYAML([]byte(y))
		if err != nil {
			t.Fatal(err)
		}
		o, _, err := r.g.Registry().Decode(docs[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.g.Apply(t.Context(), gate.Request{Actor: operator, Changes: []gate.Change{{Op: gate.Put, Ref: o.Ref(), Object: o}}}); err != nil {
			t.Fatal(err)
		}
	}
	o := r.record()
	k := NewKeeper()
	if _, err := k.Open(t.Context(), operator, "platform", o.Metadata.Name); !fault.Is(err, fault.Unavailable) {
		t.Error(err)
	}
	k.opt = &r.shelf.opt
	if _, err := k.Open(t.Context(), operator, "platform", o.Metadata.Name); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	e := r.evidence(1, true)
	if err := r.shelf.keep(t.Context(), o, e); err != nil {
		t.Fatal(err)
	}
	leaves := func() (n int) {
		book, err := r.g.Book(operator, "")
		if err != nil {
			t.Fatal(err)
		}
		list, err := book.Leaves(t.Context(), 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range list {
			leaf, err := audit.ParseLeaf(l.Leaf)
			if err != nil {
				t.Fatal(err)
			}
			if leaf.Kind == "Attack" && leaf.Action == "evidence" && leaf.Class == audit.Export && string(l.Values[audit.FieldName]) == o.Metadata.Name {
				n++
			}
		}
		return n
	}
	c, err := k.Open(t.Context(), operator, "platform", o.Metadata.Name)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil || string(b) != string(e.Capture) {
		t.Error(b, err)
	}
	if c.Close(); leaves() != 1 {
		t.Error("no leaf tells of it")
	}
	if _, err := k.Open(t.Context(), ann("acme"), "platform", o.Metadata.Name); !fault.Is(err, fault.NotFound) {
		t.Error("another tenant:", err)
	}
	if _, err := k.Open(t.Context(), ann("platform"), "platform", o.Metadata.Name); !fault.Is(err, fault.Forbidden) {
		t.Error("who may read the record alone:", err)
	}
	// A reference to bytes of another record leads nowhere.
	r.scene.now = r.scene.now.Add(time.Hour)
	other := r.record()
	in := shield.EvidenceOf(r.read(o.Ref()))
	if _, err := r.g.Apply(t.Context(), gate.Request{Actor: operator, Changes: []gate.Change{{Op: gate.Act, Ref: other.Ref(), Verb: "attach", Input: in, Revision: other.Metadata.Revision}}}); !fault.Is(err, fault.Forbidden) {
		t.Error("an operator attaches:", err)
	}
	if _, err := r.g.Apply(t.Context(), gate.Request{Actor: r.shelf.actor, Changes: []gate.Change{{Op: gate.Act, Ref: other.Ref(), Verb: "attach", Input: in, Revision: other.Metadata.Revision}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Open(t.Context(), operator, "platform", other.Metadata.Name); !fault.Is(err, fault.NotFound) {
		t.Error("bytes of another record:", err)
	}
	if leaves() != 1 {
		t.Error("a refusal made a leaf of a download")
	}
}
