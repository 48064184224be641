package edge

import (
	"crypto/tls"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

func TestEveryRequestIsRefusedBeforeTheFirstSync(t *testing.T) {
	w := newWorld(t, nil)
	if resp, _ := w.do("GET", "http://shop.example/", nil, nil); resp.StatusCode != 503 {
		t.Errorf("status %d, want 503", resp.StatusCode)
	}
	s := siteAt("shop", "shop.example", echoOrigin(t).URL)
	w.feed.deliver(resource.Batch{Changes: []resource.Change{{Ref: s.Ref(), Object: s}}})
	if resp, _ := w.do("GET", "http://shop.example/", nil, nil); resp.StatusCode != 503 {
		t.Errorf("unsynced: status %d, want 503", resp.StatusCode)
	}
	if rev, ok := w.edge.Enforced(); ok || rev != 0 {
		t.Errorf("Enforced %d %v before sync", rev, ok)
	}
	w.feed.deliver(resource.Batch{Synced: true})
	if resp, _ := w.do("GET", "http://shop.example/", nil, nil); resp.StatusCode != 200 {
		t.Errorf("synced: status %d, want 200", resp.StatusCode)
	}
	w.feed.deliver(resource.Batch{})
	if rev, ok := w.edge.Enforced(); !ok || rev != 3 {
		t.Errorf("Enforced %d %v, want 3 true: a batch without changes counts", rev, ok)
	}
}

func TestResetKeepsTheOldSnapshotUntilSynced(t *testing.T) {
	o := echoOrigin(t)
	w := newWorld(t, nil, siteAt("a", "a.example", o.URL))
	b := siteAt("b", "b.example", o.URL)
	w.feed.deliver(resource.Batch{Reset: true, Changes: []resource.Change{{Ref: b.Ref(), Object: b}}})
	if resp, _ := w.do("GET", "http://a.example/", nil, nil); resp.StatusCode != 200 {
		t.Errorf("during reset: %d", resp.StatusCode)
	}
	if rev, _ := w.edge.Enforced(); rev != 1 {
		t.Errorf("enforced %d during reset, want 1", rev)
	}
	w.feed.deliver(resource.Batch{Synced: true})
	for host, code := range map[string]int{"a.example": 421, "b.example": 200} {
		if resp, _ := w.do("GET", "http://"+host+"/", nil, nil); resp.StatusCode != code {
			t.Errorf("after reset %s: %d, want %d", host, resp.StatusCode, code)
		}
	}
}

func TestSitesAreFoundByHost(t *testing.T) {
	o := echoOrigin(t)
	w := newWorld(t, nil,
		siteAt("exact", "www.example.com", o.URL), siteAt("wild", "*.example.com", o.URL),
		siteAt("ip4", "192.0.2.1", o.URL), siteAt("ip6", "2001:db8::1", o.URL),
	)
	for host, want := range map[string]string{
		"www.example.com": "exact", "WWW.Example.COM": "exact", "www.example.com.": "exact", "www.example.com:8080": "exact", "www.example.com.:80": "exact",
		"shop.example.com": "wild", "a.b.example.com": "421", "example.com": "421", "evil.test": "421",
		"192.0.2.1": "ip4", "192.0.2.1:8080": "ip4", "[2001:db8::1]": "ip6", "[2001:DB8:0::1]:443": "ip6", "[2001:db8::2]": "421",
		"www.example.com:99999": "400", "www..example.com": "400", "a b": "400", "www.example.com/x": "400", "user@www.example.com": "400",
	} {
		before := w.edge.Stats()
		code, _ := w.raw("GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n")
		got := ""
		for name, n := range w.edge.Stats().Sites {
			if n.Requests > before.Sites[name].Requests {
				got = strings.TrimPrefix(name, "acme/")
			}
		}
		if got == "" {
			got = http.StatusText(code)
			for _, c := range []string{"400", "421"} {
				if c == want && code == map[string]int{"400": 400, "421": 421}[c] {
					got = want
				}
			}
		}
		if got != want {
			t.Errorf("%q: %s (%d), want %s", host, got, code, want)
		}
	}
}

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

func TestRequestIDIsOnEveryAnswerAndReachesTheOrigin(t *testing.T) {
	var seen string
	s := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Get(RequestHeader)
		w.Header().Set("Dun-Fake", "1")
	})
	w := newWorld(t, nil, siteAt("shop", "shop.example", s.URL))
	before := time.Now().Add(-time.Millisecond)
	resp, _ := w.do("GET", "http://shop.example/", map[string]string{RequestHeader: "forged", "Dun-Anything": "x"}, nil)
	got := resp.Header.Get(RequestHeader)
	at, node, ok := id.ParseRequest(got)
	if !ok || node != 7 || at.Before(before.Truncate(time.Millisecond)) || time.Since(at) > time.Minute {
		t.Errorf("request id %q: %v node %d ok %v", got, at, node, ok)
	}
	if seen != got {
		t.Errorf("the origin saw %q, the client %q", seen, got)
	}
	if resp.Header.Get("Dun-Fake") != "" {
		t.Error("a Dun- header of the origin got through")
	}
	for _, url := range []string{"http://nobody.example/", "http://shop.example/.git/config"} {
		if resp, _ := w.do("GET", url, nil, nil); resp.Header.Get(RequestHeader) == "" {
			t.Errorf("%s: no request id", url)
		}
	}
}

func TestCurlSpeaksBothProtocols(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
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
