package console

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
)

// A cookie that was stolen is worth nothing once its session was ended from
// another browser.
func TestAStolenSessionIsEndedFromTheAccountPage(t *testing.T) {
	h := newHouse(t)
	stolen := h.signIn(dayzero.Operator)
	h.signIn(dayzero.Operator)
	_, page := h.call("GET", "/account", nil)
	id := regexp.MustCompile(`name="session" value="([0-9a-f]{20})"`).FindStringSubmatch(page)
	if id == nil || strings.Contains(page, stolen) {
		t.Fatalf("no session to end, or a token is shown:\n%s", page)
	}
	if res, body := h.call("POST", "/account/end", url.Values{"session": {id[1]}}); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	h.jar = []*http.Cookie{{Name: sessionCookie, Value: stolen}}
	if res, _ := h.call("GET", "/account", nil); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("the stolen cookie still opens pages: %d", res.StatusCode)
	}
}

const auditor = `kind: RoleBinding
metadata: {tenant: platform, name: aud}
spec: {role: auditor, subjects: [{kind: User, name: aud}]}
`

// Who may read and not change is offered no change, and each form that he
// sends all the same is refused; so is every form from another site. The same
// forms do what they say when the operator sends them.
func TestWhatIsNotOfferedIsRefusedWhenForced(t *testing.T) {
	h := newHouse(t)
	h.put("kind: User\nmetadata: {tenant: platform, name: aud}\n")
	h.put(auditor)
	const manifest = "kind: Site\nmetadata: {tenant: platform, name: shop}\nspec: {hosts: [%s], origins: [{url: \"http://127.0.0.1:1\"}]}\n"
	first := h.put(fmt.Sprintf(manifest, "shop.test")).Metadata.Revision
	rev := func() string {
		o, err := h.gate.Get(t.Context(), identity.Actor{Principal: dayzero.Operator}, resource.Ref{Kind: "Site", Tenant: "platform", Name: "shop"})
		if err != nil {
			t.Fatal(err)
		}
		return number(o.Metadata.Revision)
	}
	forms := []struct {
		path string
		form func() url.Values
	}{
		{"/new/bans", func() url.Values {
			return url.Values{"yaml": {"kind: Ban\nmetadata: {tenant: platform, name: b}\nspec: {action: ban, sources: [192.0.2.1]}\n"}, "do": {"save"}}
		}},
		{"/records/sites/platform/shop/edit", func() url.Values {
			return url.Values{"yaml": {fmt.Sprintf(manifest, "other.test")}, "revision": {rev()}, "do": {"save"}}
		}},
		{"/records/sites/platform/shop/revert?to=" + number(first), func() url.Values { return url.Values{"revision": {rev()}} }},
		{"/bulk/sites", func() url.Values {
			return url.Values{"row": {"platform/shop@" + rev()}, "action": {"label"}, "key": {"env"}, "value": {"prod"}, "do": {"save"}}
		}},
		{"/records/sites/platform/shop/delete", func() url.Values { return url.Values{"revision": {rev()}} }},
	}
	h.signIn(resource.Ref{Kind: "User", Tenant: "platform", Name: "aud"})
	_, page := h.call("GET", "/records/sites/platform/shop", nil)
	for _, offer := range []string{"/shop/edit", "/shop/delete"} {
		if !strings.Contains(page, "shop.test") || strings.Contains(page, offer) {
			t.Errorf("%s is offered to who may only read", offer)
		}
	}
	at := h.gate.At()
	for _, f := range forms {
		if res, _ := h.call("POST", f.path, f.form()); res.StatusCode == http.StatusSeeOther || res.StatusCode >= 500 {
			t.Errorf("%s: %d for who may only read", f.path, res.StatusCode)
		}
	}
	h.signIn(dayzero.Operator)
	for _, f := range forms {
		if res, _ := h.call("POST", f.path, f.form(), "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"); res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d from another site", f.path, res.StatusCode)
		}
	}
	if h.gate.At() != at {
		t.Errorf("something was changed: %v, then %v", at, h.gate.At())
	}
	for _, f := range forms {
		before, form := h.gate.At(), f.form()
		if res, body := h.call("POST", f.path, form); res.StatusCode != http.StatusSeeOther || h.gate.At() == before {
			t.Errorf("%s: %d for the operator\n%s", f.path, res.StatusCode, body)
		}
		if f.path != "/new/bans" { // an older revision is a conflict, and is told
			if res, _ := h.call("POST", f.path, form); res.StatusCode == http.StatusSeeOther {
				t.Errorf("%s: done twice from one page", f.path)
			}
		}
	}
}
