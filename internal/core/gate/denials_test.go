package gate_test

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
)

func withDenials(c *cell) { c.denials = true }

// refused waits until the log of denials tells of n refusals in all.
func (c *cell) refused(n int) (leaves, suppressed int, told []audit.Entry) {
	c.t.Helper()
	for range 2000 {
		leaves, suppressed = 0, 0
		b := c.book(gate.DenialsLog)
		list, err := b.Leaves(c.t.Context(), 0, 1000)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, e := range list {
			l, err := audit.ParseLeaf(e.Leaf)
			if err != nil {
				c.t.Fatal(err)
			}
			if l.Action == "suppressed" {
				k, err := strconv.Atoi(string(e.Values[audit.FieldReason]))
				if err != nil {
					c.t.Fatal(err)
				}
				suppressed += k
			} else {
				leaves++
			}
		}
		if leaves+suppressed >= n {
			return leaves, suppressed, list
		}
		<-time.After(5 * time.Millisecond)
	}
	c.t.Fatalf("%d refusals are told of, want %d", leaves+suppressed, n)
	return 0, 0, nil
}

func TestRefusalsHaveALogOfTheirOwn(t *testing.T) {
	c := newCell(t, withDenials)
	r := c.must(shop)
	size := c.LogSize()
	eve := user("platform", "eve")
	_, err := c.Get(t.Context(), eve, r.Ref)
	wantCode(t, err, fault.NotFound) // reading what is hidden is no refusal of a change
	wantCode(t, c.remove(eve, r), fault.NotFound)
	wantCode(t, c.remove(user("platform", "mal\x00\nlory"), r), fault.NotFound)
	aud := c.staff("platform", "ann", "look", `permit (principal in Role::"platform/look", action == Action::"site.read", resource);`)
	size = c.LogSize()
	wantCode(t, c.remove(aud, r), fault.Forbidden)
	c.Refused(eve, "Session", "authenticate")
	leaves, suppressed, list := c.refused(4)
	if leaves != 4 || suppressed != 0 || c.LogSize() != size {
		t.Errorf("%d leaves, %d suppressed, the main log has %d, want %d", leaves, suppressed, c.LogSize(), size)
	}
	last := list[2]
	l, _ := audit.ParseLeaf(last.Leaf)
	if l.Class != audit.Denial || l.Kind != "Site" || l.Action != "delete" || l.Revision != 0 || string(last.Values[audit.FieldActor]) != "User platform/ann" || string(last.Values[audit.FieldName]) != "shop" {
		t.Errorf("%+v %s", l, last.Values)
	}
	note, err := c.book(gate.DenialsLog).Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	vkey, _ := audit.DenialsVKey(c.vkey)
	head, err := audit.OpenCheckpoint(note, vkey)
	if err != nil || head.Origin != "dun.dev/log/testcell/denials" || head.Size != 4 {
		t.Errorf("%+v %v", head, err)
	}
	var b bytes.Buffer
	if err := c.book(gate.DenialsLog).Export(t.Context(), &b, nil); err != nil {
		t.Fatal(err)
	}
	if rep, err := audit.VerifyBundle(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }, vkey); err != nil || rep.Leaves != 4 || !rep.Pinned {
		t.Errorf("%+v %v", rep, err)
	}
	c.reopen()
	c.Refused(eve, "Session", "authenticate")
	c.refused(5)
	c.check()
	_, err = c.Book(eve, gate.DenialsLog)
	wantCode(t, err, fault.Forbidden)
	_, err = c.Book(operator, "other")
	wantCode(t, err, fault.Invalid)
}

// Whoever is refused chooses how often, and not what it costs.
func TestAStormOfRefusalsIsCountedAndNotKept(t *testing.T) {
	c := newCell(t, withDenials)
	r := c.must(shop)
	eve := user("platform", "eve")
	const storm = 100_000
	for range storm {
		c.Refused(eve, "Session", "authenticate")
	}
	if _, err := c.patch(operator, r, map[string]any{"metadata": map[string]any{"labels": map[string]any{"a": "b"}}}); err != nil {
		t.Error(err) // the writer of changes does not notice
	}
	leaves, suppressed, list := c.refused(storm)
	if leaves+suppressed != storm || leaves > 600 || len(list) > 700 {
		t.Errorf("%d leaves, %d suppressed", leaves, suppressed)
	}
	perWindow := map[int64]int{}
	for _, e := range list {
		l, _ := audit.ParseLeaf(e.Leaf)
		perWindow[int64(l.Seq)/100]++
	}
	if len(perWindow) > 7 {
		t.Error(perWindow)
	}
}

// A log of denials that cannot be written never stops a change.
func TestABrokenLogOfDenialsStopsNothing(t *testing.T) {
	c := newCell(t, withDenials)
	r := c.must(shop)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c.open()
	c.BreakDenials()
	c.Refused(user("platform", "eve"), "Session", "authenticate")
	for i := range 3 {
		var err error
		if r, err = c.patch(operator, r, map[string]any{"metadata": map[string]any{"labels": map[string]any{"n": fmt.Sprint(i)}}}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2000 {
		if a := c.Alarms(); len(a) == 1 && a[0].Need == "denials.db" {
			return
		}
		<-time.After(5 * time.Millisecond)
	}
	t.Errorf("no alarm: %v", c.Alarms())
}
