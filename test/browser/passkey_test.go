package browser_test

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/dun-sec/dun/internal/lab"
	"github.com/dun-sec/dun/internal/lab/browser"
)

// authenticator gives the browser a device that somebody unlocks.
func authenticator(e *browser.Eyes) {
	e.Do("an authenticator", chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		if _, err := chromedp.Call(ctx, webauthn.Enable, webauthn.EnableParams{}); err != nil {
			return err
		}
		_, err := chromedp.Call(ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol: "ctap2", Transport: "internal", HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
		}})
		return err
	}))
}

// TestAPasskeyUnderANameThatTheBrowserTrusts lets a person's browser trust the
// cell by dun ca trust, and nothing else; then he enters by the link with a
// passkey, and signs in with it.
func TestAPasskeyUnderANameThatTheBrowserTrusts(t *testing.T) {
	const name = "dun.test"
	cell := lab.Up(t, lab.Build(t, "github.com/dun-sec/dun/cmd/dun"), filepath.Join(t.TempDir(), "d"), "console: {names: ["+name+"]}")
	u, err := url.Parse(cell.Profile.Server)
	if err != nil {
		t.Fatal(err)
	}
	here := "https://" + name + ":" + u.Port()
	home := t.TempDir()
	trust := func(more ...string) string {
		t.Helper()
		c := exec.Command(cell.Bin, append([]string{"ca", "trust", "--system=false"}, more...)...)
		c.Env = append(os.Environ(), "HOME="+home, "DUN_PROFILE="+cell.ProfileFile())
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	stranger := browser.OpenAt(t, cell, *shots, t.TempDir(), name)
	if _, err := chromedp.Run(stranger.Context, chromedp.Navigate(here+"/")); err == nil || !strings.Contains(err.Error(), "CERT_AUTHORITY_INVALID") {
		t.Errorf("who trusts nothing: %v", err)
	}

	if out := trust(); !strings.Contains(out, "Dun CA") || !strings.Contains(out, filepath.Join(home, ".pki/nssdb")) {
		t.Errorf("%s", out)
	}
	e := browser.OpenAt(t, cell, *shots, home, name)
	authenticator(e)
	_, token, _ := strings.Cut(e.Link(), "?")
	e.Do("open the link", chromedp.Navigate(here+"/enter?"+token))
	e.Do("burn it", chromedp.Click(chromedp.CSS("button.main")))
	e.Until("a passkey is offered", `location.pathname === "/setup" && document.querySelector("form.passkey") !== null && !document.querySelector("form.passkey").hidden`)
	e.Judge("setup with a passkey")
	e.Shoot("setup-passkey-wide-light", 1280, "light")
	e.Do("make one", chromedp.SendKeys(chromedp.CSS("#f-title"), "phone"), chromedp.Click(chromedp.CSS("form.passkey button")))
	e.Until("the first page", `location.pathname === "/" && document.querySelector("#status .good") !== null`)

	e.Do("the account", chromedp.Navigate(here+"/account"))
	e.Until("it is listed", `document.querySelector(".passkeys").textContent.includes("phone") && document.querySelector(".sessions").textContent.includes("passkey")`)
	e.Judge("account with a passkey")
	e.Shoot("account-passkey-wide-light", 1280, "light")
	e.Do("leave", chromedp.Click(chromedp.CSS(".who form[action='/leave'] button")))
	e.Until("outside", `document.querySelector("form[data-passkey=use]") !== null && !document.querySelector("form[data-passkey=use]").hidden`)
	e.Judge("outside with a passkey")
	e.Shoot("outside-passkey-wide-light", 1280, "light")
	e.Do("sign in", chromedp.Click(chromedp.CSS("form[data-passkey=use] button")))
	e.Until("in again", `location.pathname === "/" && document.querySelector("#status .good") !== null`)
	for _, m := range e.Said() {
		if !strings.Contains(m, "401") {
			t.Errorf("the browser says: %s", m)
		}
	}
	if hsts, err := chromedp.Run(e.Context, chromedp.Evaluate[bool](`window.isSecureContext`)); err != nil || !hsts {
		t.Errorf("no secure context: %v", err)
	}
	trust("--remove")
	if out, err := exec.Command("certutil", "-L", "-d", "sql:"+filepath.Join(home, ".pki/nssdb")).CombinedOutput(); err != nil || strings.Contains(string(out), "dun-") {
		t.Errorf("it is trusted still: %v %s", err, out)
	}
}
