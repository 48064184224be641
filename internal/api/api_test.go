package api

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/clock"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/accesskeys"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/kinds"
	"github.com/dun-sec/dun/internal/lab"
)

// door is the API on a gate of its own, as the operator sees it.
type door struct {
	t      *testing.T
	api    *API
	gate   *gate.Gate
	events *events.Log
	srv    *httptest.Server
	token  string
	keys   *accesskeys.Keys
	clock  *clock.Fake
	tap    atomic.Pointer[func(*http.Request)] // sees what arrives; nil = nobody does
}

func newDoor(t *testing.T, more ...*resource.Kind) *door {
	t.Helper()
	g := lab.Gate(t, lab.Kinds(t, more...))
	if err := dayzero.Run(t.Context(), g, "test"); err != nil {
		t.Fatal(err)
	}
	log, err := events.Open(events.Options{Dir: filepath.Join(t.TempDir(), "events")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	secrets, now := lab.Secrets(t), clock.NewFake(time.Now().Add(-time.Minute))
	d := &door{t: t, gate: g, events: log, clock: now, keys: accesskeys.New(accesskeys.Options{Gate: early{g}, Secrets: secrets, Clock: now, Log: slog.New(slog.DiscardHandler)})}
	d.api = New(Options{Gate: g, Events: log, Secrets: secrets, Keys: d.keys, SignIn: lab.SignIn(t, g), Status: func() any { return map[string]bool{"ready": true} }, Version: "test", NodeID: 1})
	now.Jump(time.Minute)
	d.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tap := d.tap.Load(); tap != nil {
			(*tap)(r)
		}
		d.api.ServeHTTP(w, r)
	}))
	t.Cleanup(d.srv.Close)
	if d.token, _, err = g.OpenSession(t.Context(), identity.Service(gate.Dayzero), dayzero.Operator, ""); err != nil {
		t.Fatal(err)
	}
	return d
}

// early is a gate whose last change lies back, so that signed writes are taken at
// once.
type early struct{ *gate.Gate }

func (early) LastTime() time.Time { return time.Time{} }

type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	out := map[string]any{}
	if err := json.Unmarshal([]byte(a.body), &out); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return out
}

