package api

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/usage"
	"github.com/dun-sec/dun/internal/govern/dayzero"
)

// book answers with one bucket that names the tenant.
type book struct{}

func (book) Read(_ context.Context, tenant string, from, to time.Time, step time.Duration) ([]usage.Bucket, error) {
	return []usage.Bucket{{Start: from, Site: "site-of-" + tenant, Sum: usage.Sum{Requests: 7}}}, nil
}

// TestATenantReadsItsOwnUsageAndNoOther: what is another's looks like what is
// not there.
func TestATenantReadsItsOwnUsageAndNoOther(t *testing.T) {
	d := newDoor(t)
	d.api.opt.Usage = book{}
	for path, body := range map[string]string{
		"/api/v1/platform/tenants/acme": `{"kind":"Tenant","metadata":{"tenant":"platform","name":"acme"},"spec":{}}`,
	} {
		if a := d.call("PUT", path, body); a.status != 201 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	d.call("PUT", "/api/v1/acme/users/ann", `{"kind":"User","metadata":{"tenant":"acme","name":"ann"},"spec":{}}`)
	d.call("PUT", "/api/v1/acme/policies/all", `{"kind":"Policy","metadata":{"tenant":"acme","name":"all"},"spec":{"cedar":"permit (principal == User::\"acme/ann\", action, resource);"}}`)
	if a := d.call("GET", "/api/v1/platform/usage", ""); a.status != http.StatusOK || !strings.Contains(a.body, "site-of-platform") {
		t.Errorf("the operator: %d %s", a.status, a.body)
	}
	var err error
	if d.token, _, err = d.gate.OpenSession(t.Context(), identity.Actor{Principal: dayzero.Operator}, resource.Ref{Kind: "User", Tenant: "acme", Name: "ann"}, ""); err != nil {
		t.Fatal(err)
	}
	if a := d.call("GET", "/api/v1/acme/usage?step=1h", ""); a.status != http.StatusOK || !strings.Contains(a.body, "site-of-acme") {
		t.Errorf("one's own: %d %s", a.status, a.body)
	}
	same := regexp.MustCompile(`"request":"[^"]*"|platform|nowhere`)
	other, none := d.call("GET", "/api/v1/platform/usage", ""), d.call("GET", "/api/v1/nowhere/usage", "")
	if other.status != 404 || none.status != 404 || same.ReplaceAllString(other.body, "") != same.ReplaceAllString(none.body, "") {
		t.Errorf("another's: %d %s, nobody's: %d %s", other.status, other.body, none.status, none.body)
	}
	for _, bad := range []string{"?from=yesterday", "?step=x", "?to=1"} {
		if a := d.call("GET", "/api/v1/acme/usage"+bad, ""); a.status != 400 {
			t.Errorf("%s: %d %s", bad, a.status, a.body)
		}
	}
}
