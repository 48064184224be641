package console

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/lab"
)

// take keeps the cookies of an answer as a browser does.
func (h *house) take(res *http.Response) {
	for _, k := range res.Cookies() {
		var jar []*http.Cookie
		for _, old := range h.jar {
			if old.Name != k.Name {
				jar = append(jar, old)
			}
		}
		if h.jar = jar; k.MaxAge >= 0 {
			h.jar = append(h.jar, k)
		}
	}
}

func (h *house) cookieOf(name string) string {
	for _, k := range h.jar {
		if k.Name == name {
			return k.Value
		}
	}
	return ""
}

var keyInPage = regexp.MustCompile(`id="app-key"[^>]*>([A-Z2-7 ]+)<`)

// byLink enters by the link and returns the key that the page shows.
func (h *house) byLink() string {
	h.t.Helper()
	res, _ := h.call("POST", "/enter", url.Values{"t": {h.link}})
	h.take(res)
	_, body := h.call("GET", "/setup", nil)
	m := keyInPage.FindStringSubmatch(body)
	if m == nil {
		h.t.Fatalf("no key in %s", body)
	}
	return m[1]
}

func (h *house) setUp(key string) *http.Response {
	h.t.Helper()
	res, body := h.call("POST", "/setup", url.Values{"password": {lab.Password}, "again": {lab.Password}, "code": {lab.LastCode(h.t, key)}})
	if res.StatusCode != 303 {
		h.t.Fatalf("%d %s", res.StatusCode, body)
	}
	h.take(res)
	return res
}

var ticketInPage = regexp.MustCompile(`name="ticket" value="([a-z2-7]+)"`)

// typed sends name and password, and returns the ticket of the page.
func (h *house) typed(name, password string) (status int, ticket, body string) {
	h.t.Helper()
	res, body := h.call("POST", "/sign-in", url.Values{"name": {name}, "password": {password}, "back": {"/events"}})
	if m := ticketInPage.FindStringSubmatch(body); m != nil {
		ticket = m[1]
	}
	return res.StatusCode, ticket, body
}

func TestTheLinkLeadsToAPasswordAndACode(t *testing.T) {
	h := newHouse(t)
	key := h.byLink()
	enrolling := h.cookieOf(sessionCookie)
	for _, path := range []string{"/", "/events", "/account", "/records/sites", "/access"} {
		if res, _ := h.call("GET", path, nil); res.StatusCode != 303 || res.Header.Get("Location") != "/setup" {
			t.Errorf("GET %s: %d", path, res.StatusCode)
		}
	}
	for _, path := range []string{"/account/end", "/account/password", "/new/sites", "/audit/export"} {
		if res, _ := h.call("POST", path, url.Values{"session": {"all"}}); res.StatusCode != 401 {
			t.Errorf("POST %s: %d", path, res.StatusCode)
		}
	}
	good := lab.Code(t, key, time.Now())
	for what, form := range map[string]url.Values{
		"the passwords differ":  {"password": {lab.Password}, "again": {lab.Password + "x"}, "code": {good}},
		"is on lists of stolen": {"password": {"password1234"}, "again": {"password1234"}, "code": {good}},
		"at least 12":           {"password": {"short"}, "again": {"short"}, "code": {good}},
		"not one of the new":    {"password": {lab.Password}, "again": {lab.Password}, "code": {"000000"}},
	} {
		res, body := h.call("POST", "/setup", form)
		if what == "the passwords differ" {
			what = "two passwords differ"
		}
		if res.StatusCode != 422 && res.StatusCode != 400 || !strings.Contains(body, what) || !strings.Contains(body, key) || len(res.Cookies()) > 0 {
			t.Errorf("%s: %d %s", what, res.StatusCode, body)
		}
		if strings.Contains(body, lab.Password) {
			t.Errorf("%s: the page says the password again", what)
		}
	}
	h.setUp(key)
	if _, err := h.gate.Enrolling(enrolling); err == nil {
		t.Error("the session of the link lives on")
	}
	s, err := h.gate.Authenticate(h.cookieOf(sessionCookie))
	if err != nil || !s.MFA || s.Proof != identity.ProofPassword || s.Principal != dayzero.Operator {
		t.Errorf("%+v %v", s, err)
	}
	if res, body := h.call("GET", "/", nil); res.StatusCode != 200 || !strings.Contains(body, "secretcell") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if res, _ := h.call("GET", "/setup", nil); res.StatusCode != 303 || res.Header.Get("Location") != "/" {
		t.Errorf("who is signed in sets up again: %d", res.StatusCode)
	}
}