func (d *door) call(method, path, body string, header ...string) answer {
	d.t.Helper()
	req, err := http.NewRequest(method, d.srv.URL+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+d.token)
	switch method {
	case http.MethodPut:
		req.Header.Set("Content-Type", "application/json")
	case http.MethodPatch:
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}

const site = `{"kind":"Site","metadata":{"tenant":"platform","name":"shop"},"spec":{"hosts":["shop.test"],"origins":[{"url":"http://127.0.0.1:3000"}]}}`

func TestTheLifeOfARecord(t *testing.T) {
	d := newDoor(t)
	path := "/api/v1/platform/sites/shop"
	created := d.call("PUT", path, site)
	if created.status != 201 {
		t.Fatalf("%d %s", created.status, created.body)
	}
	rev := created.header.Get("Dun-Revision")
	got := d.call("GET", path, "")
	if got.status != 200 || got.body != created.body {
		t.Fatalf("%d %s", got.status, got.body)
	}
	patched := d.call("PATCH", path, `{"metadata":{"revision":`+rev+`},"spec":{"waf":{"mode":"detect"}}}`)
	if patched.status != 200 || !strings.Contains(patched.body, `"mode":"detect"`) || !strings.Contains(patched.body, "shop.test") {
		t.Fatalf("%d %s", patched.status, patched.body)
	}
	rev2 := patched.header.Get("Dun-Revision")
	if again := d.call("PATCH", path, `{"metadata":{"revision":`+rev2+`},"spec":{"waf":{"mode":"detect"}}}`); again.status != 200 || again.header.Get("Dun-Unchanged") != "true" || again.header.Get("Dun-Revision") != rev2 {
		t.Fatalf("%d %v %s", again.status, again.header, again.body)
	}
	history := d.call("GET", path+"/history", "").json(t)
	if n := len(history["items"].([]any)); n != 2 {
		t.Fatalf("%d versions", n)
	}
	if p := d.call("GET", path+"/proof", ""); p.status != 200 || !strings.Contains(p.body, `"inclusion"`) {
		t.Fatalf("%d %s", p.status, p.body)
	}
	if gone := d.call("DELETE", path+"?revision="+rev2, ""); gone.status != 200 {
		t.Fatalf("%d %s", gone.status, gone.body)
	}
	if a := d.call("GET", path, ""); a.status != 404 {
		t.Fatalf("%d", a.status)
	}
}

// TestTenantsOfThePathAreTheTenantsOfTheRecord is the second trap of the
// library under the API: a path parameter that silently arrives empty puts all
// tenants into one.
func TestTenantsOfThePathAreTheTenantsOfTheRecord(t *testing.T) {
	d := newDoor(t)
	for _, tenant := range []string{"acme", "beta"} {
		if a := d.call("PUT", "/api/v1/platform/tenants/"+tenant, `{"kind":"Tenant","metadata":{"tenant":"platform","name":"`+tenant+`"},"spec":{}}`); a.status != 201 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		body := strings.NewReplacer(`"platform"`, `"`+tenant+`"`, "shop.test", tenant+".test").Replace(site)
		if a := d.call("PUT", "/api/v1/"+tenant+"/sites/shop", body); a.status != 201 {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	for _, tenant := range []string{"acme", "beta"} {
		if a := d.call("GET", "/api/v1/"+tenant+"/sites", ""); strings.Count(a.body, `"kind":"Site"`) != 1 || !strings.Contains(a.body, tenant+".test") {
			t.Errorf("%s: %s", tenant, a.body)
		}
	}
	if a := d.call("GET", "/api/v1/-/sites", ""); strings.Count(a.body, `"kind":"Site"`) != 2 {
		t.Errorf("all: %s", a.body)
	}
	if a := d.call("PUT", "/api/v1/beta/sites/other", strings.NewReplacer(`"platform"`, `"acme"`, `"shop"`, `"other"`, "shop.test", "x.test").Replace(site)); a.status != 400 {
		t.Errorf("a body of another tenant than the path's: %d %s", a.status, a.body)
	}
}

func TestEveryPathParameterIsDeclared(t *testing.T) {
	d := newDoor(t)
	var doc struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Parameters  []struct {
				Name     string `json:"name"`
				In       string `json:"in"`
				Required bool   `json:"required"`
			} `json:"parameters"`
			Responses map[string]any `json:"responses"`
		} `json:"paths"`
	}
	a := d.call("GET", "/openapi.json", "")
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil || doc.OpenAPI != "3.1.0" {
		t.Fatalf("%v %s", err, doc.OpenAPI)
	}
	ids := map[string]bool{}
	operations := 0
	for path, methods := range doc.Paths {
		for method, op := range methods {
			operations++
			var declared []string
			for _, p := range op.Parameters {
				if p.In == "path" && p.Required {
					declared = append(declared, p.Name)
				}
			}
			for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
				if !slices.Contains(declared, m[1]) {
					t.Errorf("%s %s: {%s} is not declared", method, path, m[1])
				}
			}
			if ids[op.OperationID] || op.OperationID == "" {
				t.Errorf("%s %s: operation id %q is empty or taken", method, path, op.OperationID)
			}
			ids[op.OperationID] = true
			if op.Responses["default"] == nil {
				t.Errorf("%s %s: says nothing of errors", method, path)
			}
		}
	}
	want := len(d.api.system())
	for _, k := range kinds.All() {
		want += 7 + len(k.Verbs)
		if k.StatusOwner != "" {
			want++
		}
	}
	if operations != want {
		t.Errorf("%d operations are described, %d are served", operations, want)
	}
}

