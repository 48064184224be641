package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/govern/attacks"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/lab"
)

// marker is in the name of the tenant, of its records and in its events; none of
// it may come back to anybody else.
const marker = "zzforeign"

// matrix is the cell with two tenants: marker, and beta whose ann has every right
// in her own and asks for the other's.
type matrix struct {
	*door
	operator, owner, beta string // sessions
	names                 map[string]string
	flooded               string // an attack with evidence
	cells                 int
	leaks                 []string
}

func newMatrix(t *testing.T) *matrix {
	t.Helper()
	m := &matrix{door: newDoor(t), names: map[string]string{}}
	m.operator = m.token
	m.owner, m.beta = m.tenantWithAnn(marker), m.tenantWithAnn("beta")
	m.api.opt.Usage = book{}
	m.api.opt.Floods = func() map[resource.Ref]traffic.Live {
		return map[resource.Ref]traffic.Live{{Kind: protectedKind, Tenant: marker, Name: marker}: {Address: "flood-on-" + marker}}
	}
	m.flood()
	checks, err := assurance.NewRegistry("n1", m.gate.RecordCheck, time.Now, m.gate.Checks()...)
	if err != nil {
		t.Fatal(err)
	}
	m.api.opt.Checks = checks
	for _, kind := range []string{"Tenant acme", "Site shop", "Role netops", "User zhou-min"} { // what the examples name
		k, name, _ := strings.Cut(kind, " ")
		m.make(m.kind(k), name)
	}
	m.shared()
	for _, k := range m.gate.Registry().All() {
		m.names[k.Name] = marker
		switch {
		case k.Name == "Tenant":
		case m.gate.AsksAssent(k.Name):
			m.names[k.Name] = m.request()
		case public(k): // everybody may know it: nothing of it is anybody's
			m.names[k.Name] = "open"
			m.make(k, "open")
		default:
			m.make(k, marker)
		}
	}
	for _, tenant := range []string{marker, "beta"} {
		m.events.Add(events.Event{V: 1, ID: "event-" + tenant, Time: time.Now(), Part: "edge", Kind: "block", Tenant: tenant, Object: "site/of-" + tenant})
	}
	return m
}

// flood makes an attack of the other tenant's of which packets are kept.
func (m *matrix) flood() {
	m.t.Helper()
	start := time.Date(2026, 11, 1, 3, 0, 0, 0, time.UTC)
	m.flooded = marker + "-20261101t030000"
	if a := m.call("PUT", "/api/v1/"+marker+"/attacks/"+m.flooded, `{"kind":"Attack","metadata":{},"spec":{"address":"198.51.100.7/32","vectors":["syn"],"start":"2026-11-01T03:00:00Z"}}`); a.status != 201 {
		m.t.Fatalf("%d %s", a.status, a.body)
	}
	k := attacks.NewKeeper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	m.t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		k.Run(ctx, attacks.EvidenceOptions{Gate: m.gate, Store: lab.Bytes(m.t, m.gate, nil), Log: slog.New(slog.DiscardHandler)})
	}()
	feed, err := m.gate.Watch(identity.Actor{Principal: dayzero.Operator}, []string{"Attack"}, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	k.Keep(traffic.Evidence{Of: resource.Ref{Kind: protectedKind, Tenant: marker, Name: marker}, Start: start, Final: true, Packets: 1, Capture: traffic.Capture([]traffic.Frame{{Time: start, Length: 60, Data: []byte("packets-of-" + marker)}})})
	for named := false; !named; {
		b, err := feed.Next(m.t.Context())
		if err != nil {
			m.t.Fatal(err)
		}
		for _, c := range b.Changes {
			s, _ := json.Marshal(c)
			named = named || strings.Contains(string(s), `"reference"`)
		}
	}
	m.api.opt.Evidence = k.Open
}

func (m *matrix) kind(name string) *resource.Kind {
	m.t.Helper()
	k, err := m.gate.Registry().Kind(name)
	if err != nil {
		m.t.Fatal(err)
	}
	return k
}

// home is where records of the kind live, and whose they are.
func (m *matrix) home(k *resource.Kind) (tenant, session string) {
	if k.Scope == resource.ScopePlatform {
		return resource.Platform, m.operator
	}
	return marker, m.owner
}

// make makes the example of a kind under another name.
func (m *matrix) make(k *resource.Kind, name string) {
	m.t.Helper()
	tenant, _ := m.home(k)
	m.token = m.operator
	if a := m.call("PUT", "/api/v1/"+tenant+"/"+k.Plural+"/"+name, m.example(k, tenant, name, 0)); a.status != 201 {
		m.t.Fatalf("the example of %s, as %s: %d %s", k.Name, name, a.status, a.body)
	}
}

