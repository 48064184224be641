package console

import (
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/db"
	"github.com/dun-sec/dun/internal/core/identity/signup"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/govern/signups"
)

var signUpLink = regexp.MustCompile(`id="sign-up-link"[^>]*>https://[^/]+/enter\?t=([a-z0-9.]+)<`)

// TestAStrangerSignsUp asks for a tenant, is approved, enters by his link once,
// and has every right in his tenant and none elsewhere.
func TestAStrangerSignsUp(t *testing.T) {
	h := newHouse(t)
	if res, _ := h.call("GET", "/sign-up", nil); res.StatusCode != 404 {
		t.Errorf("off by default: %d", res.StatusCode)
	}
	d, err := db.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "meta.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	store, err := signup.Open(t.Context(), d, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	s := signups.New(h.gate, store)
	h.console.opt.SignUps = s
	h.console.opt.Enter = func(token string) (resource.Ref, error) { return s.Enter(t.Context(), token) }

	if _, body := h.call("GET", "/", nil); !strings.Contains(body, `href="/sign-up"`) {
		t.Error("the way there is missing")
	}
	if res, body := h.call("POST", "/sign-up", url.Values{"tenant": {"Acme!"}, "name": {"ann"}}); res.StatusCode != 400 || !strings.Contains(body, "small letters") {
		t.Errorf("%d", res.StatusCode)
	}
	ask := func(tenant string) string {
		t.Helper()
		res, body := h.call("POST", "/sign-up", url.Values{"tenant": {tenant}, "name": {"ann"}, "note": {"<b>it is me</b>"}})
		m := signUpLink.FindStringSubmatch(body)
		if res.StatusCode != 201 || m == nil {
			t.Fatalf("%d %s", res.StatusCode, body)
		}
		return m[1]
	}
	link, other := ask("acme"), ask("platform") // a name that is taken is answered alike
	if res, _ := h.call("POST", "/enter", url.Values{"t": {link}}); res.StatusCode != 401 {
		t.Errorf("before it is approved: %d", res.StatusCode)
	}
	for _, path := range []string{"/sign-ups"} {
		if res, body := h.call("GET", path, nil); res.StatusCode != 401 || strings.Contains(body, "it is me") {
			t.Errorf("a stranger: %d", res.StatusCode)
		}
	}
	h.signIn(dayzero.Operator)
	_, page := h.call("GET", "/sign-ups", nil)
	forms := regexp.MustCompile(`action="(/sign-ups/[a-z0-9]+/approve)"`).FindAllStringSubmatch(page, -1)
	if len(forms) != 2 || !strings.Contains(page, "&lt;b&gt;it is me") || !strings.Contains(page, `href="/sign-ups"`) {
		t.Fatalf("%s", page)
	}
	if res, body := h.call("POST", forms[0][1], nil); res.StatusCode != 303 {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	if res, _ := h.call("POST", forms[1][1], nil); res.StatusCode != 409 {
		t.Errorf("a tenant that is there: %d", res.StatusCode)
	}
	if res, _ := h.call("POST", strings.Replace(forms[1][1], "approve", "refuse", 1), nil); res.StatusCode != 303 {
		t.Errorf("%d", res.StatusCode)
	}
	ann := resource.Ref{Kind: "User", Tenant: "acme", Name: "ann"}
	h.signIn(ann)
	if res, _ := h.call("GET", "/sign-ups", nil); res.StatusCode != 404 {
		t.Errorf("a tenant decides: %d", res.StatusCode)
	}
	if res, _ := h.call("POST", forms[1][1], nil); res.StatusCode != 404 {
		t.Errorf("a tenant approves: %d", res.StatusCode)
	}
	if res, body := h.call("GET", "/records/users?tenant=acme", nil); res.StatusCode != 200 || !strings.Contains(body, "ann") || strings.Contains(body, "operator</a>") {
		t.Errorf("her own tenant: %d", res.StatusCode)
	}
	res, _ := h.call("POST", "/enter", url.Values{"t": {link}})
	if res.StatusCode != 303 || res.Header.Get("Location") != "/setup" {
		t.Errorf("by her link: %d", res.StatusCode)
	}
	for what, token := range map[string]string{"a second time": link, "who was refused": other} {
		if res, _ := h.call("POST", "/enter", url.Values{"t": {token}}); res.StatusCode != 401 {
			t.Errorf("%s: %d", what, res.StatusCode)
		}
	}
	slow := 0
	for range 40 {
		if res, _ := h.call("POST", "/sign-up", url.Values{"tenant": {"acme"}, "name": {"ann"}}); res.StatusCode == 429 {
			slow++
		}
	}
	if list, err := store.Pending(t.Context()); err != nil || len(list) > signup.MaxNetwork || slow < 30 {
		t.Errorf("%d wait, %d were slowed: %v", len(list), slow, err)
	}
}

// TestALinkIsNoWayIntoAUserOfThatName: somebody else makes the tenant and the
// user that a stranger asked for.
func TestALinkIsNoWayIntoAUserOfThatName(t *testing.T) {
	h := newHouse(t)
	d, err := db.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "meta.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	store, err := signup.Open(t.Context(), d, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	s := signups.New(h.gate, store)
	token, err := s.Ask(t.Context(), signup.Wish{Tenant: "acme", Name: "ann", Source: "192.0.2.1"})
	if err != nil {
		t.Fatal(err)
	}
	h.signIn(dayzero.Operator)
	h.put("kind: Tenant\nmetadata: {tenant: platform, name: acme}\nspec: {}\n")
	h.put("kind: User\nmetadata: {tenant: acme, name: ann}\nspec: {}\n")
	if who, err := s.Enter(t.Context(), token); err == nil {
		t.Errorf("a stranger enters as %s", who)
	}
}
