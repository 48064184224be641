package browser_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/dun-sec/dun/internal/lab"
	"github.com/dun-sec/dun/internal/lab/browser"
)

// TestASiteByKeyboardAlone enters by the link, adds a site, changes it, looks
// at history and proof, sees an attack, excepts it narrowly, changes the
// language and leaves: no pointer is used.
func TestASiteByKeyboardAlone(t *testing.T) {
	cell := lab.Up(t, lab.Build(t, "github.com/dun-sec/dun/cmd/dun"), filepath.Join(t.TempDir(), "d"))
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "shop") }))
	t.Cleanup(origin.Close)
	e := browser.Open(t, cell, *shots)
	e.Do("open the link", chromedp.Navigate(e.Link()))
	e.TabTo("Continue")
	e.Press(kb.Enter)
	e.Until("the page that sets up", `location.pathname === "/setup" && document.readyState === "complete"`)
	key := e.Key()
	e.TabTo("Password")
	e.Press(lab.Password)
	e.TabTo("The same again")
	e.Press(lab.Password)
	e.TabTo("Code that the app shows")
	e.Press(lab.Code(t, key, time.Now()))
	e.Press(kb.Enter)
	e.Until("the first page", `location.pathname === "/" && document.querySelector("#status .good") !== null`)

	e.Press(kb.Tab)
	e.Until("the first Tab leads past the navigation", `document.activeElement.getAttribute("href") === "#main"`)
	e.TabTo("Site")
	e.Press(kb.Enter)
	e.Until("the list", `location.pathname === "/records/sites" && document.readyState === "complete"`)
	e.TabTo("+ Add")
	e.Press(kb.Enter)
	e.Until("the form", `location.pathname === "/new/sites" && document.readyState === "complete"`)
	e.TabTo("Name")
	e.Press("shop")
	e.TabTo("Hosts 1")
	e.Press("shop.test")
	e.TabTo("Address")
	e.Press(origin.URL)
	e.Press(kb.Enter)
	e.Until("the record", `location.pathname === "/records/sites/platform/shop" && document.readyState === "complete"`)
	e.TabTo("History")
	e.Press(kb.Enter)
	e.Until("history", `location.pathname.endsWith("/history") && document.readyState === "complete"`)
	e.TabTo("Proof")
	e.Press(kb.Enter)
	e.Until("proof", `location.pathname.endsWith("/proof") && document.readyState === "complete"`)

	e.TabTo("Overview")
	e.Press(kb.Enter)
	e.Until("home", `location.pathname === "/" && document.querySelector("#r-platform-shop") !== null`)
	req, err := http.NewRequest(http.MethodGet, cell.Status.Endpoints["edgeHTTP"]+"/?id=1%27%20OR%201=1--", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "shop.test"
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	id := res.Header.Get("Dun-Request-Id")
	e.Until("the block appears by itself", `document.querySelectorAll("#blocks tbody tr").length === 1`)
	e.TabTo(id)
	e.Press(kb.Enter)
	e.Until("the block", fmt.Sprintf(`location.pathname === "/blocks/%s" && document.readyState === "complete"`, id))
	e.TabTo("Except")
	e.Press(kb.Enter)
	e.Until("a form for the exclusion", `location.pathname === "/new/exclusions" && document.readyState === "complete"`)
	e.TabTo("Save")
	e.Press(kb.Enter)
	e.Until("the exclusion", `location.pathname.startsWith("/records/exclusions/platform/") && document.readyState === "complete"`)

	e.TabTo("简体中文")
	e.Press(kb.Enter)
	e.Until("Chinese", `document.documentElement.lang === "zh-CN"`)
	e.TabTo("退出")
	e.Press(kb.Enter)
	e.Until("outside", `document.querySelector("#f-password") !== null`)
}
