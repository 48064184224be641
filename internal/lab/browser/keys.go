package browser

import (
	"strings"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TabTo presses Tab until what has the focus carries the words, as its text or
// its accessible name, and fails when the focus cannot be seen there.
func (e *Eyes) TabTo(words string) {
	e.t.Helper()
	const focused = `(() => { const a = document.activeElement; if (!a || a === document.body) return "";
		const label = a.labels && a.labels.length ? a.labels[0].textContent : "";
		return [a.getAttribute("aria-label") || label || a.textContent || a.value || a.name].join("").trim(); })()`
	for range 120 {
		e.Do("tab", chromedp.KeyEvent(kb.Tab))
		at, err := chromedp.Run(e.Context, chromedp.Evaluate[string](focused))
		if err != nil {
			e.t.Fatal(err)
		}
		if strings.HasPrefix(at, words) {
			seen, err := chromedp.Run(e.Context, chromedp.Evaluate[bool](`(() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle !== "none" && parseFloat(s.outlineWidth) > 0 || s.boxShadow !== "none"; })()`))
			if err != nil || !seen {
				e.t.Errorf("the focus on %q cannot be seen: %v", words, err)
			}
			return
		}
	}
	e.t.Fatalf("no Tab leads to %q on %s", words, e.HTML())
}

// Press presses a key, or types text.
func (e *Eyes) Press(key string) { e.t.Helper(); e.Do("press", chromedp.KeyEvent(key)) }
