package explain

import (
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/resource"
)

func block(path, where string) *events.Event {
	return &events.Event{
		Kind: "block", Tenant: "acme", Object: "site/shop", Action: "blocked", Source: "203.0.113.7",
		Rules:      []events.Rule{{ID: 942100, Message: "SQL", Where: where}},
		Attributes: map[string]string{"method": "GET", "host": "shop.test", "path": path, "status": "403", "score": "10", "paranoia": "1"},
	}
}

func TestTheSuggestionIsNarrowAndReadsAsYAML(t *testing.T) {
	got := Exclusions(block("/search", "ARGS:q"))
	want := "---\nkind: Exclusion\nmetadata: {tenant: acme, name: shop-942100}\nspec: {site: shop, rule: 942100, route: \"/search\", argument: \"ARGS:q\"}\n"
	if got != want {
		t.Errorf("%s", got)
	}
	for _, path := range []string{"/a\u202eb", "/\x1b[31m", "/' #", "/<script>"} {
		docs, err := resource.ParseYAML([]byte(Exclusions(block(path, "ARGS:x"))))
		if err != nil || len(docs) != 1 {
			t.Fatalf("%q: %v", path, err)
		}
		if r := docs[0].At("spec", "route"); r == nil || r.Text() != path {
			t.Errorf("%q came back as %v", path, r)
		}
	}
}

func TestNothingIsSuggestedWhereNothingCanBe(t *testing.T) {
	seen := block("/", "")
	seen.Action = "detected"
	forged := block("/", "")
	forged.Object = "site/x}\nkind: Policy"
	none := block("/", "")
	none.Object = ""
	for _, e := range []*events.Event{seen, forged, none} {
		if s := Exclusions(e); s != "" {
			t.Errorf("%+v: %s", e, s)
		}
	}
	many := block("/", "")
	many.Rules = make([]events.Rule, 9)
	if n := strings.Count(Exclusions(many), "kind: Exclusion"); n != maxExclusions {
		t.Errorf("%d exclusions for one request", n)
	}
}