func TestErrorsAreProblems(t *testing.T) {
	d := newDoor(t)
	made := d.call("PUT", "/api/v1/platform/sites/shop", site)
	if made.status != 201 {
		t.Fatal(made.body)
	}
	big := `{"kind":"Site","metadata":{"tenant":"platform","name":"shop"},"x":"` + strings.Repeat("x", MaxBody) + `"}`
	tests := []struct {
		name, method, path, body string
		header                   []string
		status                   int
		want                     string
	}{
		{"no session", "GET", "/api/v1/platform/sites", "", []string{"Authorization", ""}, 401, "unauthenticated"},
		{"wrong session", "GET", "/api/v1/platform/sites", "", []string{"Authorization", "Bearer dun_s_" + strings.Repeat("a", 52)}, 401, "unauthenticated"},
		{"other scheme", "GET", "/api/v1/platform/sites", "", []string{"Authorization", "Basic eDp5"}, 401, "unauthenticated"},
		{"no such path", "GET", "/api/v2/platform/sites", "", nil, 404, "not_found"},
		{"no such kind", "GET", "/api/v1/platform/gizmos", "", nil, 404, "not_found"},
		{"no such method", "POST", "/api/v1/platform/sites", "", nil, 400, "invalid"},
		{"no such record", "GET", "/api/v1/platform/sites/none", "", nil, 404, "not_found"},
		{"a name that is none", "GET", "/api/v1/platform/sites/UPPER", "", nil, 400, "invalid"},
		{"unknown query", "GET", "/api/v1/platform/sites?label=a", "", nil, 400, "unknown query parameter"},
		{"doubled query", "GET", "/api/v1/platform/sites?limit=1&limit=2", "", nil, 400, "twice"},
		{"bad limit", "GET", "/api/v1/platform/sites?limit=0x", "", nil, 400, "limit"},
		{"too high a limit", "GET", "/api/v1/platform/sites?limit=1000001", "", nil, 400, "limit"},
		{"bad selector", "GET", "/api/v1/platform/sites?labels=a%20b", "", nil, 400, "selector"},
		{"bad cursor", "GET", "/api/v1/platform/sites?after=AAAA", "", nil, 400, "cursor"},
		{"empty body", "PUT", "/api/v1/platform/sites/x", "", nil, 400, "invalid"},
		{"not JSON", "PUT", "/api/v1/platform/sites/x", "kind: Site", nil, 400, "not JSON"},
		{"other media type", "PUT", "/api/v1/platform/sites/x", site, []string{"Content-Type", "text/plain"}, 400, "Content-Type"},
		{"another kind", "PUT", "/api/v1/platform/bans/shop", site, nil, 400, "kind"},
		{"another name", "PUT", "/api/v1/platform/sites/other", site, nil, 400, "differ from the address"},
		{"exists", "PUT", "/api/v1/platform/sites/shop", strings.Replace(site, "shop.test", "s2.test", 1), nil, 409, "metadata.revision"},
		{"stale", "PATCH", "/api/v1/platform/sites/shop", `{"metadata":{"revision":1},"spec":{"waf":{"mode":"off"}}}`, nil, 409, "read it again"},
		{"patch without revision", "PATCH", "/api/v1/platform/sites/shop", `{"spec":{"waf":{"mode":"off"}}}`, nil, 400, "revision"},
		{"patch with unknown field", "PATCH", "/api/v1/platform/sites/shop", `{"metadata":{"revision":` + made.header.Get("Dun-Revision") + `},"spec":{"wurst":1}}`, nil, 400, "spec.wurst"},
		{"delete without revision", "DELETE", "/api/v1/platform/sites/shop", "", nil, 400, "revision"},
		{"duplicate key", "PUT", "/api/v1/platform/sites/x", `{"kind":"Site","kind":"Site"}`, nil, 400, "given twice"},
		{"too large", "PUT", "/api/v1/platform/sites/shop", big, nil, 400, "larger"},
		{"bad reason", "PUT", "/api/v1/platform/sites/shop", site, []string{"Dun-Reason", "%zz"}, 400, "Dun-Reason"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := d.call(tt.method, tt.path, tt.body, tt.header...)
			if a.status != tt.status || !strings.Contains(a.body, tt.want) {
				t.Fatalf("%d %s", a.status, a.body)
			}
			if ct := a.header.Get("Content-Type"); ct != "application/problem+json" {
				t.Errorf("Content-Type %q", ct)
			}
			p := a.json(t)
			if p["type"] != "urn:dun:error:"+p["code"].(string) || p["request"] != a.header.Get("Dun-Request-Id") || p["status"].(float64) != float64(tt.status) {
				t.Errorf("%v", p)
			}
		})
	}
	zh := d.call("GET", "/api/v1/platform/sites/none", "", "Accept-Language", "zh-CN,zh;q=0.9")
	if !strings.Contains(zh.body, "不存在") || zh.header.Get("Content-Language") != "zh" {
		t.Errorf("%s", zh.body)
	}
}

