// Package posture tries the controls of a real cell from the command line, and
// sees them turn red when the machine is opened beside the edge.
package posture

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/lab"
)

func TestTheControlsOfARealCell(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	c := lab.Up(t, lab.Build(t, "../../cmd/dun"), filepath.Join(t.TempDir(), "d"))
	dun := func(want int, words string, args ...string) string {
		t.Helper()
		out, exit := c.Dun(args...)
		if exit != want {
			t.Fatalf("dun %v: exit %d, want %d\n%s", args, exit, want, out)
		}
		for _, w := range strings.Split(words, "|") {
			if !strings.Contains(out, w) {
				t.Errorf("dun %v: %q is missing in\n%s", args, w, out)
			}
		}
		return out
	}
	dun(0, "2.1-13|5.3-4|8.4-9|not tried yet", "posture")
	dun(0, "8.4-9  proved|swept|attack: SQL injection: 403|banned", "posture", "run", "8.4-9")
	dun(0, "2.1-13  proved|worst delay", "posture", "run", "2.1-13")
	dun(0, "5.3-4  已证明", "--lang", "zh", "posture", "run", "5.3-4")
	dun(0, "4.1-1  proved|308 Permanent Redirect|TLS 1.1 accepted: false", "posture", "run", "4.1-1")
	dun(0, "8.5-2  proved|in clear|308 Permanent Redirect|__Host-dun of POST /leave: Secure=true HttpOnly=true SameSite=true|forms", "posture", "run", "8.5-2")
	dun(0, "proved", "posture")
	dun(0, `"state": "proved"`, "posture", "-o", "json")
	dun(0, "check|proved|platform/8.4-9", "audit", "tail", "--class", "check", "--action", "proved")
	dun(0, "verified", "audit", "verify")
	dun(5, "no check proves", "posture", "run", "1.1-1")

	site := func(origin string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "site.yaml")
		y := "kind: Site\nmetadata: {tenant: platform, name: shop}\nspec: {hosts: [shop.test, \"*.shop.test\", 127.0.0.1], origins: [{url: \"" + origin + "\"}]}\n"
		if err := os.WriteFile(file, []byte(y), 0o600); err != nil {
			t.Fatal(err)
		}
		dun(0, "enforced 1/1", "apply", "-f", file)
	}
	site("https://192.0.2.1")
	dun(0, "8.5-1  proved|3 of 3 names", "posture", "run", "8.5-1")
	dun(0, "8.5-3  proved", "posture", "run", "8.5-3")
	dun(0, "1-1  proved|stream of a node|API record: another tenant 404, nobody 401, its key 404|console YAML: another tenant 404|log of the process: |none with the marker|metrics: |edge: an answer of class production-user through a site of class public: 403, and an event|not tried|name the record", "posture", "run", "1-1")
	hole := filepath.Join(t.TempDir(), "hole.yaml") // somebody opens every tenant's bans to every node
	if err := os.WriteFile(hole, []byte("kind: Policy\nmetadata: {tenant: platform, name: hole}\nspec: {cedar: 'permit (principal is Node, action == Action::\"ban.read\", resource);'}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dun(0, "", "apply", "-f", hole)
	dun(20, "1-1 does not hold: it leaves by stream of a node", "posture", "run", "1-1")
	dun(20, "经 stream of a node 流出", "--lang", "zh", "posture", "run", "1-1")
	dun(0, "", "delete", "policy", "hole")
	dun(0, "1-1  已证明", "--lang", "zh", "posture", "run", "1-1")
	dun(0, "4.1-2  proved|two live, a third refused|a wrong secret|refused|the same write again|rotation", "posture", "run", "4.1-2")
	site("http://192.0.2.1") // somebody takes the s away
	dun(20, "8.5-3  failed|in clear|platform/shop", "posture", "run", "8.5-3")
	dun(20, "明文", "--lang", "zh", "posture", "run", "8.5-3")

	// Somebody opens a door beside the edge.
	ln, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dun(20, "8.4-9  failed|open beside the edge|8.4-9 does not hold: 1 public addresses", "posture", "run", "8.4-9")
	dun(20, "不成立", "--lang", "zh", "posture", "run", "8.4-9")
	dun(0, "failed", "posture")
}
