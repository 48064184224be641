package edge

import (
	"crypto/tls"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/kinds/edge"
)

func TestTLSVersionsProtocolsAndServerNames(t *testing.T) {
	o := echoOrigin(t)
	w := newWorld(t, nil, siteAt("shop", "shop.example.com", o.URL), siteAt("wild", "*.wild.example", o.URL))
	for _, tt := range []struct {
		version uint16
		h2      bool
		proto   string
	}{{tls.VersionTLS12, false, "HTTP/1.1"}, {tls.VersionTLS13, false, "HTTP/1.1"}, {tls.VersionTLS12, true, "HTTP/2.0"}, {tls.VersionTLS13, true, "HTTP/2.0"}} {
		resp, body := do(t, w.client(tt.h2, tt.version), "GET", "https://shop.example.com/a?b=c", nil, nil)
		if resp.StatusCode != 200 || resp.Proto != tt.proto || resp.TLS.Version != tt.version || !strings.Contains(body, "GET /a?b=c host=shop.example.com") {
			t.Errorf("%+v: %d %s %x %q", tt, resp.StatusCode, resp.Proto, resp.TLS.Version, body)
		}
	}
	if resp, _ := do(t, w.client(true, 0), "GET", "https://x.wild.example/", nil, nil); resp.StatusCode != 200 {
		t.Errorf("wildcard: %d", resp.StatusCode)
	}
	for range 5 {
		do(t, w.client(false, 0), "GET", "https://y.wild.example/", nil, nil)
	}
	for sni, want := range map[string]string{"": noSite, "evil.example": noSite, "a.b.wild.example": noSite, "SHOP.example.com": "shop.example.com"} {
		c, err := tls.Dial("tcp", w.https, &tls.Config{ServerName: sni, InsecureSkipVerify: true})
		if err != nil {
			t.Errorf("sni %q: %v", sni, err)
			continue
		}
		if got := c.ConnectionState().PeerCertificates[0].DNSNames; !slices.Equal(got, []string{want}) {
			t.Errorf("sni %q: certificate for %v, want %s", sni, got, want)
		}
		c.Close()
	}
	asked := w.ca.asked()
	slices.Sort(asked)
	if want := []string{"*.wild.example", "dun.invalid", "shop.example.com"}; !slices.Equal(asked, want) {
		t.Errorf("issuer was asked for %v, want each of %v once", asked, want)
	}
	if _, err := tls.Dial("tcp", w.https, &tls.Config{ServerName: "shop.example.com", InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	if _, err := tls.Dial("tcp", w.https, &tls.Config{ServerName: "shop.example.com", InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}); err == nil {
		t.Error("a cipher without forward secrecy was accepted")
	}
}

func TestHostMustBelongToTheServerName(t *testing.T) {
	o := echoOrigin(t)
	w := newWorld(t, nil, siteAt("a", "a.example", o.URL), siteAt("b", "b.example", o.URL))
	w.put(siteObject("acme", "two", edge.SiteSpec{Hosts: []string{"one.example", "two.example"}, Origins: []edge.Origin{{URL: o.URL}}}))
	for _, h2 := range []bool{false, true} {
		c := w.client(h2, 0)
		for _, tt := range []struct {
			url, host string
			want      int
		}{
			{"https://a.example/", "b.example", 421}, {"https://a.example/", "a.example", 200},
			{"https://a.example/", "unknown.example", 421}, {"https://one.example/", "two.example", 200},
		} {
			if resp, _ := do(t, c, "GET", tt.url, map[string]string{"Host": tt.host}, nil); resp.StatusCode != tt.want {
				t.Errorf("h2=%v sni %s host %s: %d, want %d", h2, tt.url, tt.host, resp.StatusCode, tt.want)
			}
		}
	}
	conn, err := tls.Dial("tcp", w.https, &tls.Config{InsecureSkipVerify: true, ServerName: "nobody.example"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"))
	b := make([]byte, 32)
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, _ := conn.Read(b); !strings.HasPrefix(string(b[:n]), "HTTP/1.1 421") {
		t.Errorf("unknown server name with a known host: %q", b[:n])
	}
}

func TestBareAddressIsServedOverTLSWhenConfigured(t *testing.T) {
	o := echoOrigin(t)
	w := newWorld(t, nil, siteAt("ip", "127.0.0.1", o.URL))
	resp, _ := do(t, w.client(false, 0), "GET", "https://127.0.0.1/", nil, nil)
	if resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestCertificatesRenewAndSurviveABrokenIssuer(t *testing.T) {
	o := echoOrigin(t)
	now := time.Now()
	clock := func() time.Time { return now }
	w := newWorld(t, func(o *Options) { o.Now = func() time.Time { return clock() } }, siteAt("shop", "shop.example", o.URL))
	w.ca.life = 30 * time.Hour
	shake := func() error {
		c, err := tls.Dial("tcp", w.https, &tls.Config{ServerName: "shop.example", InsecureSkipVerify: true})
		if err == nil {
			c.Close()
		}
		return err
	}
	steps := []struct {
		at   time.Duration
		fail bool
		asks int
		ok   bool
	}{{0, false, 1, true}, {19 * time.Hour, false, 1, true}, {21 * time.Hour, true, 2, true}, {21*time.Hour + time.Second, true, 2, true}, {22 * time.Hour, false, 3, true}, {60 * time.Hour, true, 4, false}}
	start := now
	for _, s := range steps {
		w.ca.mu.Lock()
		w.ca.fail = s.fail
		now = start.Add(s.at)
		w.ca.now = clock
		w.ca.mu.Unlock()
		if err := shake(); (err == nil) != s.ok {
			t.Errorf("after %v: %v", s.at, err)
		}
		if got := len(w.ca.asked()); got != s.asks {
			t.Errorf("after %v the issuer was asked %d times, want %d", s.at, got, s.asks)
		}
	}
	w.put(siteAt("shop", "other.example", o.URL))
	w.edge.certs.mu.Lock()
	defer w.edge.certs.mu.Unlock()
	if n := len(w.edge.certs.all); n != 0 {
		t.Errorf("%d certificates kept of hosts that are gone", n)
	}
}

func TestCurlSpeaksBothProtocols(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Fatal("curl is not installed; make test installs it")
	}
	w := newWorld(t, nil, siteAt("shop", "shop.example", echoOrigin(t).URL))
	_, port, _ := net.SplitHostPort(w.https)
	ca := t.TempDir() + "/ca.pem"
	writeFile(t, ca, w.ca.pem())
	for flag, want := range map[string]string{"--http1.1": "1.1 200", "--http2": "2 200"} {
		out, err := exec.CommandContext(t.Context(), curl, "-sS", flag, "--cacert", ca, "--resolve", "shop.example:"+port+":127.0.0.1",
			"-o", "/dev/null", "-w", "%{http_version} %{http_code}", "https://shop.example:"+port+"/x?a=b").CombinedOutput()
		if err != nil || string(out) != want {
			t.Errorf("curl %s: %q %v, want %q", flag, out, err, want)
		}
	}
}
