// Package signin tries the ways into a real cell, and the ways around them.
package signin

import (
	"bytes"
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/lab"
)

// person is somebody with a browser and a phone.
type person struct {
	t    *testing.T
	cell *lab.Cell
	http *http.Client
	key  string // of the phone's app
}

func newPerson(t *testing.T, cell *lab.Cell) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := *cell.API
	c.Jar = jar
	return &person{t: t, cell: cell, http: &c}
}

func (p *person) post(path string, form url.Values) (status int, at, body string) {
	p.t.Helper()
	res, err := p.http.PostForm(p.cell.Profile.Server+path, form)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	var b strings.Builder
	if _, err := fmt.Fprint(&b, read(p.t, res)); err != nil {
		p.t.Fatal(err)
	}
	return res.StatusCode, res.Request.URL.Path, b.String()
}

func read(t *testing.T, res *http.Response) string {
	t.Helper()
	b := make([]byte, 1<<20)
	n := 0
	for n < len(b) {
		m, err := res.Body.Read(b[n:])
		if n += m; err != nil {
			break
		}
	}
	return string(b[:n])
}

var keyInPage = regexp.MustCompile(`id="app-key"[^>]*>([A-Z2-7 ]+)<`)

// byLink enters by the link and sets a password and an app.
func (p *person) byLink(password string) (status int, body string) {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.cell.Dir, "bootstrap/link"))
	if err != nil {
		p.t.Fatal(err)
	}
	_, token, _ := strings.Cut(strings.TrimSpace(string(b)), "?t=")
	_, at, page := p.post("/enter", url.Values{"t": {token}})
	m := keyInPage.FindStringSubmatch(page)
	if at != "/setup" || m == nil {
		p.t.Fatalf("%s %s", at, page)
	}
	p.key = m[1]
	return p.setUp(password)
}

func (p *person) setUp(password string) (status int, body string) {
	status, _, body = p.post("/setup", url.Values{"password": {password}, "again": {password}, "code": {lab.LastCode(p.t, p.key)}})
	return status, body
}

// login signs in by the command line into a profile of its own.
func (p *person) login(profile, user, password, code string, more ...string) (string, int) {
	p.t.Helper()
	c := exec.Command(p.cell.Bin, append([]string{"--profile", profile, "login", "--user", user}, more...)...)
	c.Stdin = strings.NewReader(password + "\n" + code + "\n")
	out, err := c.CombinedOutput()
	if c.ProcessState == nil {
		p.t.Fatal(err)
	}
	return string(out), c.ProcessState.ExitCode()
}

func TestTheCommandLineSignsInByPasswordAndCode(t *testing.T) {
	bin, dir := lab.Build(t, "github.com/dun-sec/dun/cmd/dun"), filepath.Join(t.TempDir(), "d")
	cell := lab.Up(t, bin, dir)
	p := newPerson(t, cell)
	if status, body := p.byLink(lab.Password); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	profile := filepath.Join(t.TempDir(), "ann.yaml")
	where := []string{"--server", cell.Profile.Server, "--ca", filepath.Join(dir, "ca.pem")}
	if out, exit := p.login(profile, "operator", lab.Password, "000000"); exit != 2 || !strings.Contains(out, "--server") {
		t.Errorf("no profile and no server: %d %s", exit, out)
	}
	for what, try := range map[string][3]string{
		"a wrong code": {"operator", lab.Password, "000000"}, "a wrong password": {"operator", lab.Password + "x", lab.Code(t, p.key, time.Now())}, "nobody": {"acme/ann", lab.Password, "000000"},
	} {
		out, exit := p.login(profile, try[0], try[1], try[2], where...)
		if exit != 3 && exit != 4 || strings.Contains(out, lab.Password) {
			t.Errorf("%s: %d %s", what, exit, out)
		}
		if _, err := os.Stat(profile); err == nil {
			t.Errorf("%s: a profile was written", what)
		}
	}
	code := lab.Code(t, p.key, time.Now())
	if out, exit := p.login(profile, "operator", lab.Password, code, where...); exit != 0 || !strings.Contains(out, "signed in until") {
		t.Fatalf("%d %s", exit, out)
	}
	if st, err := os.Stat(profile); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	get := exec.Command(bin, "--profile", profile, "get", "users")
	if out, err := get.CombinedOutput(); err != nil || !strings.Contains(string(out), "operator") {
		t.Errorf("%v %s", err, out)
	}

	// What was burnt stays burnt, whatever happens to the process.
	cell.Kill()
	cell = lab.Up(t, bin, dir)
	p.cell = cell
	if out, exit := p.login(profile, "operator", lab.Password, code, "--server", cell.Profile.Server); exit == 0 {
		t.Errorf("a burnt code after a kill: %s", out)
	}
	if out, exit := p.login(profile, "operator", lab.Password, lab.Code(t, p.key, time.Now().Add(30*time.Second)), "--server", cell.Profile.Server); exit != 0 {
		t.Errorf("the next code: %d %s", exit, out)
	}
	if s := cell.Output(); strings.Contains(s, lab.Password) || strings.Contains(s, strings.ReplaceAll(p.key, " ", "")) {
		t.Error("a secret was printed")
	}
}

