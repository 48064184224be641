// Package browser looks at the console as a person does: a real chromium on a
// real cell. It proves that the page lives, that no content policy is
// violated, and it leaves pictures for people.
package browser_test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/dun-sec/dun/internal/lab"
	"github.com/dun-sec/dun/internal/lab/browser"
)

var shots = flag.String("shots", "", "folder for the pictures; empty = a temporary one")

// printed waits for the cell to say what it says once it is ready.
func printed(t *testing.T, cell *lab.Cell, want string) {
	t.Helper()
	late := time.NewTimer(lab.Wait)
	defer late.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(cell.Output(), want) {
		select {
		case <-late.C:
			t.Fatalf("%q was not printed:\n%s", want, cell.Output())
		case <-tick.C:
		}
	}
}

func TestAPersonSeesTheCellLive(t *testing.T) {
	cell := lab.Up(t, lab.Build(t, "github.com/dun-sec/dun/cmd/dun"), filepath.Join(t.TempDir(), "d"))
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "shop") }))
	t.Cleanup(origin.Close)
	e := browser.Open(t, cell, *shots)
	printed(t, cell, e.Link())
	e.Do("open the link", chromedp.Navigate(e.Link()))
	e.Shoot("enter-wide-light", 1280, "light")
	e.Do("burn it", chromedp.Click(chromedp.CSS("button.main")))
	e.Until("the page that sets up", `location.pathname === "/setup"`)
	e.EveryLook("setup")
	key := e.Key()
	password := func(id string) chromedp.Action[chromedp.Void] {
		return chromedp.SendKeys(chromedp.CSS(id), lab.Password)
	}
	e.Do("a wrong code", password("#f-password"), password("#f-again"), chromedp.SendKeys(chromedp.CSS("#f-code"), "000000"), chromedp.Click(chromedp.CSS("button.main")))
	e.Until("it says why", `document.querySelector("[role=alert]") !== null && document.querySelector("#f-password").value === ""`)
	e.Shoot("setup-wrong-wide-light", 1280, "light")
	e.Do("the right one", password("#f-password"), password("#f-again"), chromedp.SendKeys(chromedp.CSS("#f-code"), lab.LastCode(t, key)), chromedp.Click(chromedp.CSS("button.main")))
	e.Until("the first page", `location.pathname === "/" && document.querySelector("#status .good") !== null`)
	if _, err := os.Stat(filepath.Join(cell.Dir, "bootstrap/link")); !os.IsNotExist(err) {
		t.Errorf("the link is not burnt: %v", err)
	}
	e.EveryLook("empty")

	apply := func(name, host string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "site.yaml")
		y := fmt.Sprintf("kind: Site\nmetadata: {tenant: platform, name: %s}\nspec:\n  hosts: [%s]\n  origins: [{url: %q}]\n", name, host, origin.URL)
		if err := os.WriteFile(file, []byte(y), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, exit := cell.Dun("apply", "-f", file); exit != 0 {
			t.Fatalf("apply: %d %s", exit, out)
		}
	}
	apply("shop", "shop.test")
	e.Until("the site appears by itself", `document.querySelector("#r-platform-shop") !== null`)
	apply("a-site-with-quite-a-long-name-that-goes-on-and-on-for-sixty-one", "a-very-long-host-name.with-many-labels.and-more-of-them.shop.example.test")
	e.Until("the second site", `document.querySelectorAll("#records tbody tr").length === 2`)

	attack := func(path string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, cell.Status.Endpoints["edgeHTTP"]+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "shop.test"
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusForbidden {
			t.Fatalf("the attack was answered %d", res.StatusCode)
		}
	}
	attack("/search?q=1%27%20OR%201=1%20--%20")
	e.Until("the block appears by itself", `document.querySelectorAll("#blocks tbody tr").length === 1 && document.querySelectorAll("#chart rect").length === 1`)
	for _, path := range []string{"/?x=%3Cscript%3Ealert(1)%3C/script%3E", "/etc?f=../../../../etc/passwd", "/" + strings.Repeat("long/", 60) + "?q=%3Cscript%3Ealert(1)%3C/script%3E", "/?c=;cat%20/etc/passwd"} {
		attack(path)
	}
	e.Until("all blocks", `document.querySelectorAll("#blocks tbody tr").length === 5`)
	e.EveryLook("home")
	e.Do("language", chromedp.Click(chromedp.CSS(".lang button")))
	e.Until("Chinese", `document.documentElement.lang === "zh-CN" && document.querySelector("#chart h2").textContent === "每分钟拦截"`)
	e.EveryLook("home-zh")

	e.Do("explain", chromedp.Click(chromedp.CSS("#blocks tbody tr:last-child td:last-child a")))
	e.Until("the explanation", `document.querySelector("pre") !== null && document.querySelector("pre").textContent.includes("kind: Exclusion")`)
	e.EveryLook("block-zh")
	e.Do("back to English", chromedp.Click(chromedp.CSS(".lang button")))
	e.Until("English", `document.documentElement.lang === "en" && location.pathname.startsWith("/blocks/")`)
	e.EveryLook("block")
	apply("shop", "www.shop.test")
	e.Do("a record", chromedp.Navigate(cell.Profile.Server+"/records/sites/platform/shop/history"))
	e.Until("history", `document.querySelector(".diff ins") !== null`)
	e.EveryLook("record")
	for _, p := range []struct{ name, path string }{{"gallery", "/gallery"}, {"usage", "/usage?span=1h"}, {"account", "/account"}, {"edit", "/records/sites/platform/shop/edit"}, {"events", "/events"}, {"audit", "/audit"}, {"proof", "/records/sites/platform/shop/proof"}, {"new", "/new/sites"}} {
		e.Do(p.name, chromedp.Navigate(cell.Profile.Server+p.path))
		e.EveryLook(p.name)
	}
	e.Do("a request", chromedp.Navigate(cell.Profile.Server+ask(t, cell, "kind: Site\nmetadata: {tenant: platform, name: shop}\nspec:\n  hosts: [www.shop.test, shop.example]\n  origins: [{url: \""+origin.URL+"\"}]\n", "the shop gets one more name")))
	e.Until("a difference", `document.querySelector(".diff ins") !== null`)
	e.EveryLook("request")
	e.Do("a list", chromedp.Navigate(cell.Profile.Server+"/records/policies"))
	e.EveryLook("list")

	e.Do("the first page again", chromedp.Navigate(cell.Profile.Server+"/"))
	e.Until("it lives", `document.querySelectorAll("#blocks tbody tr").length === 5`)
	if _, err := chromedp.Run(e.Context, chromedp.Evaluate[bool](`fetch("/leave", {method: "POST"}) && true`)); err != nil { // as another window would
		t.Fatal(err)
	}
	e.Until("the page says that the session ended", `document.querySelector("#ended .note") !== null`)
	e.Shoot("ended-wide-light", 1280, "light")
	e.Do("the first page, signed out", chromedp.Navigate(cell.Profile.Server+"/"))
	e.Until("signed out", `document.querySelector("#f-password") !== null`)
	e.EveryLook("outside")
	e.Do("name and password", chromedp.SendKeys(chromedp.CSS("#f-name"), "operator"), password("#f-password"), chromedp.Click(chromedp.CSS("button.main")))
	e.Until("the second step", `document.querySelector("#f-code") !== null && document.activeElement.id === "f-code"`)
	e.EveryLook("code")
	e.Do("the code", chromedp.SendKeys(chromedp.CSS("#f-code"), lab.Code(t, key, time.Now().Add(30*time.Second))), chromedp.Click(chromedp.CSS("button.main")))
	e.Until("in again", `location.pathname === "/" && document.querySelectorAll("#blocks tbody tr").length === 5`)
	for _, m := range e.Said() {
		// The page for the signed out is a 401, and one that shows a mistake is a
		// 400, which chromium notes.
		if !strings.Contains(m, "401") && !strings.Contains(m, "400") {
			t.Errorf("the browser says: %s", m)
		}
	}
}

// TestTheBrowserWouldSay shows that a violation would be seen: what the page
// forbids is tried in it.
func TestTheBrowserWouldSay(t *testing.T) {
	cell := lab.Up(t, lab.Build(t, "github.com/dun-sec/dun/cmd/dun"), filepath.Join(t.TempDir(), "d"))
	e := browser.Open(t, cell, *shots)
	e.Do("open", chromedp.Navigate(cell.Profile.Server+"/enter"))
	e.Do("violate", chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`(() => {
			window.said = [];
			document.addEventListener("securitypolicyviolation", (v) => window.said.push(v.effectiveDirective));
			const s = document.createElement("style"); s.textContent = "p{color:red}"; document.head.append(s);
			const i = new Image(); i.src = "https://elsewhere.invalid/x.png";
			try { document.body.innerHTML = "<p>x</p>"; } catch (e) { window.said.push("threw"); }
			return true;
		})()`))
		return err
	}))
	e.Until("violations are noticed", `["style-src-elem", "img-src", "require-trusted-types-for", "threw"].every((d) => window.said.includes(d))`)
	if len(e.Said()) == 0 {
		t.Error("the console said nothing: the other test proves nothing")
	}
}
