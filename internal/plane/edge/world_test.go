package edge

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// The rule set is compiled once for all tests but those of New itself.
var sharedRules = sync.OnceValues(func() (*ruleSet, error) { return compileRules(testDir) })

var testDir string

func TestMain(m *testing.M) { runTests(m) }

// world is an edge with real listeners, a feed and an authority of its own.
type world struct {
	t      *testing.T
	edge   *Edge
	feed   *fakeFeed
	events *sink
	ca     *authority
	http   string // address of the plain listener
	https  string
	stop   func()
}

func newWorld(t *testing.T, change func(*Options), objects ...*resource.Object) *world {
	t.Helper()
	w := &world{t: t, feed: newFeed(), events: &sink{}, ca: newAuthority(t)}
	rules, err := sharedRules()
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Node: "n1", NodeID: 7, Issuer: w.ca, Events: w.events, TempDir: t.TempDir(), rules: rules,
		Mask: maskPasswords,
		Dial: func(string) DialFunc { return (&net.Dialer{}).DialContext },
	}
	if change != nil {
		change(&o)
	}
	if w.edge, err = New(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	plain, secure := listen(t), listen(t)
	w.http, w.https = plain.Addr().String(), secure.Addr().String()
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.edge.Run(ctx, w.feed); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	running.Go(func() {
		if err := w.edge.Serve(ctx, plain, secure); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	w.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(w.stop)
	if objects != nil {
		w.put(objects...)
	}
	return w
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// put delivers records and returns when they are in force.
func (w *world) put(objects ...*resource.Object) {
	w.t.Helper()
	var c []resource.Change
	for _, o := range objects {
		c = append(c, resource.Change{Ref: o.Ref(), Object: o})
	}
	w.feed.deliver(resource.Batch{Changes: c, Synced: true})
}

func (w *world) remove(ref resource.Ref) {
	w.feed.deliver(resource.Batch{Changes: []resource.Change{{Ref: ref}}, Synced: true})
}

// fakeFeed hands over one batch at a time. deliver returns when Run asks for
// the next one, that is when the batch is in force.
type fakeFeed struct {
	in   chan resource.Batch
	done chan struct{}
	mu   sync.Mutex
	rev  uint64
	open bool // a batch was handed over and not asked for again
}

func newFeed() *fakeFeed { return &fakeFeed{in: make(chan resource.Batch), done: make(chan struct{})} }

func (f *fakeFeed) Next(ctx context.Context) (resource.Batch, error) {
	if f.open {
		f.done <- struct{}{}
	}
	select {
	case b := <-f.in:
		f.open = true
		return b, nil
	case <-ctx.Done():
		return resource.Batch{}, ctx.Err()
	}
}

func (f *fakeFeed) deliver(b resource.Batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rev++
	b.At = resource.Position{Epoch: "e1", Revision: f.rev}
	f.in <- b
	<-f.done
}

type sink struct {
	mu  sync.Mutex
	all []events.Event
}

func (s *sink) Add(e events.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, e)
}

func (s *sink) list(kind string) []events.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []events.Event
	for _, e := range s.all {
		if kind == "" || e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

func (s *sink) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = nil
}

func maskPasswords(s string) string {
	if i := strings.Index(s, "password="); i >= 0 {
		rest := s[i+len("password="):]
		end := strings.IndexAny(rest, "& ")
		if end < 0 {
			end = len(rest)
		}
		return s[:i] + "password=***" + maskPasswords(rest[end:])
	}
	return s
}

// authority signs what it is asked for and remembers the names.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	life time.Duration
	mu   sync.Mutex
	now  func() time.Time
	asks []string
	fail bool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	return &authority{cert: cert, key: key, life: 24 * time.Hour, now: time.Now}
}

func (a *authority) Certificate(_ context.Context, host string) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asks = append(a.asks, host)
	if a.fail {
		return nil, fmt.Errorf("authority is closed")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(a.asks)) + 1), NotBefore: a.now(), NotAfter: a.now().Add(a.life),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		tmpl.IPAddresses = []net.IP{ip}
	} else {
		tmpl.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

func (a *authority) asked() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.asks...)
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

// Records.

func siteObject(tenant, name string, spec edge.SiteSpec) *resource.Object {
	return &resource.Object{Kind: "Site", Metadata: resource.Metadata{Tenant: tenant, Name: name}, Spec: &spec}
}

func siteAt(name, host, origin string) *resource.Object {
	return siteObject("acme", name, edge.SiteSpec{Hosts: []string{host}, Origins: []edge.Origin{{URL: origin}}})
}

func spec(o *resource.Object) *edge.SiteSpec { return o.Spec.(*edge.SiteSpec) }

func banObject(tenant, name string, spec edge.BanSpec) *resource.Object {
	return &resource.Object{Kind: "Ban", Metadata: resource.Metadata{Tenant: tenant, Name: name}, Spec: &spec}
}

func exclusionObject(name string, spec edge.ExclusionSpec) *resource.Object {
	return &resource.Object{Kind: "Exclusion", Metadata: resource.Metadata{Tenant: "acme", Name: name}, Spec: &spec}
}

// echoOrigin answers what it got.
func echoOrigin(t testing.TB) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		w.Header().Set("X-Origin", "yes")
		fmt.Fprintf(w, "%s %s host=%s body=%d\n", r.Method, r.RequestURI, r.Host, len(b))
	}))
	t.Cleanup(s.Close)
	return s
}

// client speaks to the world whatever the URL's host says, without waiting for
// redirects or keeping state. version is the highest TLS version, 0 = any.
func (w *world) client(h2 bool, version uint16) *http.Client {
	conf := &tls.Config{RootCAs: w.ca.pool(), MaxVersion: version}
	tr := &http.Transport{
		TLSClientConfig: conf, ForceAttemptHTTP2: h2, DisableCompression: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if strings.HasSuffix(addr, ":443") {
				addr = w.https
			} else {
				addr = w.http
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		},
	}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Timeout: 30 * time.Second}
}

// do sends one request over plain HTTP/1.1 and returns status and body.
func (w *world) do(method, url string, header map[string]string, body io.Reader) (*http.Response, string) {
	w.t.Helper()
	return do(w.t, w.client(false, 0), method, url, header, body)
}

func do(t testing.TB, c *http.Client, method, url string, header map[string]string, body io.Reader) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		if k == "Host" {
			req.Host = v
			continue
		}
		req.Header.Set(k, v)
	}
	if _, ok := header["User-Agent"]; !ok {
		req.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0")
	}
	if _, ok := header["Accept"]; !ok {
		req.Header.Set("Accept", "*/*")
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: read: %v", method, url, err)
	}
	return resp, string(b)
}

// raw sends bytes and reads one response; it returns the status, 0 when the
// connection was closed without one.
func (w *world) raw(data string) (int, string) {
	w.t.Helper()
	c, err := net.Dial("tcp", w.http)
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(c, data)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if resp.Header.Get(RequestHeader) == "" {
		w.t.Errorf("response %d to %q has no %s", resp.StatusCode, clip(data, 60), RequestHeader)
	}
	return resp.StatusCode, string(b)
}

func newOrigin(t testing.TB, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func writeFile(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func tlsServer(cert *tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{*cert}}
}