// shared makes the asset that the example of a share names.
func (m *matrix) shared() {
	m.t.Helper()
	for _, x := range [][2]string{
		{"datatypes/customer-orders", `{"kind":"DataType","metadata":{},"spec":{"title":"Orders","processing":["read","share"],"regions":["cn-north"],"adminRegions":["cn-north"],"purposes":["fulfilment"],"thirdParties":["carrier"]}}`},
		{"dataassets/orders-db", `{"kind":"DataAsset","metadata":{},"spec":{"form":"container","what":"database","owner":"shop","ownerType":"customer","region":"cn-north","location":"db","type":"customer-orders"}}`},
	} {
		if a := m.call("PUT", "/api/v1/"+marker+"/"+x[0], x[1]); a.status != 201 {
			m.t.Fatalf("%s: %d %s", x[0], a.status, a.body)
		}
	}
}

// example is the manifest of a kind's example under another name. Hosts are made
// its own, since one host is one site's.
func (m *matrix) example(k *resource.Kind, tenant, name string, revision int) string {
	m.t.Helper()
	docs, err := resource.ParseYAML([]byte(k.Example))
	if err != nil {
		m.t.Fatal(err)
	}
	o, _, err := m.gate.Registry().Decode(docs[0])
	if err != nil {
		m.t.Fatal(err)
	}
	o.Metadata = resource.Metadata{Tenant: tenant, Name: name, Labels: map[string]string{"marker": marker}, Revision: uint64(revision)}
	if public(k) {
		o.Metadata.Labels = nil
	}
	b, err := json.Marshal(o)
	if err != nil {
		m.t.Fatal(err)
	}
	return regexp.MustCompile(`"hosts":\["[^]]*\]`).ReplaceAllString(string(b), `"hosts":["`+name+`.test"]`)
}

// request makes a request for assent of the other tenant, and says its name.
func (m *matrix) request() string {
	m.t.Helper()
	m.token = m.owner
	k := m.kind("Role")
	a := m.call("PUT", "/api/v1/"+marker+"/roles/asked", m.example(k, marker, "asked", 0), "Dun-Approval", "ask", "Dun-Reason", marker)
	name, ok := a.json(m.t)["changeRequest"].(string)
	if a.status != 202 || !ok {
		m.t.Fatalf("%d %s", a.status, a.body)
	}
	return name
}

// ask is one request; tenant and name are those of the record that it is about.
type ask struct {
	method, path, body string
	header             []string
}

func (m *matrix) as(session string, q ask) answer {
	m.t.Helper()
	m.token = session
	return m.call(q.method, q.path, q.body, q.header...)
}

// same holds two answers to each other, header by header, without what names
// the request and what was asked for.
func (m *matrix) same(what string, a, b answer, words ...string) {
	m.t.Helper()
	var list []string
	for _, w := range append(words, "nowhere") {
		list = append(list, w, "X")
	}
	plain := func(a answer) string {
		h := maps.Clone(a.header)
		for _, name := range []string{"Dun-Request-Id", "Date", "Content-Length"} {
			delete(h, name)
		}
		body := regexp.MustCompile(`"request":"[^"]*"`).ReplaceAllString(a.body, "")
		return fmt.Sprint(a.status, h, strings.NewReplacer(list...).Replace(body))
	}
	if plain(a) != plain(b) {
		m.leak("%s: hidden and missing differ:\n%s\n%s", what, plain(a), plain(b))
	}
}

// opened is an answer with what lies in it as base64.
func opened(body string) string {
	out := body
	for _, s := range regexp.MustCompile(`[A-Za-z0-9+/]{8,}={0,2}`).FindAllString(body, -1) {
		if b, err := base64.StdEncoding.DecodeString(s); err == nil {
			out += "\n" + string(b)
		}
	}
	return out
}

func (m *matrix) leak(format string, args ...any) {
	m.leaks = append(m.leaks, fmt.Sprintf(format, args...))
}

// silent wants nothing of the other tenant in an answer.
func (m *matrix) silent(what string, a answer, asked ...string) {
	m.t.Helper()
	body := a.body
	for _, w := range asked { // what was asked for is said back
		body = strings.ReplaceAll(body, w, "")
	}
	if strings.Contains(opened(body), marker) || a.status >= 500 {
		m.leak("%s tells of another tenant: %d %s", what, a.status, a.body)
	}
}

// TestTheMatrixOfTenants walks every path of the OpenAPI file: what is another
// tenant's is never told and looks as what is not there, and each cell has its
// twin: whose it is does get it.
func TestTheMatrixOfTenants(t *testing.T) {
	m := newMatrix(t)
	m.walk()
	for _, l := range m.leaks {
		t.Error(l)
	}
	t.Logf("%d cells, each with its twin; %d leaks", m.cells, len(m.leaks))
}

