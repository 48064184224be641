package browser_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/lab"
)

// click posts the token as the button does, and follows nothing.
func click(t *testing.T, cell *lab.Cell, token string) *http.Response {
	t.Helper()
	hc := *cell.API
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := hc.PostForm(cell.Profile.Server+"/enter", url.Values{"t": {token}})
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res
}

func token(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "bootstrap/link"))
	if err != nil {
		t.Fatal(err)
	}
	_, tok, _ := strings.Cut(strings.TrimSpace(string(b)), "?t=")
	return tok
}

// TestTheLinkOutlivesAKillUntilItIsBurnt kills real cells before and after the
// link is used.
func TestTheLinkOutlivesAKillUntilItIsBurnt(t *testing.T) {
	bin, dir := lab.Build(t, "github.com/dun-sec/dun/cmd/dun"), filepath.Join(t.TempDir(), "d")
	cell := lab.Up(t, bin, dir)
	first := token(t, dir)
	cell.Kill()
	cell = lab.Up(t, bin, dir)
	if again := token(t, dir); again != first {
		t.Fatal("a restart made another link")
	}
	printed(t, cell, cell.Profile.Server+"/enter?t="+first)
	res := click(t, cell, first)
	if res.StatusCode != http.StatusSeeOther || len(res.Cookies()) != 1 {
		t.Fatalf("%d", res.StatusCode)
	}
	cell.Kill()
	cell = lab.Up(t, bin, dir)
	if res := click(t, cell, first); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("the burnt link came back: %d", res.StatusCode)
	}
	printed(t, cell, "dun admin recover")
	req, err := http.NewRequest(http.MethodGet, cell.Profile.Server+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.AddCookie(res.Cookies()[0])
	if res, err := cell.API.Do(req); err != nil || res.Request.URL.Path != "/setup" || res.StatusCode != 200 {
		t.Errorf("the session did not outlive the kill: %v %v", res, err)
	}
	out, exit := cell.Dun("admin", "recover", "--data", dir)
	if second := token(t, dir); exit != 0 || second == first || !strings.Contains(out, second) {
		t.Errorf("%d %s", exit, out)
	} else if res := click(t, cell, second); res.StatusCode != http.StatusSeeOther {
		t.Errorf("the new link: %d", res.StatusCode)
	}
	if strings.Contains(cell.Output(), "dun_s_") {
		t.Error("a session token was printed")
	}
}
