package browser_test

import (
	"testing"

	"github.com/chromedp/chromedp"
)

// A key is made, its secret is shown on one page and copied from there.
func TestAnAccessKeyShowsItsSecretOnce(t *testing.T) {
	cell, e := enter(t)
	apply(t, cell, "kind: AccessKey\nmetadata: {tenant: platform, name: laptop}\nspec: {user: operator, write: true}\n")
	const path = "/records/accesskeys/platform/laptop"
	e.Visit(path)
	e.Judge("the key without a secret")
	e.EveryLook("accesskey-record")
	e.Do("make", chromedp.Click(chromedp.CSS(`a[href="`+path+`/do/issue"]`)))
	e.Until("the form", `location.pathname.endsWith("/do/issue") && document.readyState === "complete"`)
	e.Judge("the form")
	e.EveryLook("accesskey-form")
	e.Do("make it", chromedp.Click(chromedp.CSS("form.card button.main")))
	e.Until("the secret", `(document.querySelector("#made-secret")?.textContent ?? "").startsWith("dun_k_")`)
	e.Judge("the secret")
	e.EveryLook("accesskey-secret")
	e.Do("go on", chromedp.Click(chromedp.CSS(`a.button.main[href="`+path+`"]`)))
	e.Until("the record", `location.pathname === "`+path+`" && !document.body.textContent.includes("dun_k_")`)
	e.Visit("/records/accesskeys")
	e.Judge("the list")
	e.EveryLook("accesskey-list")
}
