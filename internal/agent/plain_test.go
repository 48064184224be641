package agent

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/assurance"
)

// formDoor serves a form over TLS, on a listener that the test may change.
func formDoor(t *testing.T, change func(net.Listener) net.Listener, conf *tls.Config) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<form>") }))
	s.Listener = change(s.Listener)
	s.TLS = conf
	if conf != nil {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func guarded(l net.Listener) net.Listener { return plainAware{l} }
func bare(l net.Listener) net.Listener    { return l }

func TestInClearThereIsOnlyTheWayToHTTPS(t *testing.T) {
	s := formDoor(t, guarded, &tls.Config{MinVersion: tls.VersionTLS12})
	at := s.Listener.Addr().String()
	if r, err := s.Client().Get("https://" + at + "/"); err != nil || r.StatusCode != 200 {
		t.Fatalf("over TLS: %v", err)
	}
	for ask, want := range map[string]string{
		"GET /enter?t=abc HTTP/1.1\r\nHost: dun.example:7443\r\n\r\n":           "Location: https://dun.example:7443/enter\r\n",
		"POST /a%20b HTTP/1.1\r\nHost: [::1]:7443\r\nContent-Length: 0\r\n\r\n": "Location: https://[::1]:7443/a%20b\r\n",
		"GET / HTTP/1.1\r\nHost: evil.example/x?\r\n\r\n":                       "",
		"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n":                               "",
		"SSH-2.0-x\r\n": "", "\x00\x01": "", "GET / HTTP/1.1\r\nX: " + strings.Repeat("a", 2*maxClearHead) + "\r\n\r\n": "",
	} {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, ask)
		c.(*net.TCPConn).CloseWrite()
		b, _ := io.ReadAll(c) // a reset after the answer is as good as an end
		c.Close()
		if got := string(b); strings.Contains(got, "<form>") || strings.Contains(got, "abc") || want == "" && strings.Contains(got, "Location") || want != "" && !(strings.HasPrefix(got, "HTTP/1.1 308 ") && strings.Contains(got, want)) {
			t.Errorf("%.40q: %q, want %q", ask, got, want)
		}
	}
}

func TestAWeakConsoleDoorTurnsTheCheckRed(t *testing.T) {
	for what, tt := range map[string]struct {
		change func(net.Listener) net.Listener
		conf   *tls.Config
		words  string
	}{
		"as it is":         {guarded, &tls.Config{MinVersion: tls.VersionTLS12}, ""},
		"a form in clear":  {bare, nil, "in clear: the answer is 200"},
		"another answer":   {bare, &tls.Config{MinVersion: tls.VersionTLS12}, "in clear: the answer is 400"},
		"TLS 1.1":          {guarded, &tls.Config{MinVersion: tls.VersionTLS10}, "TLS 1.1 is accepted"},
		"TLS 1.3 and only": {guarded, &tls.Config{MinVersion: tls.VersionTLS13}, "TLS 1.2 is accepted: false"},
	} {
		door, _ := address(formDoor(t, tt.change, tt.conf).Listener)
		c := formsOverTLS(door)
		if err := c.Positive(t.Context()); err != nil {
			t.Fatal(err)
		}
		var e assurance.Evidence
		err := c.Probe(context.Background(), &e)
		if (err == nil) != (tt.words == "") || err != nil && !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%s: %v, want %q (%v)", what, err, tt.words, e)
		}
	}
}
