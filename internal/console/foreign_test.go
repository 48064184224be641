package console

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
)

// Whoever has one tenant finds nothing of another on any page: neither in what
// is shown nor in how the answer differs from that for what does not exist. The
// operator finds it on the same pages, so that the search proves something.
func TestNoPageTellsAnotherTenant(t *testing.T) {
	h := newHouse(t)
	for _, y := range []string{
		"kind: Tenant\nmetadata: {tenant: platform, name: acme}\nspec: {}\n",
		"kind: User\nmetadata: {tenant: acme, name: ann}\nspec: {}\n",
		"kind: Policy\nmetadata: {tenant: acme, name: all}\nspec: {cedar: 'permit (principal == User::\"acme/ann\", action, resource);'}\n",
		site("acme", "ownsite", "own.test", 0), site("platform", "foreign", "foreign.test", 0),
		"kind: Attack\nmetadata: {tenant: platform, name: foreign-attack}\nspec: {site: foreign, vectors: [web], start: 2026-01-02T03:04:05Z}\n",
	} {
		h.put(y)
	}
	h.hit("platform", "/foreignpath", "m")
	const one, none = "/records/sites/platform/foreign", "/records/sites/platform/nothing"
	pages := []string{"/", "/search?q=foreign", "/events", "/events?tenant=platform", "/audit", "/audit?log=main&who=operator", "/audit?log=denials", "/account", "/records/attacks", "/records/attacks?tenant=platform", "/records/sites?q=foreign"}
	twins := []string{"", "/edit", "/edit?as=yaml", "/history", "/proof", "/delete", "/revert?to=1"}
	seen := 0
	h.signIn(dayzero.Operator)
	for _, p := range pages {
		if _, body := h.call("GET", p, nil); strings.Contains(strings.ReplaceAll(body, "q=foreign", ""), "foreign") {
			seen++
		}
	}
	if seen < 6 {
		t.Fatalf("the operator himself finds it on %d pages only", seen)
	}
	h.signIn(resource.Ref{Kind: "User", Tenant: "acme", Name: "ann"})
	for _, p := range pages {
		_, body := h.call("GET", p, nil)
		for _, word := range []string{"foreign.test", "foreignpath", "foreign-attack", "platform/foreign", "secretcell"} {
			if strings.Contains(body, word) {
				t.Errorf("%s tells %q", p, word)
			}
		}
	}
	plain := func(path, body string) string { // what differs by the name that was asked for, and by the request
		at := strings.Index(body, "<main")
		if at < 0 {
			t.Fatalf("%s has no main part", path)
		}
		return strings.NewReplacer("foreign", "X", "nothing", "X").Replace(body[at:])
	}
	for _, p := range twins {
		a, there := h.call("GET", one+p, nil)
		b, gone := h.call("GET", none+p, nil)
		if a.StatusCode != http.StatusNotFound || b.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d, and %d for what does not exist", p, a.StatusCode, b.StatusCode)
		}
		cut := func(path, body, id string) string { return strings.ReplaceAll(plain(path, body), id, "") }
		if cut(p, there, a.Header.Get("Dun-Request-Id")) != cut(p, gone, b.Header.Get("Dun-Request-Id")) {
			t.Errorf("%s tells a hidden record from one that does not exist", p)
		}
	}
	at := h.gate.At()
	for path, form := range map[string]url.Values{
		one + "/edit":   {"yaml": {"kind: Site\nmetadata: {tenant: platform, name: foreign}\nspec: {hosts: [x.test], origins: [{url: \"http://127.0.0.1:1\"}]}\n"}, "revision": {"15"}, "do": {"save"}},
		one + "/delete": {"revision": {"15"}}, one + "/bundle": nil, "/origins/platform/foreign": nil,
		"/bulk/sites": {"row": {"platform/foreign@15"}, "action": {"delete"}, "do": {"save"}},
	} {
		if res, body := h.call("POST", path, form); res.StatusCode == http.StatusSeeOther || strings.Contains(body, "foreign.test") {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
	if h.gate.At() != at {
		t.Error("something of another tenant was changed")
	}
}
