package browser_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds"
	"github.com/dun-sec/dun/internal/lab"
	"github.com/dun-sec/dun/internal/lab/browser"
)

// enter signs in to a new cell by its link.
func enter(t *testing.T) (*lab.Cell, *browser.Eyes) {
	t.Helper()
	cell := lab.Up(t, lab.Build(t, "github.com/dun-sec/dun/cmd/dun"), filepath.Join(t.TempDir(), "d"))
	e := browser.Open(t, cell, *shots)
	e.Enter()
	return cell, e
}

// apply makes records by the command line, as one transaction.
func apply(t *testing.T, cell *lab.Cell, yaml string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "records.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, exit := cell.Dun("apply", "--no-wait", "-f", file); exit != 0 {
		t.Fatalf("apply: %d %s", exit, out)
	}
}

const needed = `kind: Tenant
metadata: {tenant: platform, name: acme}
spec: {}
---
kind: Site
metadata: {tenant: platform, name: shop}
spec: {hosts: [needed.test], origins: [{url: "http://127.0.0.1:1"}]}
---
kind: Role
metadata: {tenant: platform, name: netops}
spec: {}
---
kind: User
metadata: {tenant: platform, name: zhou-min}
spec: {}
`

// ask makes a change request of a record and returns its page.
func ask(t *testing.T, cell *lab.Cell, yaml, why string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "asked.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	why = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' ' // a reason is one line
		}
		return r
	}, strings.ToValidUTF8(why, ""))
	out, exit := cell.Dun("request", "-f", file, "--reason", why[:min(len(why), 900)])
	name := regexp.MustCompile(`cr-[a-z2-7]{8}`).FindString(out)
	if exit != 9 || name == "" {
		t.Fatalf("%d %s", exit, out)
	}
	return "/records/changerequests/platform/" + name
}

