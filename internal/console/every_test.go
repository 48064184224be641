package console

import (
	"bytes"
	"compress/gzip"
	"errors"
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/kinds/access"
)

var field = regexp.MustCompile(`<(?:input[^>]*?name="([^"]+)"[^>]*?value="([^"]*)"[^>]*|textarea[^>]*?name="([^"]+)"[^>]*>([^<]*)<|select[^>]*?name="([^"]+)"[^>]*>(?:<option[^>]*>[^<]*</option>)*?<option value="([^"]*)" selected)`)

// fields are what a browser would send of the page's last form.
func fields(page string) url.Values {
	out := url.Values{"do": {"save"}}
	at := strings.Index(page, `class="card form"`)
	for _, m := range field.FindAllStringSubmatch(page[max(0, at):], -1) {
		unchecked := strings.Contains(m[0], `type="checkbox"`) && !strings.Contains(m[0], " checked")
		if name := m[1] + m[3] + m[5]; name != "do" && !unchecked {
			out.Set(html.UnescapeString(name), html.UnescapeString(strings.TrimPrefix(m[2]+m[4]+m[6], "\n")))
		}
	}
	return out
}

// TestEveryKindHasEveryPage makes the example of each kind by YAML, saves its
// form unchanged, and asks for each page about it.
func TestEveryKindHasEveryPage(t *testing.T) {
	h := newHouse(t)
	h.signIn(dayzero.Operator)
	for _, y := range []string{"kind: Tenant\nmetadata: {tenant: platform, name: acme}\nspec: {}\n", site("platform", "shop", "other.test", 0),
		"kind: Role\nmetadata: {tenant: platform, name: netops}\nspec: {}\n", "kind: User\nmetadata: {tenant: platform, name: zhou-min}\nspec: {}\n",
		"kind: DataType\nmetadata: {tenant: platform, name: customer-orders}\nspec: {title: Orders, processing: [share], regions: [cn-north], adminRegions: [cn-north], purposes: [fulfilment], thirdParties: [carrier]}\n",
		"kind: DataAsset\nmetadata: {tenant: platform, name: orders-db}\nspec: {form: container, what: database, type: customer-orders, owner: shop, ownerType: customer, region: cn-north}\n"} {
		h.put(y)
	}
	for _, k := range h.gate.Registry().All() {
		docs, err := resource.ParseYAML([]byte(k.Example))
		if err != nil {
			t.Fatal(err)
		}
		o, _, err := h.gate.Registry().Decode(docs[0])
		if err != nil {
			t.Fatal(err)
		}
		if h.gate.AsksAssent(k.Name) {
			h.everyRequest(k)
			continue
		}
		o.Metadata.Name = "every-" + strings.ToLower(k.Name)
		y, err := manifest(o)
		if err != nil {
			t.Fatal(err)
		}
		if res, body := h.call("GET", "/new/"+k.Plural, nil); res.StatusCode != 200 {
			t.Errorf("%s: %d %s", k.Name, res.StatusCode, body)
		}
		path := recordPath(k, o.Metadata.Tenant, o.Metadata.Name)
		if res, body := h.call("POST", "/new/"+k.Plural, url.Values{"yaml": {y}, "do": {"save"}}); res.StatusCode != 303 {
			t.Errorf("%s: create by YAML: %d %s", k.Name, res.StatusCode, body[strings.Index(body, "<main"):])
			continue
		}
		_, body := h.call("GET", path+"/edit", nil)
		if res, body := h.call("POST", path+"/edit", fields(body)); res.StatusCode != 303 {
			t.Errorf("%s: save the form: %d %s", k.Name, res.StatusCode, body[strings.Index(body, "<main"):])
		}
		now, err := h.gate.Get(t.Context(), identity.Actor{Principal: dayzero.Operator}, o.Ref())
		if err != nil || now.Metadata.Revision == 0 {
			t.Fatal(err)
		}
		if after, err := manifest(now); err != nil || after != y {
			t.Errorf("%s: a form that was saved unchanged changed the record:\n%s\n%s", k.Name, y, after)
		}
		for _, p := range []string{"", "/edit", "/edit?as=yaml", "/history", "/proof", "/delete"} {
			if res, body := h.call("GET", path+p, nil); res.StatusCode != 200 || !strings.Contains(body, "every-") {
				t.Errorf("%s%s: %d", path, p, res.StatusCode)
			}
		}
		if res, _ := h.call("GET", listPath(k, ""), nil); res.StatusCode != 200 {
			t.Errorf("%s: list %d", k.Name, res.StatusCode)
		}
		if res, body := h.call("POST", path+"/bundle", nil); res.StatusCode != 200 || !strings.HasPrefix(body, "manifest.json") {
			t.Errorf("%s: bundle %d", k.Name, res.StatusCode)
		}
		if res, _ := h.call("POST", path+"/delete", url.Values{"revision": {number(now.Metadata.Revision)}}); res.StatusCode != 303 {
			t.Errorf("%s: delete %d", k.Name, res.StatusCode)
		}
	}
	for _, p := range []string{"/events", "/audit", "/audit?log=main&who=operator", "/access", "/access?action=site.read&record=site/platform/shop", "/search?q=shop", "/gallery", "/account", "/usage", "/usage?span=30d"} {
		if res, body := h.call("GET", p, nil); res.StatusCode != 200 {
			t.Errorf("%s: %d %s", p, res.StatusCode, body)
		}
	}
	if res, body := h.call("POST", "/audit/check", nil); res.StatusCode != 200 || !strings.Contains(body, "say the same") {
		t.Errorf("%d", res.StatusCode)
	}
}

