package gate_test

import (
	"context"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
)

// keyed sends a request with a key; body stands for what was sent.
func (c *cell) keyed(a identity.Actor, key, body string, changes ...gate.Change) ([]gate.Result, error) {
	return c.Apply(context.Background(), gate.Request{Actor: a, Changes: changes, IdempotencyKey: key, Hash: sha256.Sum256([]byte(body))})
}

func TestARetriedWriteIsOneWrite(t *testing.T) {
	c := newCell(t)
	changes := []gate.Change{c.change(shop), c.change(site("platform", "b", "", "b.test"))}
	first, err := c.keyed(operator, "k", "x", changes...)
	if err != nil || first[0].Replayed {
		t.Fatalf("%+v %v", first, err)
	}
	at := c.At()
	same := func(what string) {
		t.Helper()
		again, err := c.keyed(operator, "k", "x", changes...)
		if err != nil || len(again) != 2 || c.At() != at {
			t.Fatalf("%s: %+v %v", what, again, err)
		}
		for i, r := range again {
			want := first[i]
			if !r.Replayed || r.Revision != want.Revision || r.Ref != want.Ref || r.Created != want.Created || r.Object.Metadata.UID != want.Object.Metadata.UID {
				t.Errorf("%s: %+v, want %+v", what, r, want)
			}
		}
	}
	same("at once")
	_, err = c.keyed(operator, "k", "other", changes...)
	wantCode(t, err, fault.Invalid)
	// Keys belong to their actor, and what is refused is not remembered.
	_, err = c.keyed(dayzeroService, "k", "x", changes[0])
	wantCode(t, err, fault.NotFound)
	_, err = c.keyed(operator, "refused", "x", changes...)
	wantCode(t, err, fault.Conflict)
	if _, err = c.keyed(operator, "refused", "y", c.change(site("platform", "c", "", "c.test"))); err != nil {
		t.Error(err)
	}
	at = c.At()
	c.reopen()
	same("after a restart")

	// The record moved on; the answer is still the one that was given.
	next, err := c.patch(operator, first[0], map[string]any{"spec": map[string]any{"hosts": []any{"new.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	at = c.At()
	same("after a later change")
	if err := c.remove(operator, next); err != nil {
		t.Fatal(err)
	}
	at = c.At()
	same("after a deletion")

	c.clock.advance(24*time.Hour + time.Second)
	again, err := c.keyed(operator, "k", "x", changes[0])
	if err != nil || again[0].Replayed || !again[0].Created {
		t.Errorf("after a day: %+v %v", again, err)
	}
	c.check()
}

func TestConcurrentDuplicatesAreOneWrite(t *testing.T) {
	c := newCell(t)
	before := c.LogSize()
	results, errs := make([][]gate.Result, 5), make([]error, 5)
	var calls []func()
	for i := range results {
		body := "x"
		if i == 4 {
			body = "y"
		}
		calls = append(calls, func() { results[i], errs[i] = c.keyed(operator, "k", body, c.change(shop)) })
	}
	c.Together(calls...)
	for i := range 4 {
		if errs[i] != nil || results[i][0].Revision != results[0][0].Revision || results[i][0].Replayed != (i > 0) || !results[i][0].Created {
			t.Errorf("%d: %+v %v", i, results[i], errs[i])
		}
	}
	wantCode(t, errs[4], fault.Invalid)
	if c.LogSize() != before+1 {
		t.Errorf("%d leaves", c.LogSize()-before)
	}
}

func TestAReplayTellsUnchangedAndDeletedApart(t *testing.T) {
	c := newCell(t)
	r := c.must(shop)
	same := gate.Change{Op: gate.Put, Ref: r.Ref, Object: c.object(shop), Revision: r.Revision}
	gone := gate.Change{Op: gate.Delete, Ref: r.Ref, Revision: r.Revision}
	first, err := c.keyed(operator, "k", "x", same, gone)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.keyed(operator, "k", "x", same, gone)
	if err != nil {
		t.Fatal(err)
	}
	for i := range first {
		a, b := first[i], again[i]
		if a.Unchanged != b.Unchanged || a.Created != b.Created || a.Revision != b.Revision || (a.Object == nil) != (b.Object == nil) || a.Ref != b.Ref {
			t.Errorf("%d: %+v, then %+v", i, a, b)
		}
	}
}

func TestAReplayShowsNothingToWhoMayNoLongerRead(t *testing.T) {
	c := newCell(t)
	c.must(tenant("acme"))
	ann := c.staff("acme", "ann", "web", web)
	change := c.change(site("acme", "s", "labels: {team: web}", "s.test"))
	if _, err := c.keyed(ann, "k", "x", change); err != nil {
		t.Fatal(err)
	}
	b, err := c.Get(t.Context(), operator, c.object("kind: RoleBinding\nmetadata: {tenant: acme, name: ann-web}\nspec: {role: web, subjects: [{kind: User, name: ann}]}\n").Ref())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.do(operator, gate.Change{Op: gate.Delete, Ref: b.Ref(), Revision: b.Metadata.Revision}); err != nil {
		t.Fatal(err)
	}
	_, err = c.keyed(ann, "k", "x", change)
	wantCode(t, err, fault.NotFound)
}
