package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/dun-sec/dun/internal/lab"
)

// tabTo presses Tab until what has the focus carries the words, as its text or
// its accessible name, and fails when the focus cannot be seen there.
func (e *eyes) tabTo(words string) {
	e.t.Helper()
	const focused = `(() => { const a = document.activeElement; if (!a || a === document.body) return "";
		const label = a.labels && a.labels.length ? a.labels[0].textContent : "";
		return [a.getAttribute("aria-label") || label || a.textContent || a.value || a.name].join("").trim(); })()`
	for range 120 {
		e.do("tab", chromedp.KeyEvent(kb.Tab))
		at, err := chromedp.Run(e.ctx, chromedp.Evaluate[string](focused))
		if err != nil {
			e.t.Fatal(err)
		}
		if strings.HasPrefix(at, words) {
			seen, err := chromedp.Run(e.ctx, chromedp.Evaluate[bool](`(() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle !== "none" && parseFloat(s.outlineWidth) > 0 || s.boxShadow !== "none"; })()`))
			if err != nil || !seen {
				e.t.Errorf("the focus on %q cannot be seen: %v", words, err)
			}
			return
		}
	}
	e.t.Fatalf("no Tab leads to %q on %s", words, e.html())
}

func (e *eyes) press(key string) { e.t.Helper(); e.do("press", chromedp.KeyEvent(key)) }

// TestASiteByKeyboardAlone enters by the link, adds a site, changes it, looks
// at history and proof, sees an attack, excepts it narrowly, changes the
// language and leaves: no pointer is used.
func TestASiteByKeyboardAlone(t *testing.T) {
	cell := lab.Up(t, lab.Build(t, "github.com/dun-sec/dun/cmd/dun"), filepath.Join(t.TempDir(), "d"))
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "shop") }))
	t.Cleanup(origin.Close)
	link, err := os.ReadFile(filepath.Join(cell.Dir, "bootstrap/link"))
	if err != nil {
		t.Fatal(err)
	}
	e := look(t, cell)
	e.do("open the link", chromedp.Navigate(strings.TrimSpace(string(link))))
	e.tabTo("Sign in")
	e.press(kb.Enter)
	e.until("the first page", `location.pathname === "/" && document.querySelector("#status .good") !== null`)

	e.press(kb.Tab)
	e.until("the first Tab leads past the navigation", `document.activeElement.getAttribute("href") === "#main"`)
	e.tabTo("Site")
	e.press(kb.Enter)
	e.until("the list", `location.pathname === "/records/sites" && document.readyState === "complete"`)
	e.tabTo("+ Add")
	e.press(kb.Enter)
	e.until("the form", `location.pathname === "/new/sites" && document.readyState === "complete"`)
	e.tabTo("Name")
	e.press("shop")
	e.tabTo("Hosts 1")
	e.press("shop.test")
	e.tabTo("Address")
	e.press(origin.URL)
	e.press(kb.Enter)
	e.until("the record", `location.pathname === "/records/sites/platform/shop" && document.readyState === "complete"`)
	e.tabTo("History")
	e.press(kb.Enter)
	e.until("history", `location.pathname.endsWith("/history") && document.readyState === "complete"`)
	e.tabTo("Proof")
	e.press(kb.Enter)
	e.until("proof", `location.pathname.endsWith("/proof") && document.readyState === "complete"`)

	e.tabTo("Overview")
	e.press(kb.Enter)
	e.until("home", `location.pathname === "/" && document.querySelector("#r-platform-shop") !== null`)
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
	e.until("the block appears by itself", `document.querySelectorAll("#blocks tbody tr").length === 1`)
	e.tabTo(id)
	e.press(kb.Enter)
	e.until("the block", fmt.Sprintf(`location.pathname === "/blocks/%s" && document.readyState === "complete"`, id))
	e.tabTo("Except")
	e.press(kb.Enter)
	e.until("a form for the exclusion", `location.pathname === "/new/exclusions" && document.readyState === "complete"`)
	e.tabTo("Save")
	e.press(kb.Enter)
	e.until("the exclusion", `location.pathname.startsWith("/records/exclusions/platform/") && document.readyState === "complete"`)

	e.tabTo("简体中文")
	e.press(kb.Enter)
	e.until("Chinese", `document.documentElement.lang === "zh-CN"`)
	e.tabTo("退出")
	e.press(kb.Enter)
	e.until("outside", `document.querySelector(".door pre") !== null`)
}
