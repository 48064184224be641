package console

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
)

func TestLookingAtTheLinkBurnsNothingAndOneClickDoes(t *testing.T) {
	h := newHouse(t)
	token := h.link
	for range 3 {
		res, body := h.call("GET", "/enter?t="+token, nil)
		if res.StatusCode != 200 || !strings.Contains(body, token) || len(res.Cookies()) > 0 {
			t.Fatalf("%d %s", res.StatusCode, body)
		}
	}
	if _, body := h.call("GET", "/enter?t="+url.QueryEscape(`"><script>x</script>`), nil); strings.Contains(body, "<script>x") || strings.Contains(body, "x&lt;") {
		t.Errorf("what is no token came into the page: %s", body)
	}
	res, _ := h.call("POST", "/enter", url.Values{"t": {token}})
	if res.StatusCode != http.StatusSeeOther || len(res.Cookies()) != 1 {
		t.Fatalf("%d %v", res.StatusCode, res.Cookies())
	}
	k := res.Cookies()[0]
	if k.Name != "__Host-dun" || !k.Secure || !k.HttpOnly || k.SameSite != http.SameSiteStrictMode || k.Path != "/" || k.Domain != "" || k.MaxAge != 60*60 {
		t.Errorf("%+v", k)
	}
	for _, wrong := range []string{token, "", "nonsense"} {
		if res, _ := h.call("POST", "/enter", url.Values{"t": {wrong}}); res.StatusCode != 401 || len(res.Cookies()) > 0 {
			t.Errorf("%q: %d %v", wrong, res.StatusCode, res.Cookies())
		}
	}
	h.jar = []*http.Cookie{k}
	if res, _ := h.call("GET", "/", nil); res.StatusCode != 303 || res.Header.Get("Location") != "/setup" {
		t.Errorf("who has set nothing is let in: %d", res.StatusCode)
	}
	if res, _ := h.call("POST", "/leave", nil); res.StatusCode != 303 || res.Cookies()[0].MaxAge >= 0 {
		t.Errorf("%d %v", res.StatusCode, res.Cookies())
	}
	if res, _ := h.call("GET", "/", nil); res.StatusCode != 401 {
		t.Errorf("signed out, and still in: %d", res.StatusCode)
	}
}

func TestWhoGuessesIsSlowedAndTheRightLinkIsNot(t *testing.T) {
	h := newHouse(t)
	codes := map[int]int{}
	for range 3 * knockBurst {
		res, _ := h.call("POST", "/enter", url.Values{"t": {"wrong"}})
		codes[res.StatusCode]++
	}
	if codes[429] == 0 || codes[401] < knockBurst || codes[401]+codes[429] != 3*knockBurst {
		t.Errorf("%v", codes)
	}
	if res, _ := h.call("POST", "/enter", url.Values{"t": {h.link}}); res.StatusCode != 303 {
		t.Errorf("the right link waits for those who guess: %d", res.StatusCode)
	}
}

func TestFormsFromOtherSitesAreRefused(t *testing.T) {
	h := newHouse(t)
	h.signIn(dayzero.Operator)
	for _, path := range []string{"/enter", "/leave", "/language"} {
		for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.test"}, {"Origin", "null"}} {
			if res, _ := h.call("POST", path, url.Values{"t": {h.link}, "lang": {"zh"}}, header...); res.StatusCode != 403 || len(res.Cookies()) > 0 {
				t.Errorf("%s %v: %d", path, header, res.StatusCode)
			}
		}
	}
	if h.link == "" {
		t.Error("another site burnt the link")
	}
	if res, _ := h.call("GET", "/", nil); res.StatusCode != 200 {
		t.Errorf("another site signed out: %d", res.StatusCode)
	}
}

func TestWithoutASessionThereIsNothingToSee(t *testing.T) {
	h := newHouse(t)
	h.put(site("platform", "secretsite", "secretsite.test", 0))
	req := h.hit("platform", "/secretpath", "secretrule")
	for _, path := range []string{"/", "/live", "/records/sites", "/records/sites/platform/secretsite", "/blocks/" + req} {
		for _, jar := range [][]*http.Cookie{nil, {{Name: sessionCookie, Value: "dun_s_wrong"}}} {
			h.jar = jar
			res, body := h.call("GET", path, nil)
			if res.StatusCode != 401 || strings.Contains(strings.ReplaceAll(body, path, ""), "secret") || !strings.Contains(body, "dun admin recover") {
				t.Errorf("%s: %d %s", path, res.StatusCode, body)
			}
		}
	}
	h.jar = nil
	if _, body := h.call("GET", "/", nil, "Accept-Language", "zh-CN"); !strings.Contains(body, "首次登录") {
		t.Errorf("%s", body)
	}
	if res, _ := h.call("GET", "/nothing", nil); res.StatusCode != 404 {
		t.Errorf("%d", res.StatusCode)
	}
}

