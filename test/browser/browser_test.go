// Package browser looks at the console as a person does: a real chromium on a
// real cell. It proves that the page lives, that no content policy is
// violated, and it leaves pictures for people.
package browser

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/dun-sec/dun/internal/lab"
)

var shots = flag.String("shots", "", "folder for the pictures; empty = a temporary one")

// eyes is one browser window.
type eyes struct {
	t     *testing.T
	ctx   context.Context
	shots string

	mu       sync.Mutex
	messages []string
}

// look starts chromium. It trusts the one key that the cell showed to a client
// who checked it against the cell's authority: a person imports ca.pem.
func look(t *testing.T, cell *lab.Cell) *eyes {
	t.Helper()
	res, err := cell.API.Get(cell.Profile.Server + "/enter")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	key := sha256.Sum256(res.TLS.PeerCertificates[0].RawSubjectPublicKeyInfo)
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.NoSandbox,
		chromedp.Flag("ignore-certificate-errors-spki-list", base64.StdEncoding.EncodeToString(key[:])),
		chromedp.Flag("user-data-dir", t.TempDir()), chromedp.Flag("disable-background-networking", true))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(cancel)
	ctx, stop := context.WithTimeout(ctx, 3*lab.Wait)
	t.Cleanup(stop)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	e := &eyes{t: t, ctx: ctx, shots: *shots}
	if e.shots == "" {
		e.shots = t.TempDir()
	}
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			e.mu.Lock()
			e.messages = append(e.messages, fmt.Sprintf("%s %s %s", m.Type, m.Text, m.URL))
			e.mu.Unlock()
		}
	}()
	return e
}

func (e *eyes) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	e.t.Helper()
	if err := chromedp.Do(e.ctx, steps...); err != nil {
		e.t.Fatalf("%s: %v\n%s", what, err, e.html())
	}
}

// until waits until the page's script says that it is so. A page that is just
// being left answers with an error: the next one is asked again.
func (e *eyes) until(what, script string) {
	e.t.Helper()
	late := time.NewTimer(lab.Wait)
	defer late.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		yes, err := chromedp.Run(e.ctx, chromedp.Evaluate[bool](script))
		if err == nil && yes {
			return
		}
		select {
		case <-late.C:
			e.t.Fatalf("%s: %v\n%s\n%v", what, err, e.html(), e.said())
		case <-tick.C:
		}
	}
}

func (e *eyes) html() string {
	s, err := chromedp.Run(e.ctx, chromedp.OuterHTML(chromedp.CSS("html")))
	if err != nil {
		return err.Error()
	}
	return s
}

func (e *eyes) said() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.messages...)
}

// shoot keeps a picture, and fails where the page is wider than the window.
func (e *eyes) shoot(name string, width int64, scheme string) {
	e.t.Helper()
	e.do("resize", chromedp.EmulateViewport(width, 900), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		return err
	}))
	e.until("layout of "+name, fmt.Sprintf("window.innerWidth === %d", width))
	if wide, err := chromedp.Run(e.ctx, chromedp.Evaluate[int](`document.documentElement.scrollWidth`)); err != nil || int64(wide) > width {
		e.t.Errorf("%s: the page is %d wide in a window of %d: %v", name, wide, width, err)
	}
	b, err := chromedp.Run(e.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		e.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(e.shots, name+".png"), b, 0o600); err != nil {
		e.t.Fatal(err)
	}
}

func (e *eyes) everyLook(name string) {
	e.t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		e.shoot(name+"-wide-"+scheme, 1280, scheme)
		e.shoot(name+"-narrow-"+scheme, 390, scheme)
	}
	e.shoot(name+"-wide-light", 1280, "light")
}

// printed waits for the cell to say what it says once it is ready.
func printed(t *testing.T, cell *lab.Cell, want string) {
	t.Helper()
	late := time.NewTimer(lab.Wait)
	defer late.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(cell.Output(), want) {
		select {
		case <-late.C:
			t.Fatalf("%q was not printed:\n%s", want, cell.Output())
		case <-tick.C:
		}
	}
}

