package gate_test

import (
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
)

func TestNoWriteIsUnconditional(t *testing.T) {
	c := newCell(t)
	r := c.must(shop)
	ref := resource.Ref{Kind: "Site", Tenant: "platform", Name: "shop"}
	none := resource.Ref{Kind: "Site", Tenant: "platform", Name: "none"}
	otherUID := ref
	otherUID.UID = "aaaaaaaaaaaaaaaaaaaaaaaaaa"
	o := c.object(shop)
	absent := *o
	absent.Metadata.Name = "none"
	patch := map[string]any{"spec": map[string]any{"hosts": []any{"b.test"}}}
	at := c.At()
	for _, tt := range []struct {
		name   string
		change gate.Change
		want   fault.Code
	}{
		{"create twice", gate.Change{Op: gate.Put, Ref: ref, Object: o}, fault.Conflict},
		{"stale put", gate.Change{Op: gate.Put, Ref: ref, Object: o, Revision: r.Revision - 1}, fault.Conflict},
		{"put from the future", gate.Change{Op: gate.Put, Ref: ref, Object: o, Revision: r.Revision + 1}, fault.Conflict},
		{"put of a revision that nothing has", gate.Change{Op: gate.Put, Ref: none, Object: &absent, Revision: 3}, fault.NotFound},
		{"patch without revision", gate.Change{Op: gate.Patch, Ref: ref, Patch: patch}, fault.Invalid},
		{"stale patch", gate.Change{Op: gate.Patch, Ref: ref, Patch: patch, Revision: 1}, fault.Conflict},
		{"patch of nothing", gate.Change{Op: gate.Patch, Ref: none, Patch: patch, Revision: 1}, fault.NotFound},
		{"delete without revision", gate.Change{Op: gate.Delete, Ref: ref}, fault.Invalid},
		{"stale delete", gate.Change{Op: gate.Delete, Ref: ref, Revision: 1}, fault.Conflict},
		{"delete of nothing", gate.Change{Op: gate.Delete, Ref: none, Revision: 1}, fault.NotFound},
		{"delete under another uid", gate.Change{Op: gate.Delete, Ref: otherUID, Revision: r.Revision}, fault.Conflict},
		{"put under another uid", gate.Change{Op: gate.Put, Ref: otherUID, Object: o, Revision: r.Revision}, fault.Conflict},
		{"no operation", gate.Change{Ref: ref, Revision: r.Revision}, fault.Invalid},
		{"unknown kind", gate.Change{Op: gate.Delete, Ref: resource.Ref{Kind: "Nothing", Tenant: "platform", Name: "x"}, Revision: 1}, fault.Invalid},
		{"kind in other letters", gate.Change{Op: gate.Delete, Ref: resource.Ref{Kind: "site", Tenant: "platform", Name: "shop"}, Revision: 1}, fault.Invalid},
		{"put without an object", gate.Change{Op: gate.Put, Ref: none}, fault.Invalid},
		{"put at another address", gate.Change{Op: gate.Put, Ref: none, Object: o}, fault.Invalid},
		{"patch that renames", gate.Change{Op: gate.Patch, Ref: ref, Revision: r.Revision, Patch: map[string]any{"metadata": map[string]any{"name": "b"}}}, fault.Invalid},
		{"patch of the kind", gate.Change{Op: gate.Patch, Ref: ref, Revision: r.Revision, Patch: map[string]any{"kind": "Ban"}}, fault.Invalid},
		{"patch of state", gate.Change{Op: gate.Patch, Ref: ref, Revision: r.Revision, Patch: map[string]any{"state": map[string]any{"a": "b"}}}, fault.Invalid},
		{"patch that removes what is required", gate.Change{Op: gate.Patch, Ref: ref, Revision: r.Revision, Patch: map[string]any{"spec": nil}}, fault.Invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := c.do(operator, tt.change)
			wantCode(t, err, tt.want)
			if e := fault.Of(err); e.Detail.En == "" || e.Detail.Zh == "" {
				t.Errorf("not in both languages: %+v", e)
			}
		})
	}
	if c.At() != at {
		t.Errorf("refused writes moved the revision from %v to %v", at, c.At())
	}
	c.check()
}