// TestTheFirstPageIsLight measures everything that the first page needs.
func TestTheFirstPageIsLight(t *testing.T) {
	h := newHouse(t)
	h.signIn(dayzero.Operator)
	for range newest {
		h.hit("platform", "/some/path?with=words", "SQL Injection Attack Detected via libinjection")
	}
	_, page := h.call("GET", "/", nil)
	packed, err := pack([]byte(page), gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	sum := len(packed)
	for _, m := range regexp.MustCompile(`(?:src|href)="(/assets/[^"]+)"`).FindAllStringSubmatch(page, -1) {
		res, body := h.call("GET", m[1], nil, "Accept-Encoding", "gzip")
		if res.Header.Get("Content-Encoding") != "gzip" || !strings.Contains(res.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %v", m[1], res.Header)
		}
		if r, err := gzip.NewReader(bytes.NewReader([]byte(body))); err != nil {
			t.Errorf("%s: %v", m[1], err)
		} else {
			r.Close()
		}
		sum += len(body)
	}
	t.Logf("first page: %d bytes compressed, %d of them the page", sum, len(packed))
	if sum >= 60<<10 {
		t.Errorf("the first page weighs %d bytes", sum)
	}
}

// everyRequest looks at the pages of a kind that the gate makes: there is no
// form that makes or changes one.
func (h *house) everyRequest(k *resource.Kind) {
	h.t.Helper()
	o := &resource.Object{Kind: "Role", Version: 1, Metadata: resource.Metadata{Tenant: "platform", Name: "every-asked"}, Spec: &access.RoleSpec{Description: "every-role"}}
	_, err := h.gate.Apply(h.t.Context(), gate.Request{Actor: by(dayzero.Operator), Ask: true, Reason: "every-reason", Changes: []gate.Change{{Op: gate.Put, Ref: o.Ref(), Object: o}}})
	w, ok := errors.AsType[*gate.Waiting](err)
	if !ok {
		h.t.Fatal(err)
	}
	path := recordPath(k, w.Request.Tenant, w.Request.Name)
	for p, status := range map[string]int{"": 200, "/history": 200, "/proof": 200, "/edit": 404, "/delete": 403} {
		if res, body := h.call("GET", path+p, nil); res.StatusCode != status || status == 200 && !strings.Contains(body, w.Request.Name) {
			h.t.Errorf("%s%s: %d, want %d", path, p, res.StatusCode, status)
		}
	}
	if res, _ := h.call("GET", newPath(k), nil); res.StatusCode != 404 {
		h.t.Errorf("%s: %d", newPath(k), res.StatusCode)
	}
	if res, body := h.call("GET", listPath(k, ""), nil); res.StatusCode != 200 || !strings.Contains(body, w.Request.Name) || strings.Contains(body, newPath(k)) {
		h.t.Errorf("%s: list %d", k.Name, res.StatusCode)
	}
}
