package gate_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
)

// holds reports whether the cell's files hold the text anywhere.
func (c *cell) holds(text string) (where string) {
	c.t.Helper()
	for _, name := range []string{"records.db", "records.db-wal"} {
		b, err := os.ReadFile(c.file(name))
		if err == nil && bytes.Contains(b, []byte(text)) {
			where += name + " "
		}
	}
	return where
}

func TestAnErasureLeavesEveryProofValid(t *testing.T) {
	c := newCell(t)
	c.must(tenant("acme"))
	const secret = "wang-xiaoming-19870401"
	r := c.must(site("acme", "gone", "annotations: {person: "+secret+"}", "gone.test"))
	r, err := c.patch(operator, r, map[string]any{"metadata": map[string]any{"labels": map[string]any{"a": "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Erase(t.Context(), operator, key(r.Ref), "asked for")
	wantCode(t, err, fault.Conflict) // it is still there
	if err := c.remove(operator, r); err != nil {
		t.Fatal(err)
	}
	before, err := c.book("").Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	head, err := audit.OpenCheckpoint(before, c.vkey)
	if err != nil {
		t.Fatal(err)
	}
	again := c.must(site("acme", "gone", "", "gone.test")) // another record of the name stays
	if c.holds(secret) == "" {
		t.Fatal("the test cannot see what it looks for")
	}
	_, err = c.Erase(t.Context(), operator, r.Ref, " ")
	wantCode(t, err, fault.Invalid)
	_, err = c.Erase(t.Context(), user("acme", "eve"), r.Ref, "mine")
	wantCode(t, err, fault.Forbidden)
	_, err = c.Erase(t.Context(), operator, resource.Ref{Kind: "Site", Tenant: "acme", Name: "never"}, "x")
	wantCode(t, err, fault.NotFound)

	rep, err := c.Erase(t.Context(), operator, r.Ref, "request 17")
	if err != nil || rep.Versions != 3 {
		t.Fatal(rep, err)
	}
	if where := c.holds(secret); where != "" {
		t.Errorf("still in %s", where)
	}
	if n := c.check(); n.Erased != 3 {
		t.Errorf("%+v", n)
	}
	if got := c.export(t, nil); got.Withheld != 3*audit.Fields {
		t.Errorf("%+v", got)
	}
	proof, note, err := c.book("").Consistency(t.Context(), head.Size)
	if err != nil {
		t.Fatal(err)
	}
	newest, err := audit.OpenCheckpoint(note, c.vkey)
	if err != nil {
		t.Fatal(err)
	}
	if err := audit.CheckGrowth(proof, newest, head); err != nil {
		t.Error(err)
	}
	if list := c.history(operator, key(r.Ref), 0, 0); len(list) != 1 || list[0].Revision != again.Revision {
		t.Errorf("%+v", list)
	}
	list, err := c.book("").Leaves(t.Context(), uint64(head.Size+1), 1)
	if err != nil {
		t.Fatal(err)
	}
	l, _ := audit.ParseLeaf(list[0].Leaf)
	reason := string(list[0].Values[audit.FieldReason])
	if l.Class != audit.Erasure || !strings.Contains(reason, "request 17") || !strings.Contains(reason, r.Ref.UID) || strings.Contains(reason, "gone") {
		t.Errorf("%+v %s", l, reason)
	}
	c.reopen()
	c.check()
	// What comes back, as after a restore of an older file, is seen.
	c.damage(t, func(d *sql.DB) error {
		_, err := d.Exec(`INSERT INTO payload SELECT (SELECT MIN(seq) FROM leaf WHERE seq NOT IN (SELECT seq FROM payload)), salts, tenant, actor, name, old, new, reason, context FROM payload WHERE seq=0`)
		return err
	})
	_, err = c.Check(t.Context(), operator)
	wantCode(t, err, fault.Internal)
}

func TestVersionsExpireAndNothingElseDoes(t *testing.T) {
	c := newCell(t)
	put := func(label string, r gate.Result) gate.Result {
		t.Helper()
		r, err := c.patch(operator, r, map[string]any{"metadata": map[string]any{"labels": map[string]any{"n": label}}})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	day := 24 * time.Hour
	kept := c.must(site("platform", "kept", "", "kept.test"))
	old := put("first-label-of-a-person", c.must(site("platform", "old", "", "old.test")))
	gone := c.must(site("platform", "gone", "", "gone.test"))
	if err := c.remove(operator, gone); err != nil {
		t.Fatal(err)
	}
	admin := c.must("kind: User\nmetadata: {tenant: platform, name: zed}\n")
	if err := c.remove(operator, admin); err != nil {
		t.Fatal(err)
	}
	c.clock.advance(300 * day)
	old = put("second", old) // the first one is out of force from here on
	late := put("x", c.must(site("platform", "late", "", "late.test")))
	if n, err := c.Expire(t.Context()); err != nil || n != 0 {
		t.Fatal(n, err)
	}
	c.clock.advance(200 * day) // 500 days after the first, 200 after the second
	n, err := c.Expire(t.Context())
	if err != nil || n != 3 { // the creation of old, and both of gone
		t.Fatal(n, err)
	}
	for name, want := range map[string]int{"kept": 1, "old": 2, "late": 2} {
		if got := c.history(operator, resource.Ref{Kind: "Site", Tenant: "platform", Name: name}, 0, 0); len(got) != want {
			t.Errorf("%s has %d versions", name, len(got))
		}
	}
	_, err = c.History(t.Context(), operator, key(gone.Ref), 0, 0)
	wantCode(t, err, fault.NotFound)
	if got := c.history(operator, key(admin.Ref), 0, 0); len(got) != 2 {
		t.Errorf("the history of a user is for ever: %d", len(got))
	}
	if o, err := c.GetAt(t.Context(), operator, key(old.Ref), 0, c.clock.now().Add(-399*day)); err != nil || o.Metadata.Labels["n"] != "first-label-of-a-person" {
		t.Errorf("%+v %v", o, err) // in force within the 400 days
	}
	c.check()
	c.clock.advance(500 * day)
	if n, err := c.Expire(t.Context()); err != nil || n != 2 {
		t.Fatal(n, err)
	}
	if where := c.holds("first-label-of-a-person"); where != "" {
		t.Errorf("still in %s", where)
	}
	for _, r := range []gate.Result{kept, old, late} {
		if _, err := c.Get(t.Context(), operator, r.Ref); err != nil {
			t.Error(err)
		}
	}
	c.check()
	put("third", old)
	c.reopen()
	c.check()
	c.export(t, nil)
}

func TestTheMemoryBudgetRefusesGrowthAlone(t *testing.T) {
	c := newCell(t, func(c *cell) { c.memory = 60_000 })
	long := func(i, n int) string {
		return site("platform", fmt.Sprint("s", i), "annotations: {a: "+strings.Repeat("x", n)+"}", fmt.Sprintf("h%d.test", i))
	}
	var last gate.Result
	var err error
	i := 0
	for ; i < 100 && err == nil; i++ {
		var r gate.Result
		if r, err = c.put(operator, long(i, 1000)); err == nil {
			last = r
		}
	}
	wantCode(t, err, fault.Exhausted)
	held, most := c.Memory()
	if i < 10 || held > most || held < most-2000 {
		t.Errorf("after %d: %d of %d", i, held, most)
	}
	if a := c.Alarms(); len(a) != 1 || a[0].Need != "memory" {
		t.Errorf("%+v", a)
	}
	size := c.LogSize()
	_, err = c.do(operator, c.change(long(200, 1)), c.change(long(201, 3000)))
	wantCode(t, err, fault.Exhausted)
	if c.LogSize() != size {
		t.Error("half a request was taken")
	}
	c.reopen()
	if again, _ := c.Memory(); again != held {
		t.Errorf("%d after a restart, %d before", again, held)
	}
	if last, err = c.patch(operator, last, map[string]any{"metadata": map[string]any{"annotations": nil}}); err != nil {
		t.Error(err) // what shrinks is taken
	}
	if err := c.remove(operator, last); err != nil {
		t.Error(err)
	}
	if now, _ := c.Memory(); now >= held-1000 {
		t.Errorf("%d after a deletion, %d before", now, held)
	}
	if len(c.Alarms()) != 1 {
		t.Log(c.Memory())
	}
	c.check()
}

// The ring is bounded in bytes, too: a watcher who lags behind by a few big
// records lists again.
func TestTheRingIsBoundedInBytes(t *testing.T) {
	c := newCell(t, func(c *cell) { c.ringBytes = 20_000 })
	slow := c.watch(t, operator, nil, "Site")
	slow.next()
	for i := range 10 {
		c.must(site("platform", fmt.Sprint("s", i), "annotations: {a: "+strings.Repeat("x", 4000)+"}", fmt.Sprintf("h%d.test", i)))
	}
	slow.until(c.At().Revision)
	if slow.resets != 2 || len(slow.has) != 10 {
		t.Errorf("%d resets, %d records", slow.resets, len(slow.has))
	}
	quick := c.watch(t, operator, nil, "Site")
	quick.next()
	c.must(site("platform", "one", "", "one.test"))
	if quick.until(c.At().Revision); quick.resets != 1 {
		t.Errorf("%d resets", quick.resets)
	}
}
