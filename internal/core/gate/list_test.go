package gate_test

import (
	"context"
	"database/sql"
	"encoding/base64"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// pages lists everything, limit records at a time; between runs after each page.
func (c *cell) pages(a identity.Actor, opt gate.ListOptions, between func()) []string {
	c.t.Helper()
	out := []string{}
	for {
		p, err := c.List(context.Background(), a, opt)
		if err != nil {
			c.t.Fatal(err)
		}
		if len(p.Items) > opt.Limit {
			c.t.Fatalf("%d items for a limit of %d", len(p.Items), opt.Limit)
		}
		out = append(out, namesOf(p.Items)...)
		if p.Next == "" {
			return out
		}
		if len(p.Items) != opt.Limit {
			c.t.Fatalf("a page of %d with more to come", len(p.Items))
		}
		opt.After = p.Next
		between()
	}
}

func TestPagesAreInOrderWithoutHoleOrDouble(t *testing.T) {
	c := newCell(t)
	c.must(tenant("acme"))
	var want []string
	var changes []gate.Change
	for i := range 60 {
		tenant := []string{"acme", "platform"}[i/30]
		name := fmt.Sprintf("s%02d", i)
		changes = append(changes, c.change(site(tenant, name, fmt.Sprintf("labels: {parity: p%d}", i%2), name+".test")))
		want = append(want, tenant+"/"+name)
	}
	if _, err := c.do(operator, changes...); err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int{1, 7, 30, 59, 60, 61, 1000} {
		if got := c.pages(operator, gate.ListOptions{Kind: "Site", Tenant: gate.AllTenants, Limit: limit}, func() {}); !slices.Equal(got, want) {
			t.Errorf("limit %d: %v", limit, got)
		}
	}
	if got := c.pages(operator, gate.ListOptions{Kind: "Site", Tenant: "acme", Limit: 4}, func() {}); !slices.Equal(got, want[:30]) {
		t.Errorf("%v", got)
	}
	odd, err := resource.ParseSelector("parity=p1")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.pages(operator, gate.ListOptions{Kind: "Site", Tenant: gate.AllTenants, Limit: 4, Selector: odd}, func() {}); len(got) != 30 || got[0] != "acme/s01" {
		t.Errorf("%v", got)
	}
	for _, tenant := range []string{"", "none", "acm", "acme2"} {
		if got := c.names(operator, gate.ListOptions{Kind: "Site", Tenant: tenant}); len(got) != 0 {
			t.Errorf("tenant %q: %v", tenant, got)
		}
	}
}

func TestPagesWhileOthersWrite(t *testing.T) {
	c := newCell(t)
	var stable []string
	var changes []gate.Change
	for i := range 40 {
		name := fmt.Sprintf("s%02d", i)
		changes = append(changes, c.change(site("platform", name, "", name+".test")))
		stable = append(stable, "platform/"+name)
	}
	if _, err := c.do(operator, changes...); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			name := fmt.Sprintf("s%02d-x", i%40)
			r, err := c.put(operator, site("platform", name, "", name+".test"))
			if err != nil {
				t.Error(err)
				return
			}
			if err := c.remove(operator, r); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 20 {
		got := c.pages(operator, gate.ListOptions{Kind: "Site", Tenant: "platform", Limit: 3}, func() {
			c.Get(t.Context(), operator, resource.Ref{Kind: "Site", Tenant: "platform", Name: "s01"})
		})
		if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Errorf("out of order or double: %v", got)
		}
		got = slices.DeleteFunc(got, func(s string) bool { return !slices.Contains(stable, s) })
		if !slices.Equal(got, stable) {
			t.Errorf("a hole: %v", got)
		}
	}
	close(stop)
	all.Wait()
}

func TestAListShowsWhatMayBeRead(t *testing.T) {
	c := newCell(t)
	c.must(tenant("acme"), tenant("other"))
	ann := c.staff("acme", "ann", "web", web)
	for i, tenant := range []string{"acme", "acme", "acme", "other", "platform"} {
		c.must(site(tenant, fmt.Sprintf("a%d", i), fmt.Sprintf("labels: {team: %s}", []string{"web", "db", "web", "web", "web"}[i]), fmt.Sprintf("a%d.test", i)))
	}
	if got := c.pages(ann, gate.ListOptions{Kind: "Site", Tenant: gate.AllTenants, Limit: 1}, func() {}); !slices.Equal(got, []string{"acme/a0", "acme/a2"}) {
		t.Errorf("%v", got)
	}
	if got := c.names(user("acme", "eve"), gate.ListOptions{Kind: "Site", Tenant: gate.AllTenants}); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestCursorsAndLimits(t *testing.T) {
	c := newCell(t)
	c.must(site("platform", "a", "", "a.test"), site("platform", "b", "", "b.test"))
	p, err := c.List(t.Context(), operator, gate.ListOptions{Kind: "Site", Tenant: "platform", Limit: 1})
	if err != nil || p.Next == "" {
		t.Fatal(err)
	}
	enc := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	for name, opt := range map[string]gate.ListOptions{
		"limit":        {Kind: "Site", Limit: 1001},
		"negative":     {Kind: "Site", Limit: -1},
		"kind":         {Kind: "Thing"},
		"not base64":   {Kind: "Site", After: "%%"},
		"long":         {Kind: "Site", After: string(make([]byte, 513))},
		"parts":        {Kind: "Site", After: enc(c.At().Epoch + "\x00a")},
		"another cell": {Kind: "Site", After: enc("other\x00platform\x00a")},
	} {
		if _, err := c.List(t.Context(), operator, opt); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.List(t.Context(), operator, gate.ListOptions{Kind: "Site", Tenant: "platform", After: p.Next}); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.List(ctx, operator, gate.ListOptions{Kind: "Site", Tenant: "platform"}); err == nil {
		t.Error("a caller who left got a page")
	}
	c.damage(t, func(d *sql.DB) error {
		_, err := d.Exec(`UPDATE head SET epoch='restored'`)
		return err
	})
	_, err = c.List(t.Context(), operator, gate.ListOptions{Kind: "Site", Tenant: "platform", After: p.Next})
	wantCode(t, err, fault.Invalid)
}
