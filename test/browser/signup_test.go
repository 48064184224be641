package browser_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/dun-sec/dun/internal/lab"
	"github.com/dun-sec/dun/internal/lab/browser"
)

// TestAStrangerGetsATenant: a stranger asks, the operator approves, and the link
// lets her in to her own tenant.
func TestAStrangerGetsATenant(t *testing.T) {
	cell := lab.Up(t, lab.Build(t, "github.com/dun-sec/dun/cmd/dun"), filepath.Join(t.TempDir(), "d"), "console: {signUp: true}")
	she, operator := browser.Open(t, cell, *shots), browser.Open(t, cell, *shots)
	she.Visit("/")
	she.Do("sign up", chromedp.Click(chromedp.CSS(`a[href="/sign-up"]`)))
	she.Until("the form", `location.pathname === "/sign-up" && document.querySelector("#f-tenant") !== null`)
	she.Judge("the form")
	she.EveryLook("sign-up")
	she.Do("ask", chromedp.SendKeys(chromedp.CSS("#f-tenant"), "acme"), chromedp.SendKeys(chromedp.CSS("#f-name"), "ann"), chromedp.SendKeys(chromedp.CSS("#f-note"), "Acme, room 5"), chromedp.Click(chromedp.CSS("button.main")))
	she.Until("her link", `document.querySelector("#sign-up-link") !== null`)
	she.Judge("her link")
	she.EveryLook("sign-up-link")
	link, err := chromedp.Run(she.Context, chromedp.Evaluate[string](`document.querySelector("#sign-up-link").textContent`))
	if err != nil || !strings.HasPrefix(link, "https://") {
		t.Fatalf("%q %v", link, err)
	}

	operator.Enter()
	operator.Do("sign-ups", chromedp.Click(chromedp.CSS(`nav a[href="/sign-ups"]`)))
	operator.Until("the list", `location.pathname === "/sign-ups" && document.body.textContent.includes("Acme, room 5")`)
	operator.Judge("the list")
	operator.EveryLook("sign-ups")
	operator.Do("approve", chromedp.Click(chromedp.CSS("button.main")))
	operator.Until("approved", `document.body.textContent.includes("has not entered yet")`)

	she.Do("open her link", chromedp.Navigate(link))
	she.Do("burn it", chromedp.Click(chromedp.CSS("button.main")))
	she.Until("the page that sets up", `location.pathname === "/setup" && document.querySelector("#app-key") !== null`)
	code := lab.LastCode(t, she.Key())
	she.Do("set up", chromedp.SendKeys(chromedp.CSS("#f-password"), lab.Password), chromedp.SendKeys(chromedp.CSS("#f-again"), lab.Password),
		chromedp.SendKeys(chromedp.CSS("#f-code"), code), chromedp.Click(chromedp.CSS("button.main")))
	she.Until("her first page", `location.pathname === "/" && document.body.textContent.includes("acme/ann")`)
	she.Visit("/records/users")
	she.Until("herself", `document.body.textContent.includes("ann") && !document.body.textContent.includes("platform/operator")`)
	operator.Visit("/sign-ups")
	operator.Until("nobody waits", `document.body.textContent.includes("Nobody waits")`)
}
