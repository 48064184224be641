package console

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
)

// Rows of a list are added and taken away by the server, so that a form works
// where no script runs; nothing is saved by it and nothing that was typed is lost.
func TestRowsOfAFormWorkWithoutScript(t *testing.T) {
	h := newHouse(t)
	h.signIn(dayzero.Operator)
	form := func(body string) url.Values {
		v := fields(body)
		v.Del("do")
		return v
	}
	hosts := regexp.MustCompile(`name="(spec\.hosts\[\d+\])"`)
	count := func(body string) int { return len(hosts.FindAllString(body, -1)) }
	_, body := h.call("GET", "/new/sites", nil)
	v := form(body)
	v.Set("metadata.name", "shop")
	v.Set("spec.hosts[0]", "a.test")
	v.Set("spec.origins[0].url", "http://127.0.0.1:1")
	v.Set("do", "add:spec.hosts")
	res, body := h.call("POST", "/new/sites", v)
	if res.StatusCode != 200 || count(body) != 2 || !strings.Contains(body, `value="a.test"`) {
		t.Fatalf("add: %d, %d hosts", res.StatusCode, count(body))
	}
	v = form(body)
	v.Set("spec.hosts[1]", "b.test")
	v.Set("do", "remove:spec.hosts[0]")
	if res, body = h.call("POST", "/new/sites", v); res.StatusCode != 200 || count(body) != 1 || !strings.Contains(body, `value="b.test"`) || strings.Contains(body, `value="a.test"`) {
		t.Fatalf("remove: %d, %d hosts\n", res.StatusCode, count(body))
	}
	v = form(body)
	v.Set("do", "save")
	if res, body = h.call("POST", "/new/sites", v); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("save: %d %s", res.StatusCode, body)
	}
	tree := func() []any {
		o, err := h.gate.Get(t.Context(), identity.Actor{Principal: dayzero.Operator}, resource.Ref{Kind: "Site", Tenant: "platform", Name: "shop"})
		if err != nil {
			t.Fatal(err)
		}
		x, err := resource.Tree(o)
		if err != nil {
			t.Fatal(err)
		}
		return x["spec"].(map[string]any)["hosts"].([]any)
	}
	if got := tree(); len(got) != 1 || got[0] != "b.test" {
		t.Errorf("saved: %v", got)
	}
}

// A form's names come from the browser: none of them makes the page large, slow
// or broken.
func TestNamesOfAFormThatNobodyMade(t *testing.T) {
	h := newHouse(t)
	h.signIn(dayzero.Operator)
	for _, name := range []string{
		"spec.hosts[999999999]", "spec.hosts[-1]", "spec.hosts[99999999999999999999]", "spec.hosts[0][0][0]", "spec.origins[5].url[7]", "spec..", "[", "]", "{", "spec.hosts{9}", "metadata.labels{999999}",
		strings.Repeat("spec.", 500), strings.Repeat("[", 900), "spec.origins[1000000].weight", "\x00", "spec.hosts[0]\x00",
	} {
		for _, do := range []string{"save", "add:" + name, "remove:" + name} {
			start := time.Now()
			res, body := h.call("POST", "/new/sites", url.Values{"metadata.name": {"x"}, name: {"y"}, "do": {do}})
			if res.StatusCode >= 500 || len(body) > 1<<20 || time.Since(start) > 10*time.Second {
				t.Errorf("%.60q %.60q: %d, %d bytes, %s", name, do, res.StatusCode, len(body), time.Since(start))
			}
		}
	}
}
