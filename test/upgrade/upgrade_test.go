// Package upgrade opens the data directory of an older release with this one.
// test/data/v1.tar is such a directory: every later build must open it, and
// find in it what was there. A fixture never changes once its release is out;
// a new form of the directory gets a fixture of its own beside it.
package upgrade

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"flag"
	"io"
	"io/fs"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/lab"
)

var update = flag.Bool("update", false, "make the fixture anew; only before its release is out")

const (
	fixture = "../data/v1.tar"
	golden  = "../data/v1.json"
)

// what is asked of the fixture when it is made, and ever after.
var questions = [][]string{
	{"get", "tenants", "-o", "json"}, {"get", "sites", "--tenant", "-", "-o", "json"}, {"get", "exclusions", "--tenant", "-", "-o", "json"}, {"get", "bans", "--tenant", "-", "-o", "json"},
	{"get", "users", "--tenant", "-", "-o", "json"}, {"get", "roles", "--tenant", "acme", "-o", "json"}, {"get", "rolebindings", "--tenant", "-", "-o", "json"}, {"get", "policies", "--tenant", "acme", "-o", "json"},
	{"history", "site", "shop", "--tenant", "acme", "-o", "json"}, {"history", "ban", "gone", "-o", "json"},
	{"events", "--tenant", "acme", "--kind", "block", "-o", "json"},
	{"audit", "tail", "--log", "denials", "-o", "json"},
}

const records = `
kind: Tenant
metadata: {tenant: platform, name: acme}
spec: {title: Acme 有限公司, originNetworks: [10.20.0.0/16]}
---
kind: Site
metadata: {tenant: acme, name: shop, labels: {team: web}, annotations: {note: 首个站点}}
spec: {hosts: [shop.test, '*.shop.test'], origins: [{url: 'http://127.0.0.1:9', weight: 3}], waf: {mode: block, paranoia: 2}, health: {path: /health}, limits: {body: 1MiB}}
---
kind: Exclusion
metadata: {tenant: acme, name: comments}
spec: {site: shop, rule: 942100, route: /comments/*, argument: ARGS:text}
---
kind: Ban
metadata: {tenant: acme, name: crawler}
spec: {action: ban, sources: [203.0.113.0/24, '2001:db8::/32'], sites: [shop], expires: 2099-01-01T00:00:00Z}
---
kind: Ban
metadata: {tenant: platform, name: gone}
spec: {action: allow, sources: [192.0.2.1]}
---
kind: User
metadata: {tenant: acme, name: zhou-min}
spec: {displayName: 周敏}
---
kind: Role
metadata: {tenant: acme, name: web}
---
kind: RoleBinding
metadata: {tenant: acme, name: web}
spec: {role: web, subjects: [{kind: User, name: zhou-min}]}
---
kind: Policy
metadata: {tenant: acme, name: web}
spec: {cedar: 'permit (principal in Role::"acme/web", action in Action::"read", resource is Site) when { resource.hasTag("team") && resource.getTag("team") == "web" };'}
`

func TestTheFirstReleasesDirectoryOpens(t *testing.T) {
	bin := lab.Build(t, "../../cmd/dun")
	if *update {
		make1(t, bin)
	}
	dir := filepath.Join(t.TempDir(), "d")
	unpack(t, dir)
	writeKeys(t, dir)
	c := lab.Up(t, bin, dir)
	if c.Status.Cell != cellName {
		t.Errorf("cell %s", c.Status.Cell)
	}
	want := map[string]json.RawMessage{}
	b, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	for q, old := range want {
		if got := ask(t, c, strings.Fields(q)); !holds(t, old, got) {
			t.Errorf("dun %s\nwas  %s\nis   %s", q, old, got)
		}
	}
	for _, args := range [][]string{{"audit", "verify"}, {"audit", "verify", "--log", "denials"}, {"explain", "access", "user/acme/zhou-min", "site.read", "site/shop", "--tenant", "acme", "--check"}} {
		if out, exit := c.Dun(args...); exit != 0 {
			t.Errorf("dun %v: exit %d\n%s", args, exit, out)
		}
	}
	if out, exit := c.Dun("do-not-know"); exit == 0 {
		t.Error(out) // the questions above can fail
	}
	if exit := c.Stop(); exit != 0 {
		t.Error(exit)
	}
}