func TestAnIdempotencyKeyMakesOneWriteOfTwo(t *testing.T) {
	d := newDoor(t)
	first := d.call("PUT", "/api/v1/platform/sites/shop", site, "Idempotency-Key", "k1")
	second := d.call("PUT", "/api/v1/platform/sites/shop", site, "Idempotency-Key", "k1")
	if first.status != 201 || second.status != 201 || first.body != second.body {
		t.Fatalf("%d %d\n%s\n%s", first.status, second.status, first.body, second.body)
	}
	other := d.call("PUT", "/api/v1/platform/sites/shop2", strings.NewReplacer("shop.test", "b.test", `"shop"`, `"shop2"`).Replace(site), "Idempotency-Key", "k1")
	if other.status != 400 {
		t.Fatalf("%d %s", other.status, other.body)
	}
}

func TestEventsAreFoundAtOnce(t *testing.T) {
	d := newDoor(t)
	d.events.Add(events.Event{V: 1, ID: "e1", Time: time.Now(), Node: "n1", Part: "edge", Kind: "block", Tenant: "platform", Object: "site/shop", Request: d.call("GET", "/openapi.json", "").header.Get("Dun-Request-Id"), Action: "blocked"})
	if a := d.call("GET", "/api/v1/platform/events?kind=block", ""); a.status != 200 || !strings.Contains(a.body, `"e1"`) {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := d.call("GET", "/api/v1/-/events?kind=ban", ""); strings.Contains(a.body, `"e1"`) {
		t.Fatalf("%s", a.body)
	}
	if a := d.call("GET", "/api/v1/nothere/events", ""); a.status != 200 && a.status != 404 {
		t.Fatalf("%d", a.status)
	}
}

// Spec is the name of a Go type that two kinds of this test share: the first
// trap of the library under the API is that it panics then.
type Spec struct {
	A string `json:"a,omitempty" en:"A" zh:"甲"`
}

func otherSpec() func() any {
	type Spec struct {
		B string `json:"b,omitempty" en:"B" zh:"乙"`
	}
	return func() any { return new(Spec) }
}

func dummy(name string) resource.Kind {
	return resource.Kind{
		Name: name, Plural: strings.ToLower(name) + "s", Short: strings.ToLower(name), Scope: resource.ScopeTenant, Nav: "test",
		Title: resource.T(name, "试"), Doc: resource.T("A test", "测试"), Version: 1,
		Columns:     []resource.Column{{Title: resource.T("A", "甲"), Value: func(*resource.Object) string { return "" }}},
		Example:     "kind: " + name + "\nmetadata: {tenant: platform, name: x}\n",
		Sensitivity: resource.SensitivityTenant, ApprovalClass: resource.ApprovalNone,
	}
}

func TestTwoKindsMayShareTheNameOfAGoType(t *testing.T) {
	one, two := resource.Define(dummy("Uno"), resource.Behaviour[Spec]{}), resource.Define(dummy("Duo"), resource.Behaviour[Spec]{})
	two.NewSpec = otherSpec()
	d := newDoor(t, one, two)
	doc := d.call("GET", "/openapi.json", "").json(t)
	schemas := doc["components"].(map[string]any)["schemas"].(map[string]any)
	for name, field := range map[string]string{"UnoSpec": "a", "DuoSpec": "b"} {
		if props := schemas[name].(map[string]any)["properties"].(map[string]any); props[field] == nil || len(props) != 1 {
			t.Errorf("%s: %v", name, props)
		}
	}
}
