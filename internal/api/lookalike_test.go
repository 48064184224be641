package api

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

// TestNamesThatOnlyLookAlikeAreRefused: a name has one form, in ASCII, so that
// no two look or sort or lead alike; each is refused with the reason, wherever
// it comes in, in both languages.
func TestNamesThatOnlyLookAlikeAreRefused(t *testing.T) {
	d := newDoor(t)
	d.tenantWithAnn("acme")
	if a := d.call("PUT", "/api/v1/acme/sites/shop", siteOf("acme", "shop")); a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for what, name := range map[string]string{
		"a Cyrillic a": "\u0430cme", "a Greek o": "acm\u03bf", "full width": "\uff41cme", "a zero-width space": "ac\u200bme", "a soft hyphen": "ac\u00adme", "turned round": "\u202eemca",
		"composed": "\u00e0cme", "decomposed": "a\u0300cme", "a dotless i": "ac\u0131me", "another hyphen": "ac\u2010me", "capitals": "Acme", "the Kelvin sign": "\u212a",
		"a path": "acme/sites", "up": "..", "up and in": "../acme", "here": ".", "a dot behind": "acme.", "a space behind": "acme ", "a tab": "acme\t", "a line": "acme\n", "nothing but a hyphen": "-",
		"encoded once": "acme%2fsites", "encoded twice": "%2561cme", "a backslash": "acme\\x", "a NUL": "acme\x00", "not UTF-8": "ac\xffme", "too long": strings.Repeat("a", 64), "a query": "acme?x", "a fragment": "acme#x", "a semicolon": "acme;x",
		"Cedar": `acme"`, "a Cedar name": `acme/ann`, "SQL": "acme'--", "JSON": `acme","x":"`,
	} {
		body, err := json.Marshal(map[string]any{"kind": "Tenant", "metadata": map[string]any{"tenant": "platform", "name": name}, "spec": map[string]any{}})
		if err != nil {
			t.Fatal(err)
		}
		made := d.call("PUT", "/api/v1/platform/tenants/"+url.PathEscape(name), string(body))
		if made.status < 300 || made.status >= 500 { // .. and . never arrive as a name: the path is cleaned
			t.Errorf("%s: a tenant %q: %d %s", what, name, made.status, made.body)
		}
		posted, err := json.Marshal(map[string]any{"changes": []any{map[string]any{"op": "put", "object": json.RawMessage(body)}}})
		if err != nil {
			t.Fatal(err)
		}
		a := d.call("POST", "/api/v1/-/transaction", string(posted), "Content-Type", "application/json")
		zh := d.call("POST", "/api/v1/-/transaction", string(posted), "Content-Type", "application/json", "Accept-Language", "zh")
		if a.status != 400 || !strings.Contains(a.body, "name") || zh.body == a.body {
			t.Errorf("%s: by a transaction: %d %s %s", what, a.status, a.body, zh.body)
		}
		site := strings.Replace(siteOf("acme", "other"), `"tenant":"acme"`, `"tenant":`+quoted(t, name), 1)
		posted, err = json.Marshal(map[string]any{"changes": []any{map[string]any{"op": "put", "object": json.RawMessage(site)}}})
		if err != nil {
			t.Fatal(err)
		}
		if a := d.call("POST", "/api/v1/-/transaction", string(posted), "Content-Type", "application/json"); a.status != 400 {
			t.Errorf("%s: a site of it: %d %s", what, a.status, a.body)
		}
		for _, path := range []string{"/sites", "/sites/shop", "/events", "/usage"} {
			a := d.call("GET", "/api/v1/"+url.PathEscape(name)+path, "")
			if a.status == 200 && name != "-" && strings.Contains(a.body, `"shop"`) {
				t.Errorf("%s: %s%s leads to another tenant: %s", what, name, path, a.body)
			}
		}
	}
	if a := d.call("GET", "/api/v1/-/tenants", ""); strings.Count(a.body, `"kind":"Tenant"`) != 2 {
		t.Errorf("a tenant was made: %s", a.body)
	}
}

func quoted(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestATenantMayBeNamedAsAPartOfAPath: such a name leads to its own records, and
// to nothing that has the name.
func TestATenantMayBeNamedAsAPartOfAPath(t *testing.T) {
	d := newDoor(t)
	for _, name := range []string{"status", "session", "sign-in", "enter", "enrol", "join", "watch", "events", "usage", "audit", "access", "posture", "transaction", "sites", "tenants", "history", "api", "v1"} {
		if a := d.call("PUT", "/api/v1/platform/tenants/"+name, `{"kind":"Tenant","metadata":{},"spec":{}}`); a.status != 201 {
			t.Fatalf("%s: %d %s", name, a.status, a.body)
		}
		if a := d.call("PUT", "/api/v1/"+name+"/sites/"+name, siteOf(name, name)); a.status != 201 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		a := d.call("GET", "/api/v1/"+name+"/sites", "")
		if a.status != 200 || strings.Count(a.body, `"kind":"Site"`) != 1 || !strings.Contains(a.body, `"tenant":"`+name+`"`) {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}
