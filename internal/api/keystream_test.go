package api

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/identity/sigv4"
)

// presigner makes a signed URL as the AWS SDK for Python does.
const presigner = `
import sys
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
r = AWSRequest(method=sys.argv[1], url=sys.argv[2])
SigV4QueryAuth(Credentials(sys.argv[3], sys.argv[4]), "dun", "local", expires=60).add_auth(r)
print(r.prepare().url)
`

// TestASignedURLReads: it stands in a browser or a script, for as long as it
// says, and changes nothing.
func TestASignedURLReads(t *testing.T) {
	d := newDoor(t)
	d.token = d.tenantWithAnn("acme")
	k := d.makeKey("acme", "k", `{"user":"ann","write":true}`)
	signed := func(method, path string) string {
		t.Helper()
		out, err := exec.Command("/usr/bin/python3", "-c", presigner, method, d.srv.URL+path, k.id, k.secret).Output()
		if err != nil {
			t.Fatalf("%v; is python3-botocore there?", err)
		}
		return strings.TrimSpace(string(out))
	}
	ask := func(method, address string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	read := signed("GET", "/api/v1/acme/users?labels=&limit=5")
	if status, body := ask("GET", read); status != 200 || !strings.Contains(body, `"ann"`) {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := ask("GET", strings.Replace(read, "limit=5", "limit=6", 1)); status != 401 {
		t.Errorf("changed: %d", status)
	}
	if status, _ := ask("DELETE", signed("DELETE", "/api/v1/acme/users/ann?revision=1")); status != 401 {
		t.Errorf("a URL that deletes: %d", status)
	}
	d.clock.Jump(10 * time.Minute) // the one that signed is another clock
	if status, body := ask("GET", read); status != 401 || !strings.Contains(body, "not valid now") {
		t.Errorf("ten minutes later: %d %s", status, body)
	}
}

// TestAStreamEndsWithItsKey: who watches by a key sees nothing more once it is
// disabled.
func TestAStreamEndsWithItsKey(t *testing.T) {
	d := newDoor(t)
	d.token = d.tenantWithAnn("acme")
	k := d.makeKey("acme", "k", `{"user":"ann"}`)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", d.srv.URL+"/api/v1/acme/sites?watch=", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := sigv4.Sign(req, k.id, []byte(k.secret), nil, d.clock.Now()); err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%v %v", err, res)
	}
	defer res.Body.Close()
	w := &watcher{t, bufio.NewScanner(res.Body), cancel}
	w.next("synced")
	rev := revisionOf(t, d.call("GET", "/api/v1/acme/accesskeys/k", ""))
	if a := d.call("PATCH", "/api/v1/acme/accesskeys/k", `{"metadata":{"revision":`+rev+`},"spec":{"disabled":true}}`); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := d.call("PUT", "/api/v1/acme/sites/shop", siteOf("acme", "shop")); a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	w.next("error", "no access key stands behind")
}
