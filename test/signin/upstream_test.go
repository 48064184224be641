package signin

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/lab"
)

// upstream is a cell with a provider attached.
type upstream struct {
	t        *testing.T
	cell     *lab.Cell
	provider *lab.OpenID
}

func (u *upstream) apply(yaml string) {
	u.t.Helper()
	file := filepath.Join(u.t.TempDir(), "x.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		u.t.Fatal(err)
	}
	if out, exit := u.cell.Dun("apply", "--no-wait", "-f", file); exit != 0 {
		u.t.Fatalf("%d %s", exit, out)
	}
}

func (u *upstream) attach(more string) {
	u.t.Helper()
	u.apply("kind: IdentityProvider\nmetadata: {tenant: platform, name: corp}\nspec:\n  title: Corporate sign-in\n  issuer: " + u.provider.Issuer +
		"\n  clientID: dun\n" + more + "  ca: |\n    " + strings.ReplaceAll(strings.TrimSpace(u.provider.CAPEM), "\n", "\n    ") + "\n")
}

// away begins at the page for people outside and returns where the browser is
// sent to.
func (u *upstream) away(p *person) string {
	u.t.Helper()
	c := *p.http
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := c.Get(u.cell.Profile.Server + "/sign-in/via/platform/corp?back=/events")
	if err != nil {
		u.t.Fatal(err)
	}
	defer res.Body.Close()
	to, err := res.Location()
	if err != nil {
		u.t.Fatalf("%d %s", res.StatusCode, read(u.t, res))
	}
	return to.String()
}

func (p *person) get(at string) (status int, body string) {
	p.t.Helper()
	res, err := p.http.Get(at)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode, read(p.t, res)
}

func (p *person) in() bool {
	status, _ := p.get(p.cell.Profile.Server + "/account")
	return status == 200
}

