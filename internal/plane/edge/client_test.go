package edge

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

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