// TestTheMatrixSeesLeaks opens one kind, one verb and one tenant-wide right of
// the other tenant by a policy, and wants the matrix to say so.
func TestTheMatrixSeesLeaks(t *testing.T) {
	m := newMatrix(t)
	m.token = m.operator
	leaky := `{"kind":"Policy","metadata":{"tenant":"platform","name":"leaky"},"spec":{"cedar":"permit (principal == User::\"beta/ann\", action in [Action::\"ban.read\", Action::\"usage.read\", Action::\"audit.read\"], resource);"}}`
	if a := m.call("PUT", "/api/v1/platform/policies/leaky", leaky); a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	m.walk()
	all := strings.Join(m.leaks, "\n")
	for _, path := range []string{"/api/v1/-/bans?limit", "/api/v1/-/bans?labels", "/api/v1/zzforeign/bans", "/bans/{name}", "/bans/{name}/history", "/bans/{name}/proof", "DELETE /api/v1/{tenant}/bans/{name}", "/api/v1/-/watch", "/api/v1/{tenant}/usage", "/api/v1/-/audit/leaves", "/api/v1/-/audit/export"} {
		if !strings.Contains(all, path) {
			t.Errorf("%s is open, and the matrix does not see it", path)
		}
	}
	if strings.Contains(all, "/sites") {
		t.Errorf("sites are closed: %s", all)
	}
}

func (m *matrix) walk() {
	m.t.Helper()
	var doc struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	m.token = ""
	if err := json.Unmarshal([]byte(m.call("GET", "/openapi.json", "").body), &doc); err != nil {
		m.t.Fatal(err)
	}
	plurals := map[string]*resource.Kind{}
	for _, k := range m.gate.Registry().All() {
		plurals[k.Plural] = k
	}
	var reads, writes, deletions []func()
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		for method, op := range doc.Paths[path] {
			method = strings.ToUpper(method)
			parts := strings.Split(strings.TrimPrefix(path, "/api/v1/{tenant}/"), "/")
			k := plurals[parts[0]]
			cell := func() { m.system(op.OperationID, method, path) }
			switch {
			case op.OperationID == "attackEvidence":
			case k != nil && public(k):
				cell = func() { m.open(k, method, path) }
			case k != nil && len(parts) == 1:
				cell = func() { m.list(k) }
			case k != nil:
				cell = func() { m.record(k, method, path) }
			}
			switch method {
			case http.MethodGet:
				reads = append(reads, cell)
			case http.MethodDelete:
				deletions = append(deletions, cell)
			default:
				writes = append(writes, cell)
			}
		}
	}
	for _, cells := range [][]func(){reads, {m.watches}, writes, deletions} {
		for _, cell := range cells {
			cell()
		}
	}
	if all := len(reads) + len(writes) + len(deletions); m.cells < 8*len(plurals) || m.cells != all {
		m.t.Errorf("%d cells were tried, of %d operations", m.cells, all)
	}
}

func (m *matrix) list(k *resource.Kind) {
	m.t.Helper()
	m.cells++
	tenant, owner := m.home(k)
	one, all := ask{method: "GET", path: "/api/v1/" + tenant + "/" + k.Plural}, ask{method: "GET", path: "/api/v1/-/" + k.Plural + "?limit=1000"}
	hidden, missing := m.as(m.beta, one), m.as(m.beta, ask{method: "GET", path: "/api/v1/nowhere/" + k.Plural})
	m.silent(one.path, hidden)
	m.same(one.path, hidden, missing, tenant)
	m.silent(all.path, m.as(m.beta, all))
	labelled := ask{method: "GET", path: "/api/v1/-/" + k.Plural + "?labels=marker=" + marker}
	m.silent(labelled.path, m.as(m.beta, labelled))
	for _, q := range []ask{one, all} {
		if a := m.as(owner, q); a.status != 200 || !strings.Contains(a.body, m.names[k.Name]) {
			m.t.Errorf("%s: its owner does not see it: %d %s", q.path, a.status, a.body)
		}
	}
}

// public reports whether everybody may read the kind's records.
func public(k *resource.Kind) bool { return k.Sensitivity == resource.SensitivityPublic }

// open tries an operation on a record that everybody may read and only its
// owner change.
func (m *matrix) open(k *resource.Kind, method, path string) {
	m.t.Helper()
	m.cells++
	tenant, owner := m.home(k)
	name := m.names[k.Name]
	a := m.as(owner, ask{method: "GET", path: "/api/v1/" + tenant + "/" + k.Plural + "/" + name})
	if a.status != 200 {
		m.t.Fatalf("%s: its owner does not see it: %d %s", path, a.status, a.body)
	}
	q := m.about(k, method, path, tenant, name, int(a.json(m.t)["metadata"].(map[string]any)["revision"].(float64)))
	if a := m.as(m.beta, q); (method == http.MethodGet) != (a.status == 200) && a.status != 404 {
		m.leak("%s %s: %d %s", method, path, a.status, a.body)
	}
}

