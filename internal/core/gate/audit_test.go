package gate_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
)

// export makes a bundle and verifies it as an auditor does.
func (c *cell) export(t testing.TB, want func(audit.Entry) bool) audit.Report {
	t.Helper()
	var b bytes.Buffer
	if err := c.Export(t.Context(), operator, &b, want); err != nil {
		t.Fatal(err)
	}
	rep, err := audit.VerifyBundle(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }, c.vkey)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func TestAnExportHoldsWhatWasAskedFor(t *testing.T) {
	c := eventful(t)
	size := int(c.LogSize())
	if rep := c.export(t, nil); rep.Leaves != size+1 || rep.Size != int64(size)+1 || rep.Withheld != 0 {
		t.Errorf("all: %+v, %d leaves before", rep, size)
	}
	changes := func(e audit.Entry) bool { return string(e.Values[audit.FieldName]) == "a" }
	if rep := c.export(t, changes); rep.Leaves != 3 {
		t.Errorf("one record: %+v", rep)
	}
	if rep := c.export(t, func(audit.Entry) bool { return false }); rep.Leaves != 0 {
		t.Errorf("nothing: %+v", rep)
	}
	at := c.LogSize()
	wantCode(t, c.Export(t.Context(), user("platform", "eve"), io.Discard, nil), fault.Forbidden)
	if c.LogSize() != at {
		t.Error("a refused export left a leaf")
	}
	if err := c.Export(t.Context(), operator, broken{}, nil); err == nil {
		t.Error("an export into a broken pipe succeeded")
	}
	c.check()
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestAProofVerifiesWithoutTheGate(t *testing.T) {
	c := newCell(t)
	r := c.must(shop)
	r2, err := c.patch(operator, r, map[string]any{"spec": map[string]any{"hosts": []any{"b.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.do(operator, gate.Change{Op: gate.Delete, Ref: r.Ref, Revision: r2.Revision})
	if err != nil {
		t.Fatal(err)
	}
	bytesOf := func(r gate.Result) []byte {
		if r.Object == nil {
			return nil
		}
		b, err := r.Object.Stored()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var old []byte
	for i, x := range []gate.Result{r, r2, out[0]} {
		p, err := c.Prove(t.Context(), operator, r.Ref, x.Revision)
		if err != nil {
			t.Fatal(err)
		}
		head, err := audit.OpenCheckpoint(p.Checkpoint, c.vkey)
		if err != nil || head.Size != p.Size {
			t.Fatal(err)
		}
		leaf, err := audit.ParseLeaf(p.Entry.Leaf)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(p.Entry.Inclusion, head.Size, head.Root, int64(p.Entry.Seq), audit.LeafHash(p.Entry.Leaf)); err != nil {
			t.Error(err)
		}
		if err := leaf.Check(p.Entry.Salts, p.Entry.Values); err != nil {
			t.Error(err)
		}
		// What the leaf commits to is byte for byte what get and history give.
		v := p.Entry.Values
		if !bytes.Equal(v[audit.FieldOld], old) || !bytes.Equal(v[audit.FieldNew], bytesOf(x)) || (v[audit.FieldNew] == nil) != (x.Object == nil) {
			t.Errorf("change %d commits to\n%s\n%s", i, v[audit.FieldOld], v[audit.FieldNew])
		}
		old = bytesOf(x)
		if leaf.Revision != x.Revision || leaf.Class != audit.Change || leaf.Kind != "Site" || leaf.Action != []string{"create", "update", "delete"}[i] {
			t.Errorf("%+v", leaf)
		}
	}
	newest, err := c.Prove(t.Context(), operator, r.Ref, 0)
	if leaf, _ := audit.ParseLeaf(newest.Entry.Leaf); err != nil || leaf.Revision != out[0].Revision {
		t.Errorf("newest: %+v %v", leaf, err)
	}
}

func TestALeafSaysWhoWhatWhyAndBy(t *testing.T) {
	c := newCell(t)
	size := uint64(c.LogSize())
	if _, err := c.Apply(t.Context(), gate.Request{Actor: operator, Reason: "ticket 7", Changes: []gate.Change{c.change(shop)}}); err != nil {
		t.Fatal(err)
	}
	if err := c.Record(t.Context(), operator, gate.Fact{Class: audit.Check, Kind: "Audit", Action: "check"}); err != nil {
		t.Fatal(err)
	}
	list, err := c.Leaves(t.Context(), operator, size, 0)
	if err != nil || len(list) != 2 {
		t.Fatalf("%d leaves, %v", len(list), err)
	}
	v := list[0].Values
	want := `{"request":"req1","changeRequest":"","policies":["platform/builtin-operator"],"source":"127.0.0.1","door":"api","node":"n1","epoch":"` + c.At().Epoch + `","founding":true}`
	if string(v[audit.FieldContext]) != want || string(v[audit.FieldTenant]) != "platform" || string(v[audit.FieldActor]) != "User platform/operator" ||
		string(v[audit.FieldName]) != "shop" || string(v[audit.FieldReason]) != "ticket 7" || v[audit.FieldOld] != nil {
		t.Errorf("%q", v)
	}
	// A fact without tenant, name and reason commits to their absence.
	fact := list[1].Values
	var context map[string]any
	if err := json.Unmarshal(fact[audit.FieldContext], &context); err != nil {
		t.Fatal(err)
	}
	if fact[audit.FieldTenant] != nil || fact[audit.FieldName] != nil || fact[audit.FieldReason] != nil {
		t.Errorf("%q", fact)
	}
	if p, ok := context["policies"].([]any); !ok || len(p) != 0 {
		t.Errorf("policies: %v", context["policies"])
	}
	c.check()

	wantCode(t, second(c.Leaves(t.Context(), user("platform", "eve"), 0, 0)), fault.Forbidden)
	wantCode(t, second(c.Checkpoint(t.Context(), user("platform", "eve"))), fault.Forbidden)
	wantCode(t, second(c.Check(t.Context(), user("platform", "eve"))), fault.Forbidden)
	for from, n := range map[uint64]int{0: 1, size + 2: 0, 1 << 63: 0} {
		if got, err := c.Leaves(t.Context(), operator, from, 1); err != nil || len(got) != n {
			t.Errorf("from %d: %d leaves, %v", from, len(got), err)
		}
	}
	if err := c.Record(t.Context(), operator, gate.Fact{Class: audit.Check, Kind: strings.Repeat("x", 300)}); err == nil {
		t.Error("a fact that no leaf can hold was taken")
	}
	c.check()
}

func TestACheckpointCoversWhatWasCommittedBeforeTheCall(t *testing.T) {
	c := newCell(t)
	for _, name := range []string{"a", "b", "c"} {
		c.must(site("platform", name, "", name+".test"))
		want := c.LogSize()
		b, err := c.Checkpoint(t.Context(), operator)
		if err != nil {
			t.Fatal(err)
		}
		if head, err := audit.OpenCheckpoint(b, c.vkey); err != nil || head.Size < want {
			t.Errorf("%+v, want %d, %v", head, want, err)
		}
	}
	if c.Log().VKey != c.vkey || c.Log().Origin != "dun.dev/log/testcell" || c.Cell() != "testcell" {
		t.Errorf("%+v", c.Log())
	}
}