// TestStuffingMeetsTheSameAnswerAndThenNone tries names and passwords over the
// API: an account that exists is told from none by nothing.
func TestStuffingMeetsTheSameAnswerAndThenNone(t *testing.T) {
	cell := lab.Up(t, lab.Build(t, "github.com/dun-sec/dun/cmd/dun"), filepath.Join(t.TempDir(), "d"))
	p := newPerson(t, cell)
	if status, body := p.byLink(lab.Password); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	answers := map[string][]string{}
	codes := map[int]int{}
	for i := range 40 {
		name := []string{"operator", "nobody"}[i%2]
		body := fmt.Sprintf(`{"name":%q,"password":"guess number %d","code":"123456"}`, name, i)
		res, err := cell.API.Post(cell.Profile.Server+"/api/v1/sign-in", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		codes[res.StatusCode]++
		text := regexp.MustCompile(`"(instance|request|requestId)":"[^"]*"|wait [0-9hms]+|[0-9hms]+`).ReplaceAllString(read(t, res), "")
		res.Body.Close()
		if res.StatusCode == http.StatusTooManyRequests && res.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		answers[name] = append(answers[name], fmt.Sprint(res.StatusCode)+text)
	}
	if codes[401] == 0 || codes[429] == 0 || codes[401]+codes[429] != 40 || codes[401] > 20 {
		t.Errorf("%v", codes)
	}
	if !slices.Equal(answers["operator"], answers["nobody"]) {
		t.Errorf("who exists is told:\n%s\n%s", answers["operator"], answers["nobody"])
	}
	req, err := http.NewRequest(http.MethodGet, cell.Profile.Server+"/api/v1/-/audit/leaves?log=denials&newest=100", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+cell.Profile.Session.Token)
	res, err := cell.API.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var log struct {
		Items []struct {
			Leaf   []byte
			Values [][]byte
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&log); err != nil {
		t.Fatal(err)
	}
	var told, named int
	for _, x := range log.Items {
		all := string(bytes.Join(x.Values, nil))
		if strings.Contains(string(x.Leaf), "sign-in") {
			told++
		}
		if strings.Contains(string(x.Leaf), "User") && strings.Contains(all, "operator") {
			named++
		}
		if strings.Contains(all, "guess number") {
			t.Error("a password is in the log of denials")
		}
	}
	if told != 40 || named != 20 {
		t.Errorf("the log of denials tells of %d tries, %d of them at the operator", told, named)
	}
	// The browser that signed in before is let in all the while.
	status, _, body := p.post("/sign-in", url.Values{"name": {"operator"}, "password": {lab.Password}})
	if status != 200 || !strings.Contains(body, `name="ticket"`) {
		t.Errorf("the owner's browser: %d", status)
	}
	stranger := newPerson(t, cell)
	if status, _, _ := stranger.post("/sign-in", url.Values{"name": {"operator"}, "password": {lab.Password}}); status != http.StatusTooManyRequests {
		t.Errorf("another browser does not wait: %d", status)
	}
}

// TestALinkReplacesWhatWasSet recovers by a new link: the old password, the old
// app, and a session that somebody stole are worth nothing from then on.
func TestALinkReplacesWhatWasSet(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	open, err := os.MkdirTemp("", "dun-breached-") // where everybody may read
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(open) })
	list := filepath.Join(open, "list")
	leaked := "gooseberry-lathe-77-mantle"
	var lines []string
	for i := range 100 {
		lines = append(lines, fmt.Sprintf("%X:3", sha1.Sum(fmt.Append(nil, i))))
	}
	lines = append(lines, fmt.Sprintf("%X:3", sha1.Sum([]byte(leaked))))
	slices.Sort(lines)
	if err := os.WriteFile(list, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	cell := lab.Up(t, lab.Build(t, "github.com/dun-sec/dun/cmd/dun"), dir, "console: {breachedPasswords: "+list+"}")
	ann := newPerson(t, cell)
	if status, body := ann.byLink(leaked); status == 200 && !strings.Contains(body, `role="alert"`) {
		t.Errorf("a password of the operator's list: %d", status)
	}
	if status, body := ann.setUp(lab.Password); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	if out, exit := cell.Dun("admin", "recover", "--data", dir); exit != 0 {
		t.Fatalf("%d %s", exit, out)
	}
	again := newPerson(t, cell)
	if status, body := again.byLink("heron quilt anvil marmalade"); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	if res, err := ann.http.Get(cell.Profile.Server + "/account"); err != nil || res.StatusCode != 401 {
		t.Errorf("the older session lives on: %v %v", res.StatusCode, err)
	}
	// The same by the command line.
	if out, exit := cell.Dun("admin", "recover", "--data", dir); exit != 0 {
		t.Fatalf("%d %s", exit, out)
	}
	b, err := os.ReadFile(filepath.Join(dir, "bootstrap/link"))
	if err != nil {
		t.Fatal(err)
	}
	_, token, _ := strings.Cut(strings.TrimSpace(string(b)), "?t=")
	session, key := enter(t, cell, token)
	if status, body := enrol(t, cell, session, lab.Password, lab.LastCode(t, key)); status != 201 {
		t.Fatalf("%d %s", status, body)
	}
	if status, _ := enrol(t, cell, session, lab.Password, lab.Code(t, key, time.Now())); status != 401 {
		t.Errorf("the link's session serves twice: %d", status)
	}
	if again.in() {
		t.Error("who signed in by what was replaced is signed in still")
	}
	if out, exit := cell.Dun("get", "users"); exit != 0 {
		t.Errorf("the machine's own session was ended: %s", out)
	}
	if status, _, _ := newPerson(t, cell).post("/sign-in", url.Values{"name": {"operator"}, "password": {"heron quilt anvil marmalade"}}); status != 401 {
		t.Errorf("the old password: %d", status)
	}
}

// enter uses a link up over the API.
func enter(t *testing.T, cell *lab.Cell, token string) (session, key string) {
	t.Helper()
	res, err := cell.API.Post(cell.Profile.Server+"/api/v1/enter", "application/json", strings.NewReader(fmt.Sprintf(`{"token":%q}`, token)))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var out struct{ Token, Key string }
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil || res.StatusCode != 201 {
		t.Fatalf("%d %v", res.StatusCode, err)
	}
	return out.Token, out.Key
}

func enrol(t *testing.T, cell *lab.Cell, session, password, code string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, cell.Profile.Server+"/api/v1/enrol", strings.NewReader(fmt.Sprintf(`{"password":%q,"code":%q}`, password, code)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+session)
	req.Header.Set("Content-Type", "application/json")
	res, err := cell.API.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode, read(t, res)
}
