package edge

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/kinds/edge"
)

func TestOnlyTrustedProxiesAreBelieved(t *testing.T) {
	trusted, err := newNetworks([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::5/32"), netip.MustParsePrefix("::ffff:192.0.2.0/120")})
	if err != nil {
		t.Fatal(err)
	}
	e := &Edge{trusted: trusted}
	for _, tt := range []struct {
		name, peer string
		chain      []string
		want       string
	}{
		{"stranger", "9.9.9.9:1", []string{"8.8.8.8"}, "9.9.9.9:1"},
		{"stranger claims a trusted hop", "9.9.9.9:1", []string{"8.8.8.8, 10.0.0.1"}, "9.9.9.9:1"},
		{"one proxy", "10.0.0.1:1", []string{"8.8.8.8"}, "8.8.8.8:0"},
		{"mapped peer", "[::ffff:10.0.0.1]:1", []string{"8.8.8.8"}, "8.8.8.8:0"},
		{"mapped network", "192.0.2.9:1", []string{"8.8.8.8"}, "8.8.8.8:0"},
		{"client forged the left part", "10.0.0.1:1", []string{"1.1.1.1, 8.8.8.8"}, "8.8.8.8:0"},
		{"client forged a trusted hop", "10.0.0.1:1", []string{"1.1.1.1, 10.9.9.9, 8.8.8.8"}, "8.8.8.8:0"},
		{"two proxies", "10.0.0.1:1", []string{"8.8.8.8, 2001:db8:1::2"}, "8.8.8.8:0"},
		{"several fields are one list", "10.0.0.1:1", []string{"1.1.1.1", "8.8.8.8", "10.0.0.2"}, "8.8.8.8:0"},
		{"with port", "10.0.0.1:1", []string{"8.8.8.8:4711"}, "8.8.8.8:4711"},
		{"brackets", "10.0.0.1:1", []string{"[2a00::1]"}, "[2a00::1]:0"},
		{"brackets and port", "10.0.0.1:1", []string{"[2a00::1]:99"}, "[2a00::1]:99"},
		{"mapped client", "10.0.0.1:1", []string{"::ffff:8.8.8.8"}, "8.8.8.8:0"},
		{"no chain", "10.0.0.1:1", nil, "10.0.0.1:1"},
		{"empty", "10.0.0.1:1", []string{""}, "10.0.0.1:1"},
		{"word", "10.0.0.1:1", []string{"8.8.8.8, unknown"}, "10.0.0.1:1"},
		{"garbage after a good hop", "10.0.0.1:1", []string{"<script>, 10.0.0.2"}, "10.0.0.2:0"},
		{"trailing comma", "10.0.0.1:1", []string{"8.8.8.8,"}, "10.0.0.1:1"},
		{"all trusted", "10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3:0"},
	} {
		r := &http.Request{RemoteAddr: tt.peer, Header: http.Header{"X-Forwarded-For": tt.chain}}
		from, _, err := e.client(r)
		if err != nil || from.String() != tt.want {
			t.Errorf("%s: %v %v, want %s", tt.name, from, err, tt.want)
		}
	}
	for _, tt := range []struct {
		peer string
		said []string
		want string
	}{
		{"9.9.9.9:1", []string{"https"}, "http"}, {"10.0.0.1:1", []string{"https"}, "https"}, {"10.0.0.1:1", []string{"HTTPS"}, "https"},
		{"10.0.0.1:1", []string{"https, http"}, "http"}, {"10.0.0.1:1", []string{"https", "http"}, "http"}, {"10.0.0.1:1", []string{"gopher"}, "http"}, {"10.0.0.1:1", nil, "http"},
	} {
		_, scheme, _ := e.client(&http.Request{RemoteAddr: tt.peer, Header: http.Header{"X-Forwarded-Proto": tt.said}})
		if scheme != tt.want {
			t.Errorf("%s said %q: %s", tt.peer, tt.said, scheme)
		}
	}
}

func TestForwardedClientIsBannedReportedAndPassedOn(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} }, siteAt("shop", "shop.example", seenFrom(t)))
	w.put(banObject("acme", "bad", edge.BanSpec{Sources: []string{"203.0.113.9"}}))
	head := func(chain, proto string) map[string]string {
		return map[string]string{"X-Forwarded-For": chain, "X-Forwarded-Proto": proto}
	}
	if _, body := w.do("GET", "http://shop.example/", head("8.8.4.4, 8.8.8.8", "https"), nil); body != "8.8.8.8 https" {
		t.Errorf("origin saw %q", body)
	}
	if resp, _ := w.do("GET", "http://shop.example/", head("8.8.8.8, 203.0.113.9", ""), nil); resp.StatusCode != 403 {
		t.Errorf("banned client behind a proxy: %d", resp.StatusCode)
	}
	if resp, _ := w.do("GET", "http://shop.example/?q=%3Cscript%3Ealert(1)%3C/script%3E", head("8.8.8.8", ""), nil); resp.StatusCode != 403 {
		t.Errorf("attack: %d", resp.StatusCode)
	}
	if b, k := w.events.list("ban"), w.events.list("block"); len(b) != 1 || b[0].Source != "203.0.113.9" || len(k) != 1 || k[0].Source != "8.8.8.8" {
		t.Errorf("ban events %+v, block events %+v", b, k)
	}
	const get = "GET / HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: x\r\nAccept: */*\r\nX-Forwarded-For: 8.8.8.8\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n"
	if got := introduce(t, w.http, "127.0.0.2", get); got != "127.0.0.2 http" {
		t.Errorf("a stranger was believed: %q", got)
	}
}

func TestBadNetworksAreRefused(t *testing.T) {
	for _, o := range []Options{{TrustedProxies: []netip.Prefix{{}}}, {ProxyProtocol: []netip.Prefix{{}}}} {
		o.TempDir = t.TempDir()
		o.rules, _ = sharedRules()
		if _, err := New(t.Context(), o); err == nil || !strings.Contains(err.Error(), "not valid") {
			t.Errorf("%v", err)
		}
	}
}