func TestTheFirstReleasesLastKnownGoodOpens(t *testing.T) {
	bin := lab.Build(t, "../../cmd/dun")
	dir := filepath.Join(t.TempDir(), "d")
	unpack(t, dir)
	writeKeys(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "records.db"), []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	// Its age is counted from the day when the fixture was made: what the format
	// says is read in any case, and that it is too old is said.
	c, err := lab.Launch(t, bin, dir)
	if err != nil {
		t.Fatal(err)
	}
	err = c.Served()
	if out := c.Output(); err != nil && !strings.Contains(out, "older than 30 days") || err == nil && !strings.Contains(out, "the edge starts from what it enforced last") {
		t.Errorf("%v\n%s", err, out)
	}
}

// holds reports whether everything of the old answer is in the new one: a
// later release may say more.
func holds(t *testing.T, old, now json.RawMessage) bool {
	t.Helper()
	var a, b any
	if err := json.Unmarshal(old, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(now, &b); err != nil {
		return false
	}
	return within(a, b)
}

func within(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		for k := range x {
			ok = ok && within(x[k], y[k])
		}
		return ok
	case []any:
		y, ok := b.([]any)
		return ok && len(x) == len(y) && !slices.ContainsFunc(x, func(v any) bool {
			return !slices.ContainsFunc(y, func(w any) bool { return within(v, w) })
		})
	}
	return a == b
}

func ask(t *testing.T, c *lab.Cell, args []string) json.RawMessage {
	t.Helper()
	out, exit := c.Dun(args...)
	if exit != 0 || !json.Valid([]byte(out)) {
		t.Fatalf("dun %v: exit %d\n%s", args, exit, out)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(out)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// make1 makes the fixture with the program of today.
func make1(t *testing.T, bin string) {
	dir := filepath.Join(t.TempDir(), "d")
	writeKeys(t, dir)
	for name, text := range map[string]string{"VERSION": "1\n", "cell": cellName + "\n", "ca.pem": authority(t)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := lab.Up(t, bin, dir)
	file := filepath.Join(t.TempDir(), "records.yaml")
	dun := func(want int, args ...string) {
		t.Helper()
		if out, exit := c.Dun(args...); exit != want {
			t.Fatalf("dun %v: exit %d\n%s", args, exit, out)
		}
	}
	apply := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		dun(0, "apply", "-f", file, "--reason", "fixture 样例")
	}
	apply(records)
	apply(strings.ReplaceAll(records, "paranoia: 2", "paranoia: 3"))
	dun(0, "delete", "ban", "gone", "--reason", "no longer needed")
	dun(4, "delete", "policy", "builtin-auditor")
	apply("kind: Site\nmetadata: {tenant: acme, name: private}\nspec: {hosts: [private.test], origins: [{url: 'http://127.0.0.1:9'}]}\n")
	dun(0, "delete", "site", "private", "--tenant", "acme")
	dun(0, "audit", "erase", "site", "private", "--tenant", "acme", "--reason", "request 1")
	req, err := http.NewRequest("GET", c.Status.Endpoints["edgeHTTP"]+"/?id=1%27%20OR%201=1--", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "shop.test"
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != 403 {
		t.Fatal(res, err)
	}
	res.Body.Close()
	answers := map[string]json.RawMessage{}
	for _, q := range questions {
		answers[strings.Join(q, " ")] = ask(t, c, q)
	}
	if exit := c.Stop(); exit != 0 {
		t.Fatal(exit)
	}
	b, err := json.MarshalIndent(answers, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(fixture), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(golden, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	pack(t, dir)
}

func authority(t *testing.T) string {
	t.Helper()
	key := authorityKey(t)
	tmpl := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Dun CA " + cellName, Organization: []string{"Dun"}}, SerialNumber: big.NewInt(1),
		NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2126, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// left out of the fixture: keys are derived, sessions are nobody's, the rest
// belongs to a running process.
func leftOut(name string) bool {
	return slices.Contains([]string{"keys", "bootstrap", "run", "lock"}, strings.SplitN(name, "/", 2)[0])
}

func pack(t *testing.T, dir string) {
	t.Helper()
	out, err := os.Create(fixture)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w := tar.NewWriter(out)
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || leftOut(name) {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(b)), Format: tar.FormatUSTAR}); err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func unpack(t *testing.T, dir string) {
	t.Helper()
	in, err := os.Open(fixture)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, filepath.FromSlash(h.Name))
		if !filepath.IsLocal(h.Name) {
			t.Fatalf("%q leads out", h.Name)
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
