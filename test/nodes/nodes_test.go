// Package nodes runs cells of several machines as an operator does: real
// processes that join by token files, are cut off, drained and removed.
package nodes

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/telemetry"
	"github.com/dun-sec/dun/internal/lab"
)

func TestNodes(t *testing.T) {
	bin := lab.Build(t, "github.com/dun-sec/dun/cmd/dun")
	for name, f := range map[string]func(*testing.T, string){
		"SecondNodeServesOnWithoutTheFirst": secondNodeServesOnWithoutTheFirst,
		"DrainedNodeTakesNoConnections":     drainedNodeTakesNoConnections,
		"RemovedNodeEndsAndForgets":         removedNodeEndsAndForgets,
		"ReplacedNodeIsRefused":             replacedNodeIsRefused,
		"TokenIsGoodOnce":                   tokenIsGoodOnce,
		"OlderControlPlaneIsNotFollowed":    olderControlPlaneIsNotFollowed,
		"ControlPlaneIsDead":                controlPlaneIsDead,
	} {
		t.Run(name, func(t *testing.T) { f(t, bin) })
	}
}

// world is a cell whose door for nodes keeps its address over restarts, with
// one site.
type world struct {
	t           *testing.T
	bin, listen string
	control     *lab.Cell
	origin      string
}

func newWorld(t *testing.T, bin string) *world {
	t.Helper()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello from "+r.Host) }))
	t.Cleanup(origin.Close)
	w := &world{t: t, bin: bin, origin: origin.URL}
	w.listen = fmt.Sprintf(`listen: {console: "127.0.0.1:0", edgeHTTP: "127.0.0.1:0", edgeHTTPS: "127.0.0.1:0", nodes: %q, telemetry: "127.0.0.1:0"}`, lab.FreeTCP(t))
	w.control = w.up(t.TempDir())
	w.site("shop", "shop.test")
	return w
}

func (w *world) up(dir string) *lab.Cell {
	w.t.Helper()
	return lab.Up(w.t, w.bin, dir, w.listen)
}

func (w *world) site(name, host string) {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), name+".yaml")
	body := fmt.Sprintf("kind: Site\nmetadata: {tenant: platform, name: %s}\nspec:\n  hosts: [%s]\n  origins: [{url: %q}]\n  waf: {mode: block, paranoia: 1}\n", name, host, w.origin)
	if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.dun(0, "apply", "-f", file)
}

// dun runs a command against the control plane and wants its exit code.
func (w *world) dun(want int, args ...string) string {
	w.t.Helper()
	out, exit := w.control.Dun(args...)
	if exit != want {
		w.t.Fatalf("dun %s: exit %d, want %d\n%s", strings.Join(args, " "), exit, want, out)
	}
	return out
}

func (w *world) token(args ...string) string {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "token")
	text, _, ok := strings.Cut(w.dun(0, append([]string{"token", "create", "--roles", "edge"}, args...)...), "\ntoken t-") // what it says to people
	if !ok {
		w.t.Fatal(text)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return file
}

