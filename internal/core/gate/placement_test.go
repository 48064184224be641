package gate_test

import (
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
)

func TestAHostHasOneSite(t *testing.T) {
	c := newCell(t)
	c.must(tenant("acme"), tenant("secret"))
	first := c.must(site("secret", "inner", "", "a.test, b.test"))
	_, err := c.put(operator, site("acme", "x", "", "c.test, b.test"))
	wantCode(t, err, fault.Conflict)
	if e := fault.Of(err); !strings.Contains(e.Detail.En, "spec.hosts[1]") || strings.Contains(e.Detail.En+e.Detail.Zh, "secret") || strings.Contains(e.Detail.En+e.Detail.Zh, "inner") {
		t.Errorf("the refusal says %+v", e.Detail)
	}

	t.Run("also inside one request", func(t *testing.T) {
		_, err := c.do(operator, c.change(site("acme", "x", "", "c.test")), c.change(site("acme", "y", "", "c.test")))
		wantCode(t, err, fault.Conflict)
		if got := c.names(operator, gate.ListOptions{Kind: "Site", Tenant: "acme"}); len(got) != 0 {
			t.Errorf("left behind: %v", got)
		}
	})
	t.Run("also inside one group", func(t *testing.T) {
		errs := make([]error, 2)
		c.Together(
			func() { _, errs[0] = c.put(operator, site("acme", "x", "", "d.test")) },
			func() { _, errs[1] = c.put(operator, site("platform", "y", "", "d.test")) },
		)
		if errs[0] != nil {
			t.Error(errs[0])
		}
		wantCode(t, errs[1], fault.Conflict)
	})
	t.Run("until an update releases it", func(t *testing.T) {
		next, err := c.patch(operator, first, map[string]any{"spec": map[string]any{"hosts": []any{"a.test"}}})
		if err != nil {
			t.Fatal(err)
		}
		c.must(site("acme", "b", "", "b.test"))
		_, err = c.patch(operator, next, map[string]any{"spec": map[string]any{"hosts": []any{"a.test", "b.test"}}})
		wantCode(t, err, fault.Conflict)
		first = next
	})
	t.Run("until a deletion releases it", func(t *testing.T) {
		if err := c.remove(operator, first); err != nil {
			t.Fatal(err)
		}
		c.must(site("acme", "a", "", "a.test"))
	})
	t.Run("and two swap in one request", func(t *testing.T) {
		a := c.must(site("acme", "e", "", "e.test"))
		_, err := c.do(operator,
			gate.Change{Op: gate.Delete, Ref: a.Ref, Revision: a.Revision},
			c.change(site("platform", "e", "", "e.test")))
		if err != nil {
			t.Error(err)
		}
	})
	c.reopen()
	_, err = c.put(operator, site("platform", "z", "", "b.test"))
	wantCode(t, err, fault.Conflict)
	c.check()
}

func TestTenantsComeFirstAndGoLast(t *testing.T) {
	c := newCell(t)
	_, err := c.put(operator, site("acme", "x", "", "x.test"))
	wantField(t, err, "metadata.tenant")
	// One request may bring the tenant and what lives in it, in any order.
	out, err := c.do(operator, c.change(site("acme", "x", "", "x.test")), c.change(tenant("acme")))
	if err != nil {
		t.Fatal(err)
	}
	out[0], out[1] = out[1], out[0]
	wantCode(t, c.remove(operator, out[0]), fault.Conflict)

	t.Run("a record that is made in the same group keeps it", func(t *testing.T) {
		if err := c.remove(operator, out[1]); err != nil {
			t.Fatal(err)
		}
		var made, gone error
		c.Together(
			func() { _, made = c.put(operator, site("acme", "y", "", "y.test")) },
			func() { gone = c.remove(operator, out[0]) },
		)
		if made != nil {
			t.Error(made)
		}
		wantCode(t, gone, fault.Conflict)
	})
	t.Run("and one that comes after its deletion is refused", func(t *testing.T) {
		y, err := c.Get(t.Context(), operator, resource.Ref{Kind: "Site", Tenant: "acme", Name: "y"})
		if err != nil {
			t.Fatal(err)
		}
		var made, gone error
		c.Together(
			func() {
				_, gone = c.do(operator, gate.Change{Op: gate.Delete, Ref: y.Ref(), Revision: y.Metadata.Revision},
					gate.Change{Op: gate.Delete, Ref: out[0].Ref, Revision: out[0].Revision})
			},
			func() { _, made = c.put(operator, site("acme", "z", "", "z.test")) },
		)
		if gone != nil {
			t.Error(gone)
		}
		wantField(t, made, "metadata.tenant")
	})
	c.check()
}

func TestThePlatformStays(t *testing.T) {
	c := newCell(t)
	p, err := c.Get(t.Context(), operator, resource.Ref{Kind: "Tenant", Tenant: "platform", Name: "platform"})
	if err != nil {
		t.Fatal(err)
	}
	// It is built in, and the service that made it may not take it either.
	_, err = c.do(operator, gate.Change{Op: gate.Delete, Ref: p.Ref(), Revision: p.Metadata.Revision})
	wantCode(t, err, fault.Forbidden)
	if e := fault.Of(err); len(e.Policies) == 0 {
		t.Errorf("no policy named: %+v", e)
	}
	_, err = c.do(dayzeroService, gate.Change{Op: gate.Delete, Ref: p.Ref(), Revision: p.Metadata.Revision})
	wantCode(t, err, fault.Invalid)
}

func TestReservedLabelsAndAnnotations(t *testing.T) {
	c := newCell(t)
	for _, tt := range []struct{ meta, field string }{
		{"labels: {dun.dev/builtin: 'v1'}", ""}, // refused by policy before its form is looked at
		{"labels: {dun.dev/mine: x}", "metadata.labels.dun.dev/mine"},
		{"annotations: {dun.dev/mine: x}", "metadata.annotations.dun.dev/mine"},
	} {
		_, err := c.put(operator, site("platform", "a", tt.meta, "a.test"))
		if tt.field == "" {
			wantCode(t, err, fault.Forbidden)
			continue
		}
		wantField(t, err, tt.field)
	}
	r := c.must(site("platform", "a", "labels: {dun.dev/class: test, dun.dev.x/ok: a}, annotations: {dun.dev/last-applied: '{}'}", "a.test"))
	_, err := c.patch(operator, r, map[string]any{"metadata": map[string]any{"labels": map[string]any{"dun.dev/builtin": "v1"}}})
	wantCode(t, err, fault.Forbidden)
	_, err = c.patch(dayzeroService, r, map[string]any{"metadata": map[string]any{"labels": map[string]any{"a": "v1"}}})
	wantCode(t, err, fault.NotFound) // dayzero's own policy ends at the access records
}
