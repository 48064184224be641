package console

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/telemetry"
	"github.com/dun-sec/dun/internal/core/usage"
	"github.com/dun-sec/dun/internal/govern/approvals"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/lab"
)

// book tells of one site of each tenant.
type book struct{}

func (book) Read(_ context.Context, tenant string, _, to time.Time, step time.Duration) ([]usage.Bucket, error) {
	return []usage.Bucket{{Start: to.Truncate(step), Site: "site-of-" + tenant, Sum: usage.Sum{Requests: 7, Blocks: 2, In: 3 << 20, Out: 5, CPU: 12345}}}, nil
}

// house is a console on a gate and an event log of its own.
type house struct {
	t       *testing.T
	gate    *gate.Gate
	events  *events.Log
	console *Console
	srv     *httptest.Server
	jar     []*http.Cookie
	host    string // that requests name; "" = the address

	mu   sync.Mutex
	link string // what Enter takes, once
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, gate: lab.Gate(t, lab.Kinds(t), func(o *gate.Options) { o.Approvals = approvals.Rules{First: dayzero.Operator} }), link: "abc." + strings.Repeat("a", 52)}
	if err := dayzero.Run(t.Context(), h.gate, "test"); err != nil {
		t.Fatal(err)
	}
	var err error
	if h.events, err = events.Open(events.Options{Dir: filepath.Join(t.TempDir(), "events")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.events.Close() })
	h.console, err = New(Options{
		Gate: h.gate, Events: h.events, NodeID: 1, Enter: h.enter, SignIn: lab.SignIn(t, h.gate), Usage: book{}, Names: []string{"dun.example.com"},
		Status: func() telemetry.Status {
			return telemetry.Status{Ready: true, Cell: "secretcell", Revision: h.gate.At().Revision, Nodes: []telemetry.Node{{Name: "n1"}}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.console.beat = beat{poll: 10 * time.Millisecond, look: 5 * time.Millisecond, check: 5 * time.Millisecond, heart: 20 * time.Millisecond}
	h.srv = httptest.NewTLSServer(h.console)
	t.Cleanup(func() { h.console.Stop(); h.srv.Close() })
	return h
}

func (h *house) enter(token string) (resource.Ref, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if token != h.link || h.link == "" {
		return resource.Ref{}, fault.New(fault.Unauthenticated, "no", "否")
	}
	h.link = ""
	return dayzero.Operator, nil
}

// signIn gives the next calls the session of who.
func (h *house) signIn(who resource.Ref) string {
	h.t.Helper()
	token, _, err := h.gate.OpenSession(h.t.Context(), identity.Actor{Principal: dayzero.Operator}, who, "")
	if err != nil {
		h.t.Fatal(err)
	}
	h.jar = []*http.Cookie{{Name: sessionCookie, Value: token}}
	return token
}

func (h *house) request(ctx context.Context, method, path string, form url.Values, header ...string) *http.Response {
	h.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, h.srv.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		h.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	if h.host != "" {
		req.Host = h.host
	}
	for _, k := range h.jar {
		req.AddCookie(k)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: h.srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}}
	h.t.Cleanup(tr.CloseIdleConnections)
	res, err := tr.RoundTrip(req)
	if err != nil {
		h.t.Fatal(err)
	}
	return res
}

func (h *house) call(method, path string, form url.Values, header ...string) (*http.Response, string) {
	h.t.Helper()
	res := h.request(h.t.Context(), method, path, form, header...)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, name := range []string{"Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy", "Dun-Request-Id"} {
		if res.Header.Get(name) == "" {
			h.t.Errorf("%s %s: no %s", method, path, name)
		}
	}
	if csp := res.Header.Get("Content-Security-Policy"); strings.Contains(csp, "unsafe") || !strings.HasPrefix(csp, "default-src 'none'") {
		h.t.Errorf("%s: %s", path, csp)
	}
	return res, string(b)
}

func (h *house) put(yaml string) *resource.Object {
	h.t.Helper()
	docs, err := resource.ParseYAML([]byte(yaml))
	if err != nil {
		h.t.Fatal(err)
	}
	o, _, err := h.gate.Registry().Decode(docs[0])
	if err != nil {
		h.t.Fatal(err)
	}
	res, err := h.gate.Apply(h.t.Context(), gate.Request{
		Actor:   identity.Actor{Principal: dayzero.Operator, Door: "api"},
		Changes: []gate.Change{{Op: gate.Put, Ref: o.Ref(), Object: o, Revision: o.Metadata.Revision}},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return res[0].Object
}

func site(tenant, name, host string, revision uint64) string {
	return fmt.Sprintf("kind: Site\nmetadata: {tenant: %s, name: %s, revision: %d}\nspec: {hosts: [%s], origins: [{url: \"http://192.0.2.1:80\"}]}\n", tenant, name, revision, host)
}

// hit adds a block of the tenant and returns its request id.
func (h *house) hit(tenant, path, message string) string {
	h.t.Helper()
	req := id.Request(time.Now(), 1)
	h.events.Add(events.Event{
		Part: "edge", Kind: "block", Tenant: tenant, Object: "site/shop", Request: req, Source: "203.0.113.7", Action: "blocked",
		Rules:      []events.Rule{{ID: 942100, Message: message, Where: "ARGS:q", Match: path}},
		Attributes: map[string]string{"method": "GET", "host": "shop.test", "path": path, "status": "403", "score": "5", "paranoia": "1"},
	})
	if err := h.events.Flush(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	return req
}

// tune opens the live page and returns its lines.
func (h *house) tune() (lines <-chan string, res *http.Response) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h.t.Cleanup(cancel)
	res = h.request(ctx, "GET", "/live", nil)
	out := make(chan string, 1024)
	go func() {
		defer close(out)
		defer res.Body.Close()
		s := bufio.NewScanner(res.Body)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			select {
			case out <- s.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, res
}

// hear waits for a line with all the parts; false when the stream ends first.
func hear(t *testing.T, lines <-chan string, parts ...string) bool {
	t.Helper()
	late := time.NewTimer(lab.Wait)
	defer late.Stop()
next:
	for {
		select {
		case l, ok := <-lines:
			if !ok {
				return false
			}
			for _, p := range parts {
				if !strings.Contains(l, p) {
					continue next
				}
			}
			return true
		case <-late.C:
			t.Fatalf("nothing with %q came", parts)
		}
	}
}