func TestAPersonSeesTheCellLive(t *testing.T) {
	cell := lab.Up(t, lab.Build(t, "github.com/dun-sec/dun/cmd/dun"), filepath.Join(t.TempDir(), "d"))
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "shop") }))
	t.Cleanup(origin.Close)
	link, err := os.ReadFile(filepath.Join(cell.Dir, "bootstrap/link"))
	if err != nil {
		t.Fatal(err)
	}
	printed(t, cell, strings.TrimSpace(string(link)))
	e := look(t, cell)
	e.do("open the link", chromedp.Navigate(strings.TrimSpace(string(link))))
	e.shoot("enter-wide-light", 1280, "light")
	e.do("enter", chromedp.Click(chromedp.CSS("button.main")))
	e.until("the first page", `location.pathname === "/" && document.querySelector("#status .good") !== null`)
	if _, err := os.Stat(filepath.Join(cell.Dir, "bootstrap/link")); !os.IsNotExist(err) {
		t.Errorf("the link is not burnt: %v", err)
	}
	e.everyLook("empty")

	apply := func(name, host string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "site.yaml")
		y := fmt.Sprintf("kind: Site\nmetadata: {tenant: platform, name: %s}\nspec:\n  hosts: [%s]\n  origins: [{url: %q}]\n", name, host, origin.URL)
		if err := os.WriteFile(file, []byte(y), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, exit := cell.Dun("apply", "-f", file); exit != 0 {
			t.Fatalf("apply: %d %s", exit, out)
		}
	}
	apply("shop", "shop.test")
	e.until("the site appears by itself", `document.querySelector("#r-platform-shop") !== null`)
	apply("a-site-with-quite-a-long-name-that-goes-on-and-on-for-sixty-one", "a-very-long-host-name.with-many-labels.and-more-of-them.shop.example.test")
	e.until("the second site", `document.querySelectorAll("#records tbody tr").length === 2`)

	attack := func(path string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, cell.Status.Endpoints["edgeHTTP"]+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "shop.test"
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusForbidden {
			t.Fatalf("the attack was answered %d", res.StatusCode)
		}
	}
	attack("/search?q=1%27%20OR%201=1%20--%20")
	e.until("the block appears by itself", `document.querySelectorAll("#blocks tbody tr").length === 1 && document.querySelectorAll("#chart rect").length === 1`)
	for _, path := range []string{"/?x=%3Cscript%3Ealert(1)%3C/script%3E", "/etc?f=../../../../etc/passwd", "/" + strings.Repeat("long/", 60) + "?q=%3Cscript%3Ealert(1)%3C/script%3E", "/?c=;cat%20/etc/passwd"} {
		attack(path)
	}
	e.until("all blocks", `document.querySelectorAll("#blocks tbody tr").length === 5`)
	e.everyLook("home")
	e.do("language", chromedp.Click(chromedp.CSS(".lang button")))
	e.until("Chinese", `document.documentElement.lang === "zh-CN" && document.querySelector("#chart h2").textContent === "每分钟拦截"`)
	e.everyLook("home-zh")

	e.do("explain", chromedp.Click(chromedp.CSS("#blocks tbody tr:last-child td:last-child a")))
	e.until("the explanation", `document.querySelector("pre") !== null && document.querySelector("pre").textContent.includes("kind: Exclusion")`)
	e.everyLook("block-zh")
	e.do("back to English", chromedp.Click(chromedp.CSS(".lang button")))
	e.until("English", `document.documentElement.lang === "en" && location.pathname.startsWith("/blocks/")`)
	e.everyLook("block")
	apply("shop", "www.shop.test")
	e.do("a record", chromedp.Navigate(cell.Profile.Server+"/records/sites/platform/shop/history"))
	e.until("history", `document.querySelector(".diff ins") !== null`)
	e.everyLook("record")
	for _, p := range []struct{ name, path string }{{"gallery", "/gallery"}, {"account", "/account"}, {"edit", "/records/sites/platform/shop/edit"}, {"events", "/events"}, {"audit", "/audit"}, {"proof", "/records/sites/platform/shop/proof"}, {"new", "/new/sites"}} {
		e.do(p.name, chromedp.Navigate(cell.Profile.Server+p.path))
		e.everyLook(p.name)
	}
	e.do("a list", chromedp.Navigate(cell.Profile.Server+"/records/policies"))
	e.everyLook("list")

	e.do("the first page again", chromedp.Navigate(cell.Profile.Server+"/"))
	e.until("it lives", `document.querySelectorAll("#blocks tbody tr").length === 5`)
	if _, err := chromedp.Run(e.ctx, chromedp.Evaluate[bool](`fetch("/leave", {method: "POST"}) && true`)); err != nil { // as another window would
		t.Fatal(err)
	}
	e.until("the page says that the session ended", `document.querySelector("#ended .note") !== null`)
	e.shoot("ended-wide-light", 1280, "light")
	e.do("the first page, signed out", chromedp.Navigate(cell.Profile.Server+"/"))
	e.until("signed out", `document.querySelector(".door pre") !== null`)
	e.shoot("outside-wide-light", 1280, "light")
	for _, m := range e.said() {
		// The page for the signed out is a 401, which chromium notes.
		if !strings.Contains(m, "401") {
			t.Errorf("the browser says: %s", m)
		}
	}
}

// TestTheBrowserWouldSay shows that a violation would be seen: what the page
// forbids is tried in it.
func TestTheBrowserWouldSay(t *testing.T) {
	cell := lab.Up(t, lab.Build(t, "github.com/dun-sec/dun/cmd/dun"), filepath.Join(t.TempDir(), "d"))
	e := look(t, cell)
	e.do("open", chromedp.Navigate(cell.Profile.Server+"/enter"))
	e.do("violate", chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`(() => {
			window.said = [];
			document.addEventListener("securitypolicyviolation", (v) => window.said.push(v.effectiveDirective));
			const s = document.createElement("style"); s.textContent = "p{color:red}"; document.head.append(s);
			const i = new Image(); i.src = "https://elsewhere.invalid/x.png";
			try { document.body.innerHTML = "<p>x</p>"; } catch (e) { window.said.push("threw"); }
			return true;
		})()`))
		return err
	}))
	e.until("violations are noticed", `["style-src-elem", "img-src", "require-trusted-types-for", "threw"].every((d) => window.said.includes(d))`)
	if len(e.said()) == 0 {
		t.Error("the console said nothing: the other test proves nothing")
	}
}
