package console

import (
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
)

func TestUsageIsOfWhoMaySeeIt(t *testing.T) {
	h := newHouse(t)
	for _, y := range []string{
		"kind: Tenant\nmetadata: {tenant: platform, name: acme}\nspec: {}\n",
		"kind: User\nmetadata: {tenant: acme, name: ann}\nspec: {}\n",
		"kind: Policy\nmetadata: {tenant: acme, name: all}\nspec: {cedar: 'permit (principal == User::\"acme/ann\", action, resource);'}\n",
	} {
		h.put(y)
	}
	h.signIn(dayzero.Operator)
	_, body := h.call("GET", "/usage?tenant=acme&span=1h", nil)
	for _, want := range []string{"site-of-acme", "3.0 MiB", "10ms", `href="/usage?span=30d&amp;tenant=acme"`, `data-points="`} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not on the page: %s", want, body)
		}
	}
	h.signIn(resource.Ref{Kind: "User", Tenant: "acme", Name: "ann"})
	if res, body := h.call("GET", "/usage", nil); res.StatusCode != 200 || !strings.Contains(body, "site-of-acme") {
		t.Errorf("one's own: %d", res.StatusCode)
	}
	other, body := h.call("GET", "/usage?tenant=platform", nil)
	none, _ := h.call("GET", "/usage?tenant=nowhere", nil)
	if other.StatusCode != 404 || none.StatusCode != 404 || strings.Contains(body, "site-of") {
		t.Errorf("another's: %d, nobody's: %d", other.StatusCode, none.StatusCode)
	}
}
