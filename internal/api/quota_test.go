package api

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// limit sets the limits of a tenant, as the operator.
func (d *door) limit(tenant, limits string) answer {
	d.t.Helper()
	rev := revisionOf(d.t, d.call("GET", "/api/v1/platform/tenants/"+tenant, ""))
	return d.call("PATCH", "/api/v1/platform/tenants/"+tenant, `{"metadata":{"revision":`+rev+`},"spec":{"limits":`+limits+`}}`)
}

// TestATenantHasItsLimits: so many of a kind, so many in all; what is there may
// be changed and deleted, what Dun makes is made, and others are not touched.
func TestATenantHasItsLimits(t *testing.T) {
	d := newDoor(t)
	operator := d.token
	ann := d.tenantWithAnn("acme")
	other := d.tenantWithAnn("beta")
	if a := d.limit("acme", `{"records":6,"each":[{"kind":"site","most":2}]}`); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	put := func(tenant, name string) answer {
		t.Helper()
		return d.call("PUT", "/api/v1/"+tenant+"/sites/"+name, siteOf(tenant, name))
	}
	d.token = ann
	for i, want := range []int{201, 201, 429} {
		if a := put("acme", fmt.Sprintf("s%d", i)); a.status != want {
			t.Errorf("site %d: %d %s", i, a.status, a.body)
		}
	}
	if a := put("acme", "s9"); !strings.Contains(a.body, "has 2 sites") {
		t.Errorf("%s", a.body)
	}
	both := `{"changes":[{"op":"put","object":` + `{"kind":"Role","metadata":{"tenant":"acme","name":"r1"},"spec":{}}},{"op":"put","object":{"kind":"Role","metadata":{"tenant":"acme","name":"r2"},"spec":{}}},{"op":"put","object":{"kind":"Role","metadata":{"tenant":"acme","name":"r3"},"spec":{}}}]}`
	if a := d.call("POST", "/api/v1/-/transaction", both, "Content-Type", "application/json"); a.status != 429 || !strings.Contains(a.body, "has 6 records") {
		t.Errorf("three at once, where two have room: %d %s", a.status, a.body)
	}
	if a := d.call("GET", "/api/v1/acme/roles", ""); strings.Contains(a.body, `"r1"`) {
		t.Errorf("a part of it is there: %s", a.body)
	}
	rev := revisionOf(t, d.call("GET", "/api/v1/acme/sites/s0", ""))
	if a := d.call("PATCH", "/api/v1/acme/sites/s0", `{"metadata":{"revision":`+rev+`,"labels":{"a":"b"}}}`); a.status != 200 {
		t.Errorf("a change: %d %s", a.status, a.body)
	}
	rev = revisionOf(t, d.call("GET", "/api/v1/acme/sites/s0", ""))
	if a := d.call("DELETE", "/api/v1/acme/sites/s0?revision="+rev, ""); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := put("acme", "s9"); a.status != 201 {
		t.Errorf("there is room again: %d %s", a.status, a.body)
	}
	d.token = operator
	if a := d.call("PUT", "/api/v1/acme/attacks/a1", `{"kind":"Attack","metadata":{"tenant":"acme","name":"a1"},"spec":{"site":"s9","vectors":["web"],"start":"2026-01-02T03:04:05Z"}}`); a.status != 201 {
		t.Errorf("what Dun makes: %d %s", a.status, a.body)
	}
	if a := put("acme", "s8"); a.status != 429 {
		t.Errorf("the operator in the tenant: %d", a.status)
	}
	if a := d.limit("acme", `{"each":[{"kind":"castle","most":2}]}`); a.status != 400 || !strings.Contains(a.body, "no kind") {
		t.Errorf("%d %s", a.status, a.body)
	}
	d.token = other
	for i := range 4 {
		if a := put("beta", fmt.Sprintf("s%d", i)); a.status != 201 {
			t.Errorf("another tenant: %d %s", a.status, a.body)
		}
	}
	d.token = ann
	if a := d.call("PATCH", "/api/v1/platform/tenants/acme", `{"metadata":{"revision":1},"spec":{"limits":{"records":1000}}}`); a.status != 404 {
		t.Errorf("a tenant sets its own limits: %d", a.status)
	}
}

// TestATenantAsksAtItsPace: twice its rate at once, then as time passes; another
// tenant, and the platform, are not held up.
func TestATenantAsksAtItsPace(t *testing.T) {
	d := newDoor(t)
	operator := d.token
	ann, beta := d.tenantWithAnn("acme"), d.tenantWithAnn("beta")
	if a := d.limit("acme", `{"requests":5}`); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	now := time.Now()
	d.api.opt.Now = func() time.Time { return now }
	count := func(session string, n int) (taken int) {
		t.Helper()
		d.token = session
		for range n {
			switch a := d.call("GET", "/api/v1/-/sites", ""); a.status {
			case 200:
				taken++
			case 429:
				if a.header.Get("Retry-After") != "1" || !strings.Contains(a.body, "5 requests a second") {
					t.Errorf("%v %s", a.header, a.body)
				}
			default:
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
		return taken
	}
	if n := count(ann, 15); n != 10 {
		t.Errorf("%d of 15 at once", n)
	}
	now = now.Add(time.Second)
	if n := count(ann, 15); n != 5 {
		t.Errorf("%d of 15 a second later", n)
	}
	now = now.Add(-time.Hour)
	if n := count(ann, 5); n != 0 {
		t.Errorf("%d where the clock went back", n)
	}
	now = now.Add(time.Second)
	if n := count(ann, 10); n != 5 {
		t.Errorf("%d of 10 after that", n)
	}
	if n := count(beta, 20) + count(operator, 20); n != 40 {
		t.Errorf("others: %d of 40", n)
	}
	for i := range 1000 {
		now = now.Add(time.Second)
		if err := d.api.pace.take(fmt.Sprint("t", i), 5, now); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(d.api.pace.by); n > 200 {
		t.Errorf("%d tenants are remembered", n)
	}
}