func TestPasswordAndCodeOpenTheConsole(t *testing.T) {
	h := newHouse(t)
	key := h.byLink()
	h.setUp(key)
	browser := h.cookieOf(browserCookie)
	h.jar = nil
	for _, c := range [][2]string{{"operator", lab.Password + "x"}, {"nobody", lab.Password}, {"acme/operator", lab.Password}, {"operator", ""}, {"", lab.Password}, {strings.Repeat("x", 4000), "x"}} {
		status, ticket, body := h.typed(c[0], c[1])
		if status != 401 || ticket != "" || !strings.Contains(body, "That was not right") && !strings.Contains(body, "that was not right") {
			t.Errorf("%.20q: %d %q %s", c[0], status, ticket, body)
		}
		if c[1] != "" && strings.Contains(body, lab.Password) {
			t.Errorf("%q: the page says the password again", c[0])
		}
	}
	h.jar = []*http.Cookie{{Name: browserCookie, Value: browser}}
	status, ticket, body := h.typed("operator", lab.Password)
	if status != 200 || ticket == "" || strings.Contains(body, lab.Password) {
		t.Fatalf("%d %s", status, body)
	}
	res, _ := h.call("POST", "/sign-in/code", url.Values{"ticket": {ticket}, "code": {"000000"}, "back": {"/events"}})
	if res.StatusCode != 401 || len(res.Cookies()) > 0 {
		t.Errorf("a wrong code: %d", res.StatusCode)
	}
	code := lab.Code(t, key, time.Now().Add(30*time.Second))
	res, _ = h.call("POST", "/sign-in/code", url.Values{"ticket": {ticket}, "code": {code}, "back": {"//evil.test"}})
	if res.StatusCode != 303 || res.Header.Get("Location") != "/" {
		t.Fatalf("%d %s", res.StatusCode, res.Header.Get("Location"))
	}
	h.take(res)
	for _, k := range res.Cookies() {
		if !k.Secure || !k.HttpOnly || k.SameSite != http.SameSiteStrictMode || !strings.HasPrefix(k.Name, "__Host-") {
			t.Errorf("%+v", k)
		}
	}
	if h.cookieOf(browserCookie) == browser {
		t.Error("the browser's cookie stays the same")
	}
	if res, _ := h.call("GET", "/", nil); res.StatusCode != 200 {
		t.Errorf("%d", res.StatusCode)
	}
	_, again, _ := h.typed("operator", lab.Password)
	if res, _ := h.call("POST", "/sign-in/code", url.Values{"ticket": {again}, "code": {code}}); res.StatusCode != 401 {
		t.Errorf("a burnt code: %d", res.StatusCode)
	}
	for _, path := range []string{"/sign-in", "/sign-in/code", "/sign-in/passkey", "/setup"} {
		if res, _ := h.call("POST", path, nil, "Sec-Fetch-Site", "cross-site"); res.StatusCode != 403 {
			t.Errorf("%s from another site: %d", path, res.StatusCode)
		}
	}
}

// TestAStolenSessionEndsWithTheProofs signs in twice, and replaces the password
// in one browser: the other one's cookie is worth nothing, and the machine's
// own session goes on.
func TestAStolenSessionEndsWithTheProofs(t *testing.T) {
	h := newHouse(t)
	h.setUp(h.byLink())
	by := identity.Actor{Principal: dayzero.Operator, Proof: identity.ProofPassword, MFA: true}
	stolen, _, err := h.gate.OpenSession(t.Context(), by, dayzero.Operator, "")
	if err != nil {
		t.Fatal(err)
	}
	by.Proof = identity.ProofMachine
	machine, _, err := h.gate.OpenSession(t.Context(), by, dayzero.Operator, "")
	if err != nil {
		t.Fatal(err)
	}
	next := "another tangerine for the oboes"
	for _, wrong := range []url.Values{
		{"current": {"wrong"}, "password": {next}, "again": {next}},
		{"current": {lab.Password}, "password": {next}, "again": {next + "x"}},
		{"current": {lab.Password}, "password": {"weak"}, "again": {"weak"}},
	} {
		if res, body := h.call("POST", "/account/password", wrong); res.StatusCode == 303 || !strings.Contains(body, `role="alert"`) {
			t.Errorf("%v: %d", wrong, res.StatusCode)
		}
	}
	if _, err := h.gate.Authenticate(stolen); err != nil {
		t.Errorf("a mistake signed out: %v", err)
	}
	if res, body := h.call("POST", "/account/password", url.Values{"current": {lab.Password}, "password": {next}, "again": {next}}); res.StatusCode != 303 {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	if _, err := h.gate.Authenticate(stolen); err == nil {
		t.Error("the stolen session lives on")
	}
	if _, err := h.gate.Authenticate(machine); err != nil {
		t.Errorf("the machine's session: %v", err)
	}
	if res, _ := h.call("GET", "/account", nil); res.StatusCode != 200 {
		t.Errorf("one's own: %d", res.StatusCode)
	}
	_, body := h.call("GET", "/account/app", nil)
	key := keyInPage.FindStringSubmatch(body)[1]
	if res, _ := h.call("POST", "/account/app", url.Values{"current": {next}, "code": {lab.Code(t, key, time.Now())}}); res.StatusCode != 303 {
		t.Errorf("a new app: %d", res.StatusCode)
	}
}

func TestPasskeysAreOfferedUnderANameOnly(t *testing.T) {
	h := newHouse(t)
	if _, body := h.call("GET", "/", nil); strings.Contains(body, "passkey") {
		t.Error("offered under an address")
	}
	if res, _ := h.call("POST", "/sign-in/passkey/ask", nil); res.StatusCode != 400 && res.StatusCode != 422 {
		t.Errorf("asked under an address: %d", res.StatusCode)
	}
	h.host = "dun.example.com:7443"
	if _, body := h.call("GET", "/", nil); !strings.Contains(body, `data-passkey="use"`) {
		t.Errorf("not offered under its name: %s", body)
	}
	res, body := h.call("POST", "/sign-in/passkey/ask", nil)
	if res.StatusCode != 200 || !strings.Contains(body, `"rpId":"dun.example.com"`) || !strings.Contains(body, `"userVerification":"required"`) {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	for _, host := range []string{"evil.test", "dun.example.com.evil.test", "localhost"} {
		h.host = host
		if res, _ := h.call("POST", "/sign-in/passkey/ask", nil); res.StatusCode == 200 {
			t.Errorf("asked under %s", host)
		}
	}
}