func TestATenantSeesHisOwn(t *testing.T) {
	h := newHouse(t)
	for _, y := range []string{
		"kind: Tenant\nmetadata: {tenant: platform, name: acme}\nspec: {}\n",
		"kind: User\nmetadata: {tenant: acme, name: ann}\nspec: {}\n",
		"kind: Policy\nmetadata: {tenant: acme, name: all}\nspec: {cedar: 'permit (principal == User::\"acme/ann\", action, resource);'}\n",
		site("acme", "ownsite", "own.test", 0), site("platform", "foreign", "foreign.test", 0),
	} {
		h.put(y)
	}
	h.hit("acme", "/ownpath", "m")
	req := h.hit("platform", "/foreignpath", "m")
	h.signIn(resource.Ref{Kind: "User", Tenant: "acme", Name: "ann"})
	_, body := h.call("GET", "/", nil)
	if !strings.Contains(body, "ownsite") || !strings.Contains(body, "/ownpath") || strings.Contains(body, "foreign") || strings.Contains(body, "secretcell") {
		t.Errorf("%s", body)
	}
	for _, path := range []string{"/blocks/" + req, "/records/sites/platform/foreign"} {
		if res, body := h.call("GET", path, nil); res.StatusCode != 404 || strings.Contains(body, "foreignpath") {
			t.Errorf("%s: %d %s", path, res.StatusCode, body)
		}
	}
	for _, k := range h.gate.Registry().All() {
		if _, body := h.call("GET", "/records/"+k.Plural, nil); strings.Contains(body, "foreign") {
			t.Errorf("%s: %s", k.Plural, body)
		}
	}
	lines, _ := h.tune()
	h.hit("platform", "/foreignlater", "m")
	h.put(site("platform", "foreign2", "foreign2.test", 0))
	h.hit("acme", "/ownlater", "m")
	for l := range lines {
		if strings.Contains(l, "foreign") {
			t.Fatalf("%s", l)
		}
		if strings.Contains(l, "/ownlater") {
			break
		}
	}
}

// markup finds what a page would run or load if text from outside came into it
// as it is.
var markup = regexp.MustCompile(`(?i)<script>|<img|href="javascript:|style="|\son[a-z]+="|[\x{202a}-\x{202e}\x{2066}-\x{2069}\x{200b}-\x{200f}\x00-\x08\x1b]`)