func (w *world) join(dir, token string) *lab.Cell {
	w.t.Helper()
	n, err := lab.Join(w.t, w.bin, dir, token, "roles: [edge]")
	if err == nil {
		err = n.Ready()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// get asks an edge for a page of a host in clear.
func get(n *lab.Cell, host, path string) (int, string, error) {
	req, err := http.NewRequest(http.MethodGet, "http://127.0.0.1:"+n.Port("edgeHTTP")+path, nil)
	if err != nil {
		return 0, "", err
	}
	req.Host = host
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

func (w *world) serves(n *lab.Cell, host string) {
	w.t.Helper()
	status, body, err := get(n, host, "/")
	if err != nil || status != 200 || body != "hello from "+host+"\n" {
		w.t.Fatalf("%s: %d %q %v\n%s", host, status, body, err, n.Output())
	}
}

// servesTLS wants the certificate that the cell's authority signed.
func (w *world) servesTLS(n *lab.Cell, host string) {
	w.t.Helper()
	pem, err := os.ReadFile(filepath.Join(w.control.Dir, "ca.pem"))
	if err != nil {
		w.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", "127.0.0.1:"+n.Port("edgeHTTPS"), &tls.Config{ServerName: host, RootCAs: roots})
	if err != nil {
		w.t.Fatalf("%s: %v\n%s", host, err, n.Output())
	}
	conn.Close()
}

// until waits for what is soon so.
func (w *world) until(what string, good func() bool) {
	w.t.Helper()
	end := time.Now().Add(lab.Wait)
	for !good() {
		if time.Now().After(end) {
			w.t.Fatalf("it does not come: %s", what)
		}
		<-time.After(20 * time.Millisecond)
	}
}

func (w *world) state(n *lab.Cell, state string) {
	w.t.Helper()
	err := n.Until(func(s *telemetry.Status) bool { return len(s.Roles) > 0 && s.Roles[0].State == state })
	if err != nil {
		w.t.Fatalf("want %s: %v", state, err)
	}
}

func secondNodeServesOnWithoutTheFirst(t *testing.T, bin string) {
	w := newWorld(t, bin)
	dir := t.TempDir()
	n2 := w.join(dir, w.token())
	w.serves(n2, "shop.test")
	w.servesTLS(n2, "shop.test")

	w.site("later", "later.test") // apply waits for both
	w.serves(n2, "later.test")
	if out := w.dun(0, "get", "nodes"); !strings.Contains(out, "n2") || strings.Contains(out, "silent") {
		t.Error(out)
	}
	if status, _, err := get(n2, "shop.test", "/?q=1%27%20union%20select%20password%20from%20users--"); err != nil || status != 403 {
		t.Fatalf("the attack: %d %v", status, err)
	}
	w.until("the event of n2", func() bool { return strings.Contains(w.dun(0, "events", "--kind", "block"), "blocked") })

	w.control.Kill()
	for range 20 {
		w.serves(n2, "shop.test")
	}
	w.servesTLS(n2, "later.test")
	w.state(n2, telemetry.LastKnownGood)

	// A machine that is started anew meanwhile has what it enforced last.
	if code := n2.Stop(); code != 0 {
		t.Fatalf("exit %d\n%s", code, n2.Output())
	}
	n2, err := lab.Join(t, w.bin, dir, "")
	if err == nil {
		err = n2.Served()
	}
	if err != nil {
		t.Fatal(err)
	}
	w.serves(n2, "later.test")
	w.servesTLS(n2, "shop.test")

	w.control = w.up(w.control.Dir)
	w.state(n2, telemetry.Enforcing)
	w.site("last", "last.test")
	w.serves(n2, "last.test")
}

func drainedNodeTakesNoConnections(t *testing.T, bin string) {
	w := newWorld(t, bin)
	n2 := w.join(t.TempDir(), w.token())
	w.dun(0, "do", "drain", "node", "n2")
	w.until("closed doors", func() bool { _, _, err := get(n2, "shop.test", "/"); return err != nil })
	w.serves(w.control, "shop.test")
	w.dun(0, "do", "resume", "node", "n2")
	w.until("open doors", func() bool { _, _, err := get(n2, "shop.test", "/"); return err == nil })
	w.serves(n2, "shop.test")
}

func removedNodeEndsAndForgets(t *testing.T, bin string) {
	w := newWorld(t, bin)
	dir := t.TempDir()
	n2 := w.join(dir, w.token())
	w.dun(0, "delete", "node", "n2")
	w.until("its end", func() bool { return strings.Contains(n2.Output(), "removed from the cell") })
	for _, name := range []string{"keys/member.json", "lkg"} {
		w.until(name+" gone", func() bool { _, err := os.Stat(filepath.Join(dir, name)); return os.IsNotExist(err) })
	}
	// The same directory joins again by a new token, and by no other.
	if n, err := lab.Join(t, w.bin, dir, ""); err == nil && n.Ready() == nil {
		t.Fatal("it came back without a token")
	}
	again := w.join(dir, w.token())
	w.serves(again, "shop.test")
}

func replacedNodeIsRefused(t *testing.T, bin string) {
	w := newWorld(t, bin)
	first := w.join(t.TempDir(), w.token())
	second := w.join(t.TempDir(), w.token("--node", "n2"))
	w.until("the end of the first", func() bool { return strings.Contains(first.Output(), "removed from the cell") })
	w.serves(second, "shop.test")
}

func tokenIsGoodOnce(t *testing.T, bin string) {
	w := newWorld(t, bin)
	file := w.token()
	w.join(t.TempDir(), file)
	for what, change := range map[string]func(string) string{
		"used":             func(s string) string { return s },
		"forged secret":    func(s string) string { return changed(s, "secret: dun_t_") },
		"foreign CA":       func(s string) string { return changed(s, "ca: sha256:") },
		"unknown name":     func(s string) string { return changed(s, "token: t-") },
		"another address":  func(s string) string { return strings.Replace(s, w.control.Profile.Server, "https://127.0.0.1:1", 1) },
		"not by TLS":       func(s string) string { return strings.Replace(s, "https://", "http://", 1) },
		"another document": func(s string) string { return s + "more: x\n" },
	} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := change(string(b))
		if what != "used" && text == string(b) {
			t.Fatalf("%s: nothing was changed", what)
		}
		bad := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(bad, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		n, err := lab.Join(t, w.bin, dir, bad)
		if err == nil {
			err = n.Ready()
		}
		if err == nil {
			t.Errorf("%s: joined", what)
		}
		if strings.Contains(fmt.Sprint(err), "dun_t_") {
			t.Errorf("%s: the secret is shown: %v", what, err)
		}
	}
	if out := w.dun(0, "get", "nodes"); strings.Contains(out, "n3") {
		t.Error(out)
	}
}

// changed turns the first letter or digit after a prefix into another one.
func changed(s, after string) string {
	i := strings.Index(s, after) + len(after)
	c := byte('a')
	if s[i] == c {
		c = 'b'
	}
	return s[:i] + string(c) + s[i+1:]
}

// olderControlPlaneIsNotFollowed puts an old copy of the records in the
// place of the new ones.
func olderControlPlaneIsNotFollowed(t *testing.T, bin string) {
	w := newWorld(t, bin)
	n2 := w.join(t.TempDir(), w.token())
	if code := w.control.Stop(); code != 0 {
		t.Fatal(code)
	}
	old := filepath.Join(t.TempDir(), "old")
	if out, err := exec.Command("cp", "-a", w.control.Dir, old).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	w.control = w.up(w.control.Dir)
	w.state(n2, telemetry.Enforcing)
	for i := range 3 {
		w.site(fmt.Sprint("more", i), fmt.Sprintf("more%d.test", i))
	}
	w.control.Kill()
	w.control = w.up(old)
	w.until("the refusal", func() bool {
		return n2.Until(func(s *telemetry.Status) bool {
			return s.Roles[0].State == telemetry.LastKnownGood && strings.Contains(fmt.Sprint(s.Roles[0].Missing), "older than")
		}) == nil
	})
	w.serves(n2, "more2.test")
}