// record tries one operation on a record of the kind.
func (m *matrix) record(k *resource.Kind, method, path string) {
	m.t.Helper()
	m.cells++
	tenant, owner := m.home(k)
	name := m.names[k.Name]
	revision := 0
	if a := m.as(owner, ask{method: "GET", path: "/api/v1/" + tenant + "/" + k.Plural + "/" + name}); a.status == 200 {
		revision = int(a.json(m.t)["metadata"].(map[string]any)["revision"].(float64))
	} else {
		m.t.Fatalf("%s: its owner does not see it: %d %s", path, a.status, a.body)
	}
	at := func(tenant, name string) ask { return m.about(k, method, path, tenant, name, revision) }
	hidden := m.as(m.beta, at(tenant, name))
	for _, none := range []ask{at(tenant, "nowhere"), at("nowhere", "nowhere"), at("nowhere", name)} {
		m.same(method+" "+path+" "+none.path, hidden, m.as(m.beta, none), tenant, name)
	}
	if hidden.status != 404 {
		m.leak("%s %s: %d %s", method, path, hidden.status, hidden.body)
	}
	m.silent(path, hidden, tenant, name)
	a := m.as(owner, at(tenant, name))
	good := a.status == 200 || a.status == 201 || a.status == 202
	if method != http.MethodGet { // what exists may be refused for what it is: by its state, or by who asks
		good = good || a.status == 403 || a.status == 409 || a.status == 400 && strings.Contains(path, "/key") || a.status == 503
	}
	if !good || method == http.MethodGet && !strings.Contains(opened(a.body), name) {
		m.t.Errorf("%s %s: its owner does not get it: %d %s", method, path, a.status, a.body)
	}
}

// about fills in what an operation needs to come as far as the record.
func (m *matrix) about(k *resource.Kind, method, path, tenant, name string, revision int) ask {
	m.t.Helper()
	q := ask{method: method, path: strings.NewReplacer("{tenant}", tenant, "{name}", name, "{finalizer}", "edge").Replace(path)}
	last := path[strings.LastIndexByte(path, '/')+1:]
	verb, err := k.FindVerb(last)
	asJSON := []string{"Content-Type", "application/json"}
	switch {
	case method == http.MethodGet:
	case method == http.MethodDelete:
		q.path += fmt.Sprintf("?revision=%d", revision)
	case last == "status":
		b, err := json.Marshal(k.NewStatus())
		if err != nil {
			m.t.Fatal(err)
		}
		q.body, q.header = filled(string(b)), asJSON
	case err == nil && verb.Secret != nil:
		q.body, q.header = "secret", []string{"Content-Type", octets}
	case err == nil:
		q.path += fmt.Sprintf("?revision=%d", revision)
		q.body, q.header = input(verb), asJSON
	case method == http.MethodPatch:
		q.body = fmt.Sprintf(`{"metadata":{"revision":%d,"labels":{"marker":%q}}}`, revision, marker)
	case m.gate.AsksAssent(k.Name):
		q.body = fmt.Sprintf(`{"kind":%q,"metadata":{"revision":%d},"spec":%s}`, k.Name, revision, requestSpec)
	default:
		q.body = m.example(k, tenant, name, revision)
	}
	return q
}

const requestSpec = `{"requester":"ann","requesterTenant":"zzforeign","changes":[{"op":"delete","kind":"Role","tenant":"zzforeign","name":"x","revision":1}]}`

// filled gives a status that says nothing the words that it may not leave out.
func filled(status string) string {
	return strings.ReplaceAll(status, `"condition":""`, `"condition":"pending"`)
}

// input is what a verb takes at least.
func input(v *resource.Verb) string {
	in := map[string]any{}
	for _, f := range v.Fields() {
		name, list := strings.CutSuffix(strings.TrimPrefix(f.Path, "input."), "[]")
		if !f.Required || strings.ContainsAny(name, ".[") {
			continue
		}
		in[name] = "zhou-min"
		switch name {
		case "commit":
			in[name] = strings.Repeat("ab", 20)
		case "digest":
			in[name] = "sha256:" + strings.Repeat("ab", 32)
		}
		if len(f.Enum) > 0 {
			in[name] = f.Enum[0]
		}
		if strings.Contains(f.Type.En, "number") {
			in[name] = 1
		}
		if list {
			in[name] = []any{in[name]}
		}
	}
	b, err := json.Marshal(in)
	if err != nil {
		panic(err)
	}
	return string(b)
}
