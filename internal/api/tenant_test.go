package api

import (
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
)

// TestATenantSeesNothingOfAnother gives a user every right in her own tenant
// and walks every path that is served: what belongs to another tenant carries
// a marker, and the marker must never come back. What is hidden and what does
// not exist look the same.
func TestATenantSeesNothingOfAnother(t *testing.T) {
	d := newDoor(t)
	const marker = "zzforeignzz"
	put := func(path, body string) {
		t.Helper()
		if a := d.call("PUT", path, body); a.status != 201 {
			t.Fatalf("%s: %d %s", path, a.status, a.body)
		}
	}
	for _, tenant := range []string{"acme", "beta"} {
		put("/api/v1/platform/tenants/"+tenant, `{"kind":"Tenant","metadata":{"tenant":"platform","name":"`+tenant+`"},"spec":{"limits":{"requests":100000}}}`)
	}
	put("/api/v1/acme/users/ann", `{"kind":"User","metadata":{"tenant":"acme","name":"ann"},"spec":{}}`)
	put("/api/v1/acme/policies/all", `{"kind":"Policy","metadata":{"tenant":"acme","name":"all"},"spec":{"cedar":"permit (principal == User::\"acme/ann\", action, resource);"}}`)
	for _, tenant := range []string{"beta", "platform"} {
		put("/api/v1/"+tenant+"/sites/"+marker, strings.NewReplacer(`"platform"`, `"`+tenant+`"`, `"shop"`, `"`+marker+`"`, "shop.test", tenant+"."+marker+".test").Replace(site))
		d.events.Add(events.Event{V: 1, ID: marker + tenant, Time: time.Now(), Part: "edge", Kind: "block", Tenant: tenant, Object: "site/" + marker})
	}
	d.events.Add(events.Event{V: 1, ID: "own", Time: time.Now(), Part: "edge", Kind: "block", Tenant: "acme", Object: "site/own"})
	put("/api/v1/acme/sites/own", strings.NewReplacer(`"platform"`, `"acme"`, `"shop"`, `"own"`, "shop.test", "own.test").Replace(site))
	ann := resource.Ref{Kind: "User", Tenant: "acme", Name: "ann"}
	var err error
	if d.token, _, err = d.gate.OpenSession(t.Context(), identity.Actor{Principal: dayzero.Operator}, ann, ""); err != nil {
		t.Fatal(err)
	}
	walked := 0
	for _, op := range d.api.Paths() {
		method, path, _ := strings.Cut(op, " ")
		if method != "GET" || strings.HasSuffix(path, "/watch") {
			continue
		}
		for _, tenant := range []string{"-", "beta", "platform"} {
			for _, query := range []string{"", "?revision=1"} {
				p := strings.NewReplacer("{tenant}", tenant, "{name}", marker).Replace(path) + query
				a := d.call("GET", p, "")
				walked++
				if a.status == 200 && strings.Contains(a.body, marker) {
					t.Errorf("%s tells of another tenant: %s", p, a.body)
				}
				if a.status == 500 {
					t.Errorf("%s: %s", p, a.body)
				}
			}
		}
	}
	if walked < 150 {
		t.Errorf("only %d requests were made", walked)
	}
	if a := d.call("GET", "/api/v1/-/sites", ""); !strings.Contains(a.body, `"own"`) || strings.Contains(a.body, marker) {
		t.Errorf("her own: %s", a.body)
	}
	if a := d.call("GET", "/api/v1/-/events", ""); !strings.Contains(a.body, `"own"`) || strings.Contains(a.body, marker) {
		t.Errorf("her own events: %s", a.body)
	}
	for _, verb := range []string{"", "/history", "/proof"} {
		hidden, missing := d.call("GET", "/api/v1/beta/sites/"+marker+verb, ""), d.call("GET", "/api/v1/beta/sites/nothere"+verb, "")
		if hidden.status != missing.status || strip(hidden.body, marker) != strip(missing.body, "nothere") {
			t.Errorf("%s: hidden and missing differ:\n%s\n%s", verb, hidden.body, missing.body)
		}
	}
	body := strings.NewReplacer(`"platform"`, `"beta"`, `"shop"`, `"`+marker+`"`, "shop.test", "new.test").Replace(site)
	for _, a := range []answer{
		d.call("PUT", "/api/v1/beta/sites/"+marker, body), d.call("DELETE", "/api/v1/beta/sites/"+marker+"?revision=1", ""),
		d.call("PATCH", "/api/v1/beta/sites/"+marker, `{"metadata":{"revision":1},"spec":{}}`), d.call("PUT", "/api/v1/nowhere/sites/x", strings.NewReplacer(`"beta"`, `"nowhere"`, marker, "x").Replace(body)),
	} {
		if a.status != 404 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	for _, path := range []string{"/api/v1/beta/sites?watch=", "/api/v1/-/watch?kinds=tenant,ban&watch="} {
		d.watch(path).next("synced")
	}
	d.watch("/api/v1/-/watch?kinds=site&watch=").next("put", `"own"`)
	// A host that another tenant holds is refused without saying whose it is.
	if a := d.call("PUT", "/api/v1/acme/sites/steal", strings.NewReplacer(`"platform"`, `"acme"`, `"shop"`, `"steal"`, "shop.test", "beta."+marker+".test").Replace(site)); a.status != 409 || strings.Contains(a.body, `beta/`) {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// strip takes out what must differ: the name that was asked for and the
// request id.
func strip(body, name string) string {
	before, _, _ := strings.Cut(body, `"request"`)
	return strings.ReplaceAll(before, name, "X")
}
