package browser

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/chromedp/chromedp"

	"github.com/dun-sec/dun/internal/lab"
)

// Link is the cell's one-time link.
func (e *Eyes) Link() string {
	e.t.Helper()
	b, err := os.ReadFile(filepath.Join(e.cell.Dir, "bootstrap/link"))
	if err != nil {
		e.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// Key is what the page tells an authenticator app.
func (e *Eyes) Key() string {
	e.t.Helper()
	key, err := chromedp.Run(e.Context, chromedp.Evaluate[string](`document.querySelector("#app-key").textContent`))
	if err != nil {
		e.t.Fatal(err)
	}
	return key
}

// Enter opens the link, sets a password and an app as a person does, and waits
// for the first page. It returns the app's key.
func (e *Eyes) Enter() string {
	e.t.Helper()
	e.Do("open the link", chromedp.Navigate(e.Link()))
	e.Do("burn it", chromedp.Click(chromedp.CSS("button.main")))
	e.Until("the page that sets up", `location.pathname === "/setup" && document.querySelector("#app-key") !== null`)
	key := e.Key()
	code := lab.LastCode(e.t, key)
	e.Do("set up", chromedp.SendKeys(chromedp.CSS("#f-password"), lab.Password), chromedp.SendKeys(chromedp.CSS("#f-again"), lab.Password),
		chromedp.SendKeys(chromedp.CSS("#f-code"), code), chromedp.Click(chromedp.CSS("button.main")))
	e.Until("the first page", `location.pathname === "/" && document.querySelector("#status .good") !== null`)
	return key
}