func TestRequestsAreBounded(t *testing.T) {
	c := newCell(t)
	many := make([]gate.Change, 101)
	for i := range many {
		many[i] = c.change(shop)
	}
	for name, req := range map[string]gate.Request{
		"no change":    {Actor: operator},
		"many changes": {Actor: operator, Changes: many},
		"long reason":  {Actor: operator, Changes: many[:1], Reason: string(make([]byte, 1025))},
		"long key":     {Actor: operator, Changes: many[:1], IdempotencyKey: string(make([]byte, 129))},
	} {
		_, err := c.Apply(t.Context(), req)
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestARecordMadeAnewIsAnother(t *testing.T) {
	c := newCell(t)
	first := c.must(shop)
	if err := c.remove(operator, first); err != nil {
		t.Fatal(err)
	}
	c.clock.advance(1)
	second := c.must(shop)
	if second.Ref.UID == first.Ref.UID || second.Revision != first.Revision+2 || !second.Created || !second.Object.Metadata.Created.After(first.Object.Metadata.Created) {
		t.Errorf("%+v\n%+v", first, second)
	}
	wantCode(t, c.remove(operator, first), fault.Conflict)
	c.check()
}

func TestAnUnchangedPutMakesNoRevisionAndNoLeaf(t *testing.T) {
	c := newCell(t)
	r := c.must(shop)
	at, size := c.At(), c.LogSize()
	c.clock.advance(1e9)
	for _, ch := range []gate.Change{
		{Op: gate.Put, Ref: r.Ref, Object: c.object(shop), Revision: r.Revision},
		{Op: gate.Put, Ref: r.Ref, Object: r.Object, Revision: r.Revision},
		{Op: gate.Patch, Ref: r.Ref, Revision: r.Revision, Patch: map[string]any{}},
		{Op: gate.Patch, Ref: r.Ref, Revision: r.Revision, Patch: map[string]any{"metadata": map[string]any{"labels": map[string]any{}}}},
	} {
		out, err := c.do(operator, ch)
		if err != nil || !out[0].Unchanged || out[0].Created || out[0].Revision != r.Revision || out[0].Object == nil {
			t.Errorf("%+v %v", out, err)
		}
	}
	if c.At() != at || c.LogSize() != size {
		t.Errorf("revision %v -> %v, leaves %d -> %d", at, c.At(), size, c.LogSize())
	}
}

func TestTheGateSetsWhatIsItsOwn(t *testing.T) {
	c := newCell(t)
	r := c.must("kind: Site\nmetadata: {tenant: platform, name: a, uid: mine, created: 1999-01-01T00:00:00Z, statusRevision: 7, owner: {kind: Site, tenant: platform, name: b}, finalizers: [x], deleting: 1999-01-01T00:00:00Z}\n" +
		"spec: {hosts: [a.test], origins: [{url: 'http://a'}]}\n")
	m := r.Object.Metadata
	if m.UID == "mine" || len(m.UID) != 26 || m.Created.Year() == 1999 || m.StatusRevision != 0 || m.Owner != nil || m.Finalizers != nil || m.Deleting != nil || m.Revision != r.Revision {
		t.Errorf("%+v", m)
	}
	again, err := c.patch(operator, r, map[string]any{"metadata": map[string]any{"uid": "mine", "created": "1999-01-01T00:00:00Z", "labels": map[string]any{"a": "b"}}})
	if err != nil || again.Object.Metadata.UID != m.UID || !again.Object.Metadata.Created.Equal(m.Created) {
		t.Errorf("%+v %v", again.Object, err)
	}
}

func TestACallersMemoryIsNotTheRecord(t *testing.T) {
	c := newCell(t)
	o := c.object("kind: Site\nmetadata: {tenant: platform, name: a, labels: {a: b}}\nspec: {hosts: [a.test], origins: [{url: 'http://a'}]}\n")
	changes := []gate.Change{{Op: gate.Put, Ref: o.Ref(), Object: o}}
	if _, err := c.do(operator, changes...); err != nil {
		t.Fatal(err)
	}
	if changes[0].Object != o {
		t.Error("the caller's request was changed")
	}
	o.Metadata.Labels["a"], o.Spec = "changed", nil
	c.check()
	for name, spec := range map[string]any{"no spec": nil, "another kind's spec": c.object("kind: Ban\nmetadata: {tenant: platform, name: b}\nspec: {action: ban, sources: [192.0.2.1]}\n").Spec} {
		bad := &resource.Object{Kind: "Site", Metadata: resource.Metadata{Tenant: "platform", Name: "bad"}, Spec: spec}
		if _, err := c.do(operator, gate.Change{Op: gate.Put, Ref: bad.Ref(), Object: bad}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c.reopen()
	c.check()
}