func TestAProviderSaysWhoSomebodyIs(t *testing.T) {
	cell := lab.Up(t, lab.Build(t, "github.com/dun-sec/dun/cmd/dun"), filepath.Join(t.TempDir(), "d"))
	done := cell.Profile.Server + "/sign-in/done"
	u := &upstream{t, cell, lab.StartOpenID(t, done)}
	u.provider.AddUser("ann", "Ann@example.com")
	u.provider.AddUser("eve", "eve@example.com")
	u.apply("kind: User\nmetadata: {tenant: platform, name: ann}\nspec: {email: ann@example.com}\n")
	u.attach("")
	anybody := newPerson(t, cell)
	if _, page := anybody.get(cell.Profile.Server + "/"); strings.Contains(page, "Corporate sign-in") {
		t.Error("a provider without its secret is offered")
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(u.provider.ClientSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, exit := cell.Dun("secret", "put", "provider", "corp", "secret", "--file", secret); exit != 0 {
		t.Fatalf("%d %s", exit, out)
	}
	if _, page := anybody.get(cell.Profile.Server + "/"); !strings.Contains(page, "Corporate sign-in") {
		t.Error("the provider is not offered")
	}

	ann := newPerson(t, cell)
	if status, page := ann.get(u.provider.Consent("ann", u.away(ann)).String()); status != 401 || !strings.Contains(page, "not right") {
		t.Errorf("an address that nobody verified: %d %s", status, page)
	}
	u.attach("  trustEmail: true\n")
	if status, page := ann.get(u.provider.Consent("ann", u.away(ann)).String()); status != 403 && !strings.Contains(page, "one factor") {
		t.Errorf("one factor, and no app: %d", status)
	}
	u.attach("  trustEmail: true\n  secondFactor: [session]\n") // glewlwyd's words, as if they meant two
	back := u.provider.Consent("ann", u.away(ann))
	if status, page := ann.get(back.String()); status != 200 || !strings.Contains(page, `content="0;url=/events"`) || !ann.in() {
		t.Fatalf("%d %s", status, page)
	}
	if status, page := ann.get(cell.Profile.Server + "/account"); status != 200 || !strings.Contains(page, "sign-in provider") {
		t.Errorf("%d", status)
	}

	for what, try := range map[string]func(p *person) string{
		"the same answer again":        func(*person) string { return back.String() },
		"an answer without a question": func(*person) string { return done + "?state=x&code=y" },
		"another browser's answer": func(p *person) string {
			other := newPerson(t, cell)
			u.away(p)
			return u.provider.Consent("ann", u.away(other)).String()
		},
		"another state": func(p *person) string {
			at := u.provider.Consent("ann", u.away(p))
			q := at.Query()
			q.Set("state", "x")
			at.RawQuery = q.Encode()
			return at.String()
		},
		"a made-up code": func(p *person) string {
			at, err := url.Parse(u.away(p))
			if err != nil {
				t.Fatal(err)
			}
			return done + "?" + url.Values{"state": {at.Query().Get("state")}, "code": {"made-up"}}.Encode()
		},
		"somebody who is no user": func(p *person) string { return u.provider.Consent("eve", u.away(p)).String() },
	} {
		p := newPerson(t, cell)
		if status, page := p.get(try(p)); status != 401 || p.in() {
			t.Errorf("%s: %d %s", what, status, page)
		}
	}

	// An address that somebody else gets later opens nothing.
	u.provider.AddUser("mallory", "ann@example.com")
	mallory := newPerson(t, cell)
	if status, _ := mallory.get(u.provider.Consent("mallory", u.away(mallory)).String()); status != 401 || mallory.in() {
		t.Errorf("another person with her address: %d", status)
	}
	u.apply("kind: User\nmetadata: {tenant: platform, name: ann}\nspec: {email: ann@example.com, disabled: true}\n")
	if status, _ := ann.get(u.provider.Consent("ann", u.away(ann)).String()); status != 401 || ann.in() {
		t.Errorf("a disabled user: %d", status)
	}
	if s := cell.Output(); strings.Contains(s, u.provider.ClientSecret) || strings.Contains(s, back.Query().Get("code")) {
		t.Error("a secret was printed")
	}
}

// TestOneFactorOfAProviderAndOneOfOurs lets the provider stand for the password.
func TestOneFactorOfAProviderAndOneOfOurs(t *testing.T) {
	cell := lab.Up(t, lab.Build(t, "github.com/dun-sec/dun/cmd/dun"), filepath.Join(t.TempDir(), "d"))
	u := &upstream{t, cell, lab.StartOpenID(t, cell.Profile.Server+"/sign-in/done")}
	p := newPerson(t, cell)
	if status, body := p.byLink(lab.Password); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	u.provider.AddUser("op", "operator@example.com")
	u.apply("kind: User\nmetadata: {tenant: platform, name: operator}\nspec: {displayName: Operator, email: operator@example.com}\n")
	u.attach("  trustEmail: true\n")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(u.provider.ClientSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, exit := cell.Dun("secret", "put", "provider", "corp", "secret", "--file", secret); exit != 0 {
		t.Fatalf("%d %s", exit, out)
	}
	again := newPerson(t, cell)
	status, page := again.get(u.provider.Consent("op", u.away(again)).String())
	_, rest, ok := strings.Cut(page, `name="ticket" value="`)
	if status != 200 || !ok || again.in() {
		t.Fatalf("%d %s", status, page)
	}
	ticket, _, _ := strings.Cut(rest, `"`)
	if status, _, _ := again.post("/sign-in/code", url.Values{"ticket": {ticket}, "code": {"000000"}}); status != 401 || again.in() {
		t.Errorf("a wrong code: %d", status)
	}
	again.post("/sign-in/code", url.Values{"ticket": {ticket}, "code": {lab.Code(t, p.key, time.Now())}, "back": {"/account"}})
	if !again.in() {
		t.Error("both factors, and not in")
	}
}
