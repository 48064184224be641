package approvals

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/identity/sigv4"
	"github.com/dun-sec/dun/internal/lab"
)

const asked = "what-is-asked-for"

// TestWhoDecidesMayNotReadWhatIsAskedFor: a program of a tenant asks for a
// change of users' data. The operator sees that it does, and what about; what it
// would write he sees on no way, and is told so.
func TestWhoDecidesMayNotReadWhatIsAskedFor(t *testing.T) {
	c := start(t)
	key := filepath.Join(t.TempDir(), "robot.key")
	for _, args := range [][]string{
		{"apply", "--no-wait", "-f", c.file("kind: Tenant\nmetadata: {tenant: platform, name: acme}\nspec: {}\n")},
		{"apply", "--no-wait", "-f", c.file("kind: Policy\nmetadata: {tenant: acme, name: robot}\nspec: {cedar: 'permit (principal == Service::\"acme/robot\", action, resource);'}\n")},
		{"key", "create", "k", "--tenant", "acme", "--service", "robot", "--write", "--file", key},
	} {
		if out, exit := c.as("", args...); exit != 0 {
			t.Fatalf("%v: %d %s", args, exit, out)
		}
	}
	b, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	held := regexp.MustCompile(`(?s)id\s+(\S+)\s+secret\s+(\S+)`).FindStringSubmatch(string(b))
	if held == nil {
		t.Fatal("no key")
	}
	call := func(method, path, body string) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, c.Profile.Server+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Dun-Approval", "ask")
		}
		if err := sigv4.Sign(r, held[1], []byte(held[2]), []byte(body), time.Now()); err != nil {
			t.Fatal(err)
		}
		res, err := c.API.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		out, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	site := fmt.Sprintf(`{"kind":"Site","metadata":{"tenant":"acme","name":"shop","labels":{"dun.dev/class":"production-user","note":"%s"}},"spec":{"hosts":["shop.test"],"origins":[{"url":"https://192.0.2.1"}]}}`, asked)
	var cr string
	for late := time.Now().Add(lab.Wait); cr == ""; {
		<-time.After(100 * time.Millisecond)
		out := call("PUT", "/api/v1/acme/sites/shop", site)
		if cr = requestName.FindString(out); cr == "" && (!strings.Contains(out, "retryAfter") || time.Now().After(late)) {
			t.Fatal(out) // but for the first seconds, in which no signed write is taken
		}
	}
	for _, args := range [][]string{
		{"get", "changerequest", cr, "--tenant", "acme", "-o", "yaml"}, {"get", "changerequests", "--tenant", "acme", "-o", "json"}, {"get", "changerequests", "-A"},
		{"history", "changerequest", cr, "--tenant", "acme", "-o", "json"}, {"audit", "tail", "--kind", "changerequest", "-o", "json"}, {"events", "--since", "1h", "-o", "json"},
	} {
		out, exit := c.as("", args...)
		if exit != 0 || strings.Contains(out, asked) || strings.Contains(out, "192.0.2.1") {
			t.Errorf("%v: %d %s", args, exit, out)
		}
		if (args[0] == "get" && args[len(args)-1] != "-A" || args[0] == "history") && !regexp.MustCompile(`"?withheld"?: true`).MatchString(out) {
			t.Errorf("%v: not marked: %s", args, out)
		}
	}
	var own struct {
		Spec struct{ Changes []struct{ Content string } }
	}
	if out := call("GET", "/api/v1/acme/changerequests/"+cr, ""); json.Unmarshal([]byte(out), &own) != nil || len(own.Spec.Changes) != 1 || !strings.Contains(own.Spec.Changes[0].Content, asked) {
		t.Errorf("its own: %s", out)
	}
	out, exit := c.as("", "--lang", "zh", "deny", cr, "--tenant", "acme")
	c.want("the decision", 0, "请求的内容已隐去", out, exit)
}
