package browser

import (
	"encoding/json"
	"fmt"

	"github.com/chromedp/chromedp"
)

// Judge runs axe-core on the page and tells what is serious or worse.
func (e *Eyes) Judge(where string) {
	e.t.Helper()
	if _, err := chromedp.Run(e.Context, chromedp.Evaluate[bool](Axe+`;
		window.judged = null;
		axe.run(document, {resultTypes: ["violations"]}).then((r) => { window.judged = JSON.stringify(r.violations.filter((v) => v.impact === "serious" || v.impact === "critical").map((v) => v.id + ": " + v.nodes.map((n) => n.target.join(" ")).join(", "))); });
		true`)); err != nil {
		e.t.Fatalf("%s: axe: %v", where, err)
	}
	e.Until(where+": axe's verdict", `typeof window.judged === "string"`)
	s, err := chromedp.Run(e.Context, chromedp.Evaluate[string](`window.judged`))
	var list []string
	if err == nil {
		err = json.Unmarshal([]byte(s), &list)
	}
	if err != nil {
		e.t.Fatal(err)
	}
	for _, v := range list {
		e.t.Errorf("%s: %s", where, v)
	}
}

// Visit opens a page and fails where it scrolls sideways.
func (e *Eyes) Visit(path string) {
	e.t.Helper()
	e.Do(path, chromedp.Navigate(e.cell.Profile.Server+path))
	e.Until(path, fmt.Sprintf(`document.readyState === "complete" && location.pathname + location.search === %q`, path))
	if wide, err := chromedp.Run(e.Context, chromedp.Evaluate[bool](`document.documentElement.scrollWidth <= window.innerWidth`)); err != nil || !wide {
		e.t.Errorf("%s: wider than the window: %v", path, err)
	}
}
