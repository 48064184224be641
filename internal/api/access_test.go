package api

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
)

// TestExplainAccess asks as the operator, as a user with rights of her own and
// as one without any.
func TestExplainAccess(t *testing.T) {
	d := newDoor(t)
	operator := d.token
	put := func(path, body string) {
		t.Helper()
		if a := d.call("PUT", path, body); a.status != 201 {
			t.Fatalf("%s: %d %s", path, a.status, a.body)
		}
	}
	put("/api/v1/platform/tenants/acme", `{"kind":"Tenant","metadata":{"tenant":"platform","name":"acme"},"spec":{}}`)
	put("/api/v1/platform/tenants/beta", `{"kind":"Tenant","metadata":{"tenant":"platform","name":"beta"},"spec":{}}`)
	for _, name := range []string{"ann", "bob"} {
		put("/api/v1/acme/users/"+name, `{"kind":"User","metadata":{"tenant":"acme","name":"`+name+`"},"spec":{}}`)
	}
	put("/api/v1/acme/roles/web", `{"kind":"Role","metadata":{"tenant":"acme","name":"web"},"spec":{}}`)
	put("/api/v1/acme/rolebindings/web", `{"kind":"RoleBinding","metadata":{"tenant":"acme","name":"web"},"spec":{"role":"web","subjects":[{"kind":"User","name":"ann"}]}}`)
	put("/api/v1/acme/policies/web", `{"kind":"Policy","metadata":{"tenant":"acme","name":"web"},"spec":{"cedar":"permit (principal in Role::\"acme/web\", action == Action::\"site.read\", resource); permit (principal in Role::\"acme/web\", action == Action::\"site.update\", resource) when { context.mfa };"}}`)
	for tenant, name := range map[string]string{"acme": "own", "beta": "foreign"} {
		put("/api/v1/"+tenant+"/sites/"+name, strings.NewReplacer(`"platform"`, `"`+tenant+`"`, `"shop"`, `"`+name+`"`, "shop.test", name+".test").Replace(site))
	}
	as := func(name string) string {
		token, _, err := d.gate.OpenSession(t.Context(), identity.Actor{Principal: dayzero.Operator}, resource.Ref{Kind: "User", Tenant: "acme", Name: name}, "")
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	ann, bob := as("ann"), as("bob")
	for _, tt := range []struct {
		name, token, tenant, principal, action, record string
		status                                         int
		want, not                                      string
	}{
		{"the operator about himself", operator, "acme", "", "site.update", "site/own", 200, `"allowed":true,"principal":"user/platform/operator","action":"site.update","record":"site/acme/own"`, "when"},
		{"the operator about ann", operator, "acme", "user/ann", "site.update", "site/own", 200, `"missing":["acme/web#2: context.mfa is false"],"roles":["acme/web"]`, `"allowed":true`},
		{"the operator about bob", operator, "acme", "user/acme/bob", "site.read", "site/own", 200, `acme/web: Role::\"acme/web\" is not held by User acme/bob`, `"allowed":true`},
		{"the operator about a tenant as a whole", operator, "platform", "service/edge", "event.read", "tenant/acme", 200, `"allowed":false`, `"allowed":true`},
		{"about the record of a tenant", operator, "acme", "service/platform/edge", "tenant.read", "tenant/acme", 200, `"allowed":true`, `"allowed":false`},
		{"about what is not made yet", operator, "acme", "user/ann", "site.create", "site/new", 200, `"allowed":false`, `"allowed":true`},
		{"about what is not there", operator, "acme", "user/ann", "site.update", "site/new", 404, "acme/new", "allowed"},
		{"ann about herself", ann, "acme", "user/ann", "site.read", "site/own", 200, `"allowed":true`, `"text"`},
		{"ann about what she may not change: without the words of the policy", ann, "acme", "", "site.update", "site/own", 200, `a condition on context.mfa is false`, `"allowed":true`},
		{"ann about bob", ann, "acme", "user/bob", "site.read", "site/own", 403, `forbidden`, "allowed"},
		{"ann about another tenant's site", ann, "beta", "user/acme/ann", "site.read", "site/foreign", 404, "not_found", "allowed"},
		{"and about one that is not there", ann, "beta", "user/acme/ann", "site.read", "site/nowhere", 404, "not_found", "allowed"},
		{"bob about what he may not read", bob, "acme", "", "site.read", "site/own", 404, "not_found", "allowed"},
		{"no action", operator, "acme", "", "site.explode", "site/own", 400, "invalid", "allowed"},
		{"an action of another kind", operator, "acme", "", "user.read", "site/own", 400, "invalid", "allowed"},
		{"no such principal", operator, "acme", "robot/x", "site.read", "site/own", 400, "principal", "allowed"},
		{"no such kind", operator, "acme", "", "site.read", "thing/own", 400, "thing", "allowed"},
		{"no record", operator, "acme", "", "site.read", "own", 400, "record", "allowed"},
		{"no name", operator, "acme", "", "site.read", "site/../own", 400, "record", "allowed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d.t, d.token = t, tt.token
			q := url.Values{"action": {tt.action}, "record": {tt.record}}
			if tt.principal != "" {
				q.Set("principal", tt.principal)
			}
			path := "/api/v1/" + tt.tenant + "/access?" + q.Encode()
			a := d.call("GET", path, "")
			if a.status != tt.status || !strings.Contains(a.body, tt.want) || strings.Contains(a.body, tt.not) {
				t.Errorf("%d %s", a.status, a.body)
			}
			if zh := d.call("GET", path, "", "Accept-Language", "zh"); strings.Contains(a.body, `"missing":["`) && zh.body == a.body {
				t.Errorf("one language: %s", zh.body)
			}
		})
	}
	// A refusal says the same without being asked.
	d.t, d.token = t, ann
	rev := d.call("GET", "/api/v1/acme/sites/own", "").json(t)["metadata"].(map[string]any)["revision"]
	body := fmt.Sprintf(`{"metadata":{"revision":%.0f,"labels":{"a":"b"}}}`, rev)
	if a := d.call("PATCH", "/api/v1/acme/sites/own", body); a.status != 403 || !strings.Contains(a.body, `"missing":["acme/web#2: a condition on context.mfa is false"]`) {
		t.Errorf("%d %s", a.status, a.body)
	}
}
