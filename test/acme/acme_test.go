// Package acme gets certificates for a real cell from a real ACME authority
// (pebble), by each of the two challenges that the edge's own doors answer.
package acme

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/lab"
)

func TestACertificateOfAnACMEAuthority(t *testing.T) {
	pebble := lab.Build(t, "github.com/letsencrypt/pebble/v2/cmd/pebble")
	dir := filepath.Join(t.TempDir(), "d")
	bin := lab.Build(t, "../../cmd/dun")
	c := lab.Up(t, bin, dir)
	port := func(name string) int {
		n, err := strconv.Atoi(c.Port(name))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	apply := func(want int, words, yaml string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "r.yaml")
		if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, exit := c.Dun("apply", "-f", file); exit != want || !strings.Contains(out, words) {
			t.Fatalf("exit %d, want %d and %q\n%s", exit, want, words, out)
		}
	}
	shown := func(host string) string {
		t.Helper()
		conn, err := tls.Dial("tcp", "127.0.0.1:"+c.Port("edgeHTTPS"), &tls.Config{ServerName: host, InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Issuer.CommonName
	}
	for what, door := range map[string]struct{ http, tls int }{"http-01": {port("edgeHTTP"), 0}, "tls-alpn-01": {0, port("edgeHTTPS")}} {
		p := lab.StartPebble(t, pebble, door.http, door.tls)
		name := strings.TrimSuffix(what, "-01")
		a, b := name+".example.test", "www."+name+".example.test"
		manifest := func(terms bool, ca string) string {
			return fmt.Sprintf("kind: Site\nmetadata: {tenant: platform, name: %[1]s}\nspec: {hosts: [%[2]s, %[3]s], origins: [{url: 'http://192.0.2.1'}], tls: {redirect: true}}\n---\n"+
				"kind: Certificate\nmetadata: {tenant: platform, name: %[1]s}\nspec:\n  acme:\n    directory: %[4]s\n    names: [%[2]s, %[3]s]\n    terms: %[5]v\n    email: ops@example.test\n    ca: |\n%[6]s", name, a, b, p.Directory, terms, "      "+strings.ReplaceAll(strings.TrimSpace(ca), "\n", "\n      ")+"\n")
		}
		apply(2, "terms of service", manifest(false, p.CAPEM))
		apply(0, "enforced 1/1", manifest(true, p.CAPEM))
		for end := time.Now().Add(lab.Wait); !strings.Contains(shown(a), "Pebble"); {
			if time.Now().After(end) {
				out, _ := c.Dun("get", "certificates", name, "-o", "json")
				t.Fatalf("%s: no certificate comes\n%s", what, out)
			}
			<-time.After(20 * time.Millisecond)
		}
		if got := shown(b); !strings.Contains(got, "Pebble") {
			t.Errorf("%s: %s is shown by %s", what, b, got)
		}
	}
	out, _ := c.Dun("get", "certificates", "-o", "json")
	if strings.Count(out, `"condition": "ready"`) != 2 || strings.Contains(out, "PRIVATE") {
		t.Errorf("status:\n%s", out)
	}
	out, _ = c.Dun("audit", "tail", "--kind", "Certificate")
	if strings.Count(out, "issue") < 2 || !strings.Contains(out, "Service platform/certificates") {
		t.Errorf("the log:\n%s", out)
	}

	// What was got is there after a restart, when no authority is any more.
	if code := c.Stop(); code != 0 {
		t.Fatal(code)
	}
	c = lab.Up(t, bin, dir)
	if got := shown("http.example.test"); !strings.Contains(got, "Pebble") {
		t.Errorf("after a restart: %s", got)
	}
}