func TestHostileTextStaysText(t *testing.T) {
	h := newHouse(t)
	h.signIn(dayzero.Operator)
	for _, evil := range []string{
		"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "javascript:alert(1)", "a\u202egnp.exe\u2066\u200b", "a\nb\r\ndata: x\n\n<script>", "\x00\x1b[31m",
		strings.Repeat("長", 3000), strings.Repeat("A", 8<<10), "</hx-partial><template>", "{{.}}`${x}`",
	} {
		req := h.hit("platform", "/"+evil, evil)
		for _, path := range []string{"/", "/blocks/" + req} {
			res, body := h.call("GET", path, nil)
			if m := markup.FindString(body); res.StatusCode != 200 || m != "" || strings.Contains(body, "</hx-partial><template>") {
				t.Errorf("%s with %.40q: %d %q", path, evil, res.StatusCode, m)
			}
		}
	}
	lines, _ := h.tune()
	h.hit("platform", "/end-of-it", "m")
	for l := range lines {
		if m := markup.FindString(l); m != "" {
			t.Errorf("the stream carries %q", m)
		}
		if l != "" && !strings.HasPrefix(l, "data: ") && !strings.HasPrefix(l, ":") {
			t.Errorf("a message was broken: %.80q", l)
		}
		if strings.Contains(l, "/end-of-it") {
			break
		}
	}
	for _, path := range []string{"/records/" + url.PathEscape("<script>"), "/blocks/" + url.PathEscape("<script>"), "/records/sites/a/..%2f", "/records/sites?after=<script>"} {
		if res, body := h.call("GET", path, nil); markup.MatchString(body) || res.StatusCode < 400 || res.StatusCode >= 500 {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
}

func TestARecordTellsItsHistoryAndProof(t *testing.T) {
	h := newHouse(t)
	h.signIn(dayzero.Operator)
	o := h.put(site("platform", "shop", "old.test", 0))
	h.put(site("platform", "shop", "new.test", o.Metadata.Revision))
	_, record := h.call("GET", "/records/sites/platform/shop", nil)
	_, body := h.call("GET", "/records/sites/platform/shop/history", nil)
	body = record + body
	for _, want := range []string{"Origins 1 · Address", "spec.origins[0].url", "old.test</del>", "new.test</ins>", "http://192.0.2.1:80", "dun.dev/log/testcell"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in %s", want, body)
		}
	}
	v, err := h.gate.History(t.Context(), h.console.visit(noWriter{}, &http.Request{Header: http.Header{"Cookie": {sessionCookie + "=" + h.jar[0].Value}}}).actor, o.Ref(), 0, 9)
	if err != nil || len(v) != 2 || !strings.Contains(body, "leaf "+number(v[0].Leaf)+"<") {
		t.Errorf("%v %v", v, err)
	}
	h.jar = append(h.jar, &http.Cookie{Name: languageCookie, Value: "zh"})
	if _, body := h.call("GET", "/records/sites/platform/shop", nil); !strings.Contains(body, "源站 1 · 地址") || !strings.Contains(body, `lang="zh-CN"`) {
		t.Errorf("%s", body)
	}
}

type noWriter struct{}

// Header implements http.ResponseWriter.
func (noWriter) Header() http.Header { return http.Header{} }

// Write implements http.ResponseWriter.
func (noWriter) Write(b []byte) (int, error) { return len(b), nil }

// WriteHeader implements http.ResponseWriter.
func (noWriter) WriteHeader(int) {}

func TestEveryKindHasItsPages(t *testing.T) {
	h := newHouse(t)
	h.signIn(dayzero.Operator)
	h.put(site("platform", "shop", "shop.test", 0))
	link := regexp.MustCompile(`href="(/records/[a-z]+/[^"]+)"`)
	seen := 0
	for _, lang := range []string{"en", "zh"} {
		for _, k := range h.gate.Registry().All() {
			res, body := h.call("GET", "/records/"+k.Plural, nil, "Accept-Language", lang)
			if res.StatusCode != 200 || !strings.Contains(body, "<h1>"+map[string]string{"en": k.Title.En, "zh": k.Title.Zh}[lang]) {
				t.Errorf("%s: %d", k.Plural, res.StatusCode)
			}
			for _, m := range link.FindAllStringSubmatch(body, -1) {
				seen++
				if res, body := h.call("GET", m[1], nil, "Accept-Language", lang); res.StatusCode != 200 {
					t.Errorf("%s: %d %s", m[1], res.StatusCode, body)
				}
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d records were looked at", seen)
	}
}

func TestTheLanguageStaysAndTheWayBackStaysHere(t *testing.T) {
	h := newHouse(t)
	for back, want := range map[string]string{"/records/sites?after=x": "/records/sites?after=x", "https://evil.test/": "/", "//evil.test/x": "/", `/\evil.test`: "/", "javascript:alert(1)": "/", "": "/"} {
		res, _ := h.call("POST", "/language", url.Values{"lang": {"zh"}, "back": {back}})
		if res.StatusCode != 303 || res.Header.Get("Location") != want || res.Cookies()[0].Value != "zh" {
			t.Errorf("%q: %d %q", back, res.StatusCode, res.Header.Get("Location"))
		}
	}
	if res, _ := h.call("POST", "/language", url.Values{"lang": {"xx"}}); res.StatusCode != 400 {
		t.Errorf("%d", res.StatusCode)
	}
}

func TestAssetsAreKeptByContent(t *testing.T) {
	h := newHouse(t)
	for name, a := range h.console.assets {
		res, body := h.call("GET", a.url, nil)
		if res.StatusCode != 200 || body != string(a.body) || !strings.Contains(res.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", name, res.StatusCode, res.Header)
		}
		if res, _ := h.call("GET", "/assets/0000000000000000/"+name, nil); res.StatusCode != 404 || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s under another hash: %d", name, res.StatusCode)
		}
	}
}
