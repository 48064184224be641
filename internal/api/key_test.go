package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// key is an access key as a program holds it.
type key struct{ id, secret string }

// makeKey makes a key by the session of the door.
func (d *door) makeKey(tenant, name, spec string) key {
	d.t.Helper()
	path := "/api/v1/" + tenant + "/accesskeys/" + name
	if a := d.call("PUT", path, `{"kind":"AccessKey","metadata":{},"spec":`+spec+`}`); a.status != 201 {
		d.t.Fatalf("%d %s", a.status, a.body)
	}
	a := d.call("POST", path+"/issue", "")
	if a.status != 201 {
		d.t.Fatalf("%d %s", a.status, a.body)
	}
	var got struct {
		Record struct{ State struct{ KeyID string } }
		Secret string
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || !strings.HasPrefix(got.Record.State.KeyID, "AK") || !strings.HasPrefix(got.Secret, "dun_k_") {
		d.t.Fatalf("%v %s", err, a.body)
	}
	return key{got.Record.State.KeyID, got.Secret}
}

// curl sends a request that curl signs; more are further arguments.
func (d *door) curl(k key, method, path, body string, more ...string) answer {
	d.t.Helper()
	args := append([]string{"-sS", "--max-time", "20", "--aws-sigv4", "aws:amz:local:dun", "--user", k.id + ":" + k.secret, "-X", method, "-w", "\n%{http_code}"}, more...)
	if body != "" {
		sum := sha256.Sum256([]byte(body))
		args = append(args, "--data-binary", body, "-H", "X-Amz-Content-Sha256: "+hex.EncodeToString(sum[:]))
	}
	out, err := exec.Command("curl", append(args, d.srv.URL+path)...).CombinedOutput()
	if err != nil {
		d.t.Fatalf("%v %s", err, out)
	}
	i := bytes.LastIndexByte(out, '\n')
	status, err := strconv.Atoi(string(out[i+1:]))
	if err != nil {
		d.t.Fatal(err)
	}
	return answer{status: status, body: string(out[:i])}
}

const asJSON = "Content-Type: application/json"

// tenantWithAnn makes a tenant whose user ann has every right in it, and a
// session of hers.
func (d *door) tenantWithAnn(tenant string) (session string) {
	d.t.Helper()
	for path, body := range map[string]string{
		"/api/v1/platform/tenants/" + tenant: `{"kind":"Tenant","metadata":{},"spec":{"limits":{"requests":100000}}}`,
	} {
		if a := d.call("PUT", path, body); a.status != 201 {
			d.t.Fatalf("%d %s", a.status, a.body)
		}
	}
	for path, body := range map[string]string{
		"users/ann":    `{"kind":"User","metadata":{},"spec":{}}`,
		"policies/all": `{"kind":"Policy","metadata":{},"spec":{"cedar":"permit (principal == User::\"` + tenant + `/ann\", action, resource); permit (principal == Service::\"` + tenant + `/ci\", action in [Action::\"site.read\", Action::\"site.create\", Action::\"site.update\"], resource);"}}`,
	} {
		if a := d.call("PUT", "/api/v1/"+tenant+"/"+path, body); a.status != 201 {
			d.t.Fatalf("%d %s", a.status, a.body)
		}
	}
	session, _, err := d.gate.OpenSession(d.t.Context(), identity.Service(gate.Dayzero), resource.Ref{Kind: "User", Tenant: tenant, Name: "ann"}, "")
	if err != nil {
		d.t.Fatal(err)
	}
	return session
}

func siteOf(tenant, name string) string {
	return strings.NewReplacer(`"platform"`, `"`+tenant+`"`, `"shop"`, `"`+name+`"`, "shop.test", name+"."+tenant+".test").Replace(site)
}

func TestAProgramSignsByItsKey(t *testing.T) {
	d := newDoor(t)
	operator := d.token
	ann := d.tenantWithAnn("acme")
	d.token = ann
	mine := d.makeKey("acme", "laptop", `{"user":"ann"}`)
	ci := d.makeKey("acme", "ci-1", `{"service":"ci","write":true}`)

	if a := d.curl(mine, "GET", "/api/v1/acme/users?labels=&limit=5", ""); a.status != 200 || !strings.Contains(a.body, `"ann"`) {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := d.curl(mine, "PUT", "/api/v1/acme/sites/shop", siteOf("acme", "shop"), "-H", asJSON); a.status != 403 || !strings.Contains(a.body, "reads only") {
		t.Errorf("a key that reads: %d %s", a.status, a.body)
	}
	if a := d.curl(ci, "PUT", "/api/v1/acme/sites/shop", siteOf("acme", "shop"), "-H", asJSON, "-H", "Dun-Reason: a%20release"); a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := d.curl(ci, "GET", "/api/v1/acme/users", ""); a.status != 200 || strings.Contains(a.body, "ann") {
		t.Errorf("a service without that right: %d %s", a.status, a.body)
	}
	d.token = operator
	if a := d.call("GET", "/api/v1/acme/sites/shop/history", ""); !strings.Contains(a.body, `"actor":"Service acme/ci"`) {
		t.Errorf("%s", a.body)
	}
}

// TestAKeyIsRefused goes through all the ways in which a key is not good, or not
// good for that.
func TestAKeyIsRefused(t *testing.T) {
	d := newDoor(t)
	operator := d.token
	ann := d.tenantWithAnn("acme")
	d.token = ann
	path := "/api/v1/acme/users/ann"
	k := d.makeKey("acme", "k", `{"user":"ann","write":true}`)
	if a := d.curl(k, "GET", path, ""); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	unknown := d.curl(key{"AK" + strings.Repeat("A", 26), k.secret}, "GET", path, "")
	wrong := d.curl(key{k.id, k.secret + "x"}, "GET", path, "")
	if unknown.status != 401 || strip(unknown.body, "") != strip(wrong.body, "") {
		t.Errorf("unknown and wrong differ:\n%s\n%s", unknown.body, wrong.body)
	}
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, bytes.Repeat([]byte(" "), MaxBody+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		method, path, body string
		args               []string
		status             int
	}{
		"a body that was not signed":  {"PUT", "/api/v1/acme/sites/x", "", []string{"--data-binary", siteOf("acme", "x"), "-H", asJSON, "-H", "X-Amz-Content-Sha256: " + strings.Repeat("0", 64)}, 401},
		"an unsigned body":            {"PUT", "/api/v1/acme/sites/x", "", []string{"--data-binary", siteOf("acme", "x"), "-H", asJSON, "-H", "X-Amz-Content-Sha256: UNSIGNED-PAYLOAD"}, 401},
		"a body of many pages":        {"PUT", "/api/v1/acme/sites/x", strings.Repeat(" ", 90<<10) + siteOf("acme", "x"), []string{"-H", asJSON}, 201},
		"a body that is too large":    {"PUT", "/api/v1/acme/sites/x", "", []string{"--data-binary", "@" + large, "-H", asJSON, "-H", "X-Amz-Content-Sha256: " + strings.Repeat("0", 64)}, 400},
		"a session by a key":          {"POST", "/api/v1/session", "", nil, 403},
		"a key that makes a key":      {"PUT", "/api/v1/acme/accesskeys/more", `{"kind":"AccessKey","metadata":{},"spec":{"user":"ann"}}`, []string{"-H", asJSON}, 403},
		"a key that widens itself":    {"PATCH", "/api/v1/acme/accesskeys/k", `{"metadata":{"revision":1},"spec":{"networks":[]}}`, []string{"-H", "Content-Type: application/merge-patch+json"}, 403},
		"a key that makes a secret":   {"POST", "/api/v1/acme/accesskeys/k/issue", "", nil, 403},
		"the same in a transaction":   {"POST", "/api/v1/-/transaction", `{"changes":[{"delete":{"kind":"AccessKey","tenant":"acme","name":"k","revision":1}}]}`, []string{"-H", asJSON}, 400},
		"a key that assents":          {"POST", "/api/v1/acme/changerequests/cr-1/approve?revision=1", `{}`, []string{"-H", asJSON}, 403},
		"what is unknown in a query":  {"GET", path + "?x=1", "", nil, 400},
		"a path in two readings":      {"GET", "/api/v1/acme/users/%61nn", "", nil, 401},
		"another tenant's record":     {"GET", "/api/v1/platform/users/operator", "", nil, 404},
		"a region that is not local":  {"GET", path, "", []string{"--aws-sigv4", "aws:amz:us-east-1:dun"}, 401},
		"a service that is not dun":   {"GET", path, "", []string{"--aws-sigv4", "aws:amz:local:s3"}, 401},
		"a bearer token beside it":    {"GET", path + "?X-Amz-Algorithm=AWS4-HMAC-SHA256", "", nil, 401},
		"a header that is not signed": {"GET", path, "", []string{"-H", "Dun-Reason;"}, 401},
	} {
		if a := d.curl(k, tt.method, tt.path, tt.body, tt.args...); a.status != tt.status {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	d.clock.Advance(16 * time.Minute)
	if a := d.curl(k, "GET", path, ""); a.status != 401 || !strings.Contains(a.body, "set the clock") {
		t.Errorf("16 minutes late: %d %s", a.status, a.body)
	}
	d.clock.Jump(-16 * time.Minute)

	change := func(patch string) {
		t.Helper()
		rev := revisionOf(t, d.call("GET", "/api/v1/acme/accesskeys/k", ""))
		if a := d.call("PATCH", "/api/v1/acme/accesskeys/k", `{"metadata":{"revision":`+rev+`},"spec":`+patch+`}`); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	good := func(what string, status int, words string) {
		t.Helper()
		if a := d.curl(k, "GET", path, ""); a.status != status || !strings.Contains(a.body, words) {
			t.Errorf("%s: %d %s", what, a.status, a.body)
		}
	}
	change(`{"networks":["192.0.2.0/24"]}`)
	good("from elsewhere", 403, "is not taken from 127.0.0.1")
	change(`{"networks":["192.0.2.0/24","127.0.0.0/8"]}`)
	good("from there", 200, "")
	change(`{"expires":"2026-01-01T00:00:00Z"}`)
	good("expired", 401, "has expired")
	change(`{"expires":null}`)
	change(`{"disabled":true}`)
	good("disabled", 401, "no access key stands behind")
	change(`{"disabled":false}`)
	good("again", 200, "")

	d.token = operator
	rev := revisionOf(t, d.call("GET", path, ""))
	if a := d.call("PATCH", path, `{"metadata":{"revision":`+rev+`},"spec":{"disabled":true}}`); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	good("its owner is disabled", 401, "no access key stands behind")
	rev = revisionOf(t, d.call("GET", path, ""))
	if a := d.call("PATCH", path, `{"metadata":{"revision":`+rev+`},"spec":{"disabled":false}}`); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	good("enabled again", 200, "")
	change(`{"user":null,"service":"ci"}`)
	good("it stands for somebody else", 401, "no access key stands behind")
}

func revisionOf(t *testing.T, a answer) string {
	t.Helper()
	m, ok := a.json(t)["metadata"].(map[string]any)
	if !ok {
		t.Fatalf("%d %s", a.status, a.body)
	}
	return strconv.FormatFloat(m["revision"].(float64), 'f', 0, 64)
}

// TestAWriteActsOnce sends one signed request twice.
func TestAWriteActsOnce(t *testing.T) {
	d := newDoor(t)
	d.token = d.tenantWithAnn("acme")
	k := d.makeKey("acme", "k", `{"user":"ann","write":true}`)
	seen := make(chan http.Header, 1)
	tap := func(r *http.Request) { seen <- r.Header.Clone() }
	d.tap.Store(&tap)
	const path = "/api/v1/acme/sites/none?revision=1"
	if a := d.curl(k, "DELETE", path, ""); a.status != 404 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	d.tap.Store(nil)
	h := <-seen
	auth, date := h.Get("Authorization"), h.Get("X-Amz-Date")
	if a := d.call("DELETE", path, "", "Authorization", auth, "X-Amz-Date", date); a.status != 401 || !strings.Contains(a.body, "was used") {
		t.Errorf("a second time: %d %s", a.status, a.body)
	}
}

// TestTheSecretIsShownOnce: nobody gets it a second time, nobody makes it for
// somebody else, and nobody has a third key.
func TestTheSecretIsShownOnce(t *testing.T) {
	d := newDoor(t)
	operator := d.token
	ann := d.tenantWithAnn("acme")
	d.token = ann
	k := d.makeKey("acme", "one", `{"user":"ann"}`)
	if a := d.call("POST", "/api/v1/acme/accesskeys/one/issue", ""); a.status != 409 || strings.Contains(a.body, k.secret) {
		t.Errorf("%d %s", a.status, a.body)
	}
	for _, p := range []string{"", "/history", "/proof"} {
		if a := d.call("GET", "/api/v1/acme/accesskeys/one"+p, ""); a.status != 200 || strings.Contains(a.body, k.secret) {
			t.Errorf("%s: %d %s", p, a.status, a.body)
		}
	}
	d.makeKey("acme", "two", `{"user":"ann"}`)
	if a := d.call("PUT", "/api/v1/acme/accesskeys/three", `{"kind":"AccessKey","metadata":{},"spec":{"user":"ann"}}`); a.status != 429 || !strings.Contains(a.body, "no more are allowed") {
		t.Errorf("a third: %d %s", a.status, a.body)
	}
	if a := d.call("PUT", "/api/v1/acme/accesskeys/three", `{"kind":"AccessKey","metadata":{},"spec":{"user":"ann","disabled":true}}`); a.status != 201 {
		t.Errorf("a disabled one: %d %s", a.status, a.body)
	}
	rev := revisionOf(t, d.call("GET", "/api/v1/acme/accesskeys/one", ""))
	if a := d.call("DELETE", "/api/v1/acme/accesskeys/one?revision="+rev, ""); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := d.curl(k, "GET", "/api/v1/acme/sites", ""); a.status != 401 {
		t.Errorf("a deleted key: %d %s", a.status, a.body)
	}
	d.makeKey("acme", "four", `{"user":"ann"}`)

	d.token = operator
	if a := d.call("PUT", "/api/v1/acme/accesskeys/hers", `{"kind":"AccessKey","metadata":{},"spec":{"user":"ann","disabled":true}}`); a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := d.call("POST", "/api/v1/acme/accesskeys/hers/issue", ""); a.status != 409 || !strings.Contains(a.body, "his own key") {
		t.Errorf("the operator for ann: %d %s", a.status, a.body)
	}
	for spec, want := range map[string]string{`{}`: "name a user or a service", `{"service":"approvals"}`: "parts of Dun itself", `{"user":"operator","networks":["10.0.0.1/8"]}`: "is not a network", `{"user":"nobody"}`: "there is no User"} {
		if a := d.call("PUT", "/api/v1/platform/accesskeys/x", `{"kind":"AccessKey","metadata":{},"spec":`+spec+`}`); a.status != 400 || !strings.Contains(a.body, want) {
			t.Errorf("%s: %d %s", spec, a.status, a.body)
		}
	}
}