// examples makes the example of each kind and lists its pages.
func examples(t *testing.T, cell *lab.Cell) (pages []string) {
	t.Helper()
	apply(t, cell, needed)
	reg, err := resource.NewRegistry(kinds.All()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range reg.All() {
		docs, err := resource.ParseYAML([]byte(k.Example))
		if err != nil {
			t.Fatal(err)
		}
		o, _, err := reg.Decode(docs[0])
		if err != nil {
			t.Fatal(err)
		}
		if k.Name == "ChangeRequest" { // made by a change that somebody asks for
			one := ask(t, cell, "kind: Role\nmetadata: {tenant: platform, name: asked}\nspec: {description: Asked for}\n", "somebody has to")
			pages = append(pages, "/records/"+k.Plural, one, one+"/do/approve", one+"/history", one+"/proof")
			continue
		}
		apply(t, cell, k.Example)
		one := "/records/" + k.Plural + "/" + o.Metadata.Tenant + "/" + o.Metadata.Name
		pages = append(pages, "/records/"+k.Plural, "/new/"+k.Plural, one, one+"/edit", one+"/edit?as=yaml", one+"/history", one+"/proof", one+"/delete")
	}
	return pages
}

// TestEveryPageOfEveryKindIsAccessible asks axe-core of every page in both
// languages, in light and in dark: nothing serious, nothing in the console.
func TestEveryPageOfEveryKindIsAccessible(t *testing.T) {
	cell, e := enter(t)
	pages := append([]string{"/", "/events", "/audit", "/access", "/access?action=site.read&record=site%2Fplatform%2Fshop", "/search?q=shop", "/gallery", "/account"}, examples(t, cell)...)
	for i, lang := range []string{"en", "zh-CN"} {
		e.Shoot("axe-"+lang, 1280, []string{"light", "dark"}[i])
		for _, path := range pages {
			e.Visit(path)
			e.Until(path+" in its language", fmt.Sprintf(`document.documentElement.lang === %q`, lang))
			e.Judge(lang + " " + path)
		}
		e.Do("language", chromedp.Click(chromedp.CSS(".lang button")))
		e.Until("another language", fmt.Sprintf(`document.documentElement.lang !== %q`, lang))
	}
	for _, m := range e.Said() {
		t.Errorf("the browser says: %s", m)
	}
}

// A page that is wrong is seen to be: the verdict above can fail.
func TestAxeWouldSay(t *testing.T) {
	_, e := enter(t)
	s, err := chromedp.Run(e.Context, chromedp.Evaluate[bool](`(() => { document.querySelector("main").append(document.createElement("button")); return true; })()`))
	if err != nil || !s {
		t.Fatal(err)
	}
	if _, err := chromedp.Run(e.Context, chromedp.Evaluate[bool](browser.Axe+`; window.judged = null; axe.run(document).then((r) => { window.judged = r.violations.map((v) => v.id).join(" "); }); true`)); err != nil {
		t.Fatal(err)
	}
	e.Until("axe says so", `typeof window.judged === "string" && window.judged.includes("button-name")`)
}

// hostile are values that would run, break the layout or turn the text around
// them if a page believed them. JSON writes them into manifests.
var hostile = []string{
	`<script>window.pwned=1</script><img src=x onerror=window.pwned=1>`,
	`"><svg onload=window.pwned=1>' autofocus onfocus=window.pwned=1 x='`,
	`javascript:window.pwned=1//{{constructor.constructor('window.pwned=1')()}}`,
	strings.Repeat("W", 900),
	"مرحبا \u202egnp.exe\u2066 שלום \u200f\u061c",
}

// plant puts s into every text of a decoded document.
func plant(v any, s string) any {
	switch x := v.(type) {
	case map[string]any:
		for k, y := range x {
			x[k] = plant(y, s)
		}
	case []any:
		for i := range x {
			x[i] = plant(x[i], s)
		}
	case string:
		return s
	}
	return v
}

// TestHostileTextStaysText feeds every kind, field by field, what an attacker
// would: what the gate takes is shown and does nothing; what it refuses is shown
// back in the form, and does nothing there either.
func TestHostileTextStaysText(t *testing.T) {
	cell, e := enter(t)
	e.Shoot("hostile", 1280, "light")
	examples(t, cell)
	reg, err := resource.NewRegistry(kinds.All()...)
	if err != nil {
		t.Fatal(err)
	}
	harmless := func(where string) {
		t.Helper()
		ok, err := chromedp.Run(e.Context, chromedp.Evaluate[bool](`window.pwned === undefined && document.querySelector("[onerror],[onload],[onfocus],main script") === null && ![...document.links].some((a) => a.protocol === "javascript:")`))
		if err != nil || !ok {
			t.Errorf("%s: the page believed it: %v", where, err)
		}
		if fits, err := chromedp.Run(e.Context, chromedp.Evaluate[bool](`document.documentElement.scrollWidth <= window.innerWidth`)); err != nil || !fits {
			t.Errorf("%s: wider than the window: %v", where, err)
		}
	}
	taken, refused := 0, 0
	for i, s := range hostile {
		asked := ask(t, cell, fmt.Sprintf("kind: Role\nmetadata: {tenant: platform, name: asked-%d}\nspec: {description: %q}\n", i, strings.ToValidUTF8(s, "")), s)
		e.Do("a request", chromedp.Navigate(cell.Profile.Server+asked))
		e.Until("its page", `document.readyState === "complete" && location.pathname.includes("/changerequests/")`)
		harmless("a reason and a difference")
		for _, k := range reg.All() {
			if k.Name == "ChangeRequest" {
				continue // nobody fills one in
			}
			docs, err := resource.ParseYAML([]byte(k.Example))
			if err != nil {
				t.Fatal(err)
			}
			o, _, err := reg.Decode(docs[0])
			if err != nil {
				t.Fatal(err)
			}
			spec, err := json.Marshal(o.Spec)
			if err != nil {
				t.Fatal(err)
			}
			var free any
			if err := json.Unmarshal(spec, &free); err != nil {
				t.Fatal(err)
			}
			doc, err := json.Marshal(map[string]any{"kind": k.Name, "metadata": map[string]any{"tenant": o.Metadata.Tenant, "name": fmt.Sprintf("hostile-%d", i), "annotations": map[string]string{"note": s}}, "spec": plant(free, s)})
			if err != nil {
				t.Fatal(err)
			}
			// The form shows back what was refused, word for word.
			e.Visit("/new/" + k.Plural + "?as=yaml")
			set, _ := json.Marshal(string(doc))
			e.Do("type", chromedp.Func(func(c2 context.Context, _ *chromedp.Target) error {
				_, err := chromedp.Run(c2, chromedp.Evaluate[bool](`(() => { const a = document.querySelector("textarea[name=yaml]"); a.value = `+string(set)+`; document.documentElement.dataset.old = "1"; a.form.requestSubmit(a.form.querySelector("button[value=save]")); return true; })()`))
				return err
			}))
			e.Until("an answer", `document.documentElement.dataset.old === undefined && document.readyState === "complete" && (location.pathname.startsWith("/records/") || document.querySelector("textarea[name=yaml]") !== null)`)
			if back, err := chromedp.Run(e.Context, chromedp.Evaluate[bool](`document.querySelector("textarea[name=yaml]") !== null`)); err == nil && back {
				refused++
			}
			harmless(k.Name + " refused or taken")
		}
		// Annotations and the words of a search and of an event filter take anything.
		doc, err := json.Marshal(map[string]any{"kind": "User", "metadata": map[string]any{"tenant": "platform", "name": fmt.Sprintf("noted-%d", i), "annotations": map[string]string{"note": s}}, "spec": map[string]any{}})
		if err != nil {
			t.Fatal(err)
		}
		apply(t, cell, string(doc))
		taken++
		one := fmt.Sprintf("/records/users/platform/noted-%d", i)
		for _, path := range []string{one, one + "/edit", one + "/history", "/records/users", "/search?q=" + url.QueryEscape(s), "/events?kind=" + url.QueryEscape(s)} {
			e.Do(path, chromedp.Navigate(cell.Profile.Server+path))
			e.Until(path, `document.readyState === "complete"`)
			harmless(path)
		}
	}
	if taken != len(hostile) || refused == 0 {
		t.Errorf("%d of %d were taken, %d shown back", taken, len(hostile), refused)
	}
}
