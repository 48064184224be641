package edge

import (
	"net/http"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/resource"
)

func TestNormalHost(t *testing.T) {
	for in, want := range map[string]string{
		"a.example": "a.example", "A.Example.": "a.example", "a.example:80": "a.example", "a.example.:80": "a.example", "a.example:": "a.example",
		"127.0.0.1:80": "127.0.0.1", "[::1]:80": "::1", "[::1]": "::1", "[2001:DB8::A]": "2001:db8::a", "a_b.example": "a_b.example",
		"": "", ".": "", "a..b": "", ".a": "", "a:b": "", "a:65536": "", "a:80:80": "", "::1": "", "[::1": "", "[::1]x": "", "[127.0.0.1]": "", "[fe80::1%eth0]": "",
		"a b": "", "a/b": "", "a@b": "", "a\x00": "", "你好": "", strings.Repeat("a", 64): "", strings.Repeat("a.", 126) + "a": strings.Repeat("a.", 126) + "a", strings.Repeat("a", 300): "",
	} {
		got, ok := normalHost(in)
		if ok != (want != "") || got != want {
			t.Errorf("%q: %q %v, want %q", in, got, ok, want)
		}
	}
}

func FuzzNormalHost(f *testing.F) {
	for _, s := range []string{"a.example:80", "[::1]:443", "A.B.", "xn--0.example", "1.2.3.4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, ok := normalHost(s)
		if !ok {
			return
		}
		again, ok := normalHost(h)
		if strings.Contains(h, ":") { // an IPv6 address needs its brackets
			again, ok = normalHost("[" + h + "]")
		}
		if !ok || again != h {
			t.Fatalf("%q became %q, which became %q %v", s, h, again, ok)
		}
		if h != strings.ToLower(h) || len(h) > 253 || strings.HasSuffix(h, ".") || strings.ContainsAny(h, "/@ []\x00%") {
			t.Fatalf("%q became %q", s, h)
		}
		if resource.CheckHost(s) == nil && !strings.HasPrefix(s, "*") && !strings.Contains(s, ":") && h != s {
			t.Fatalf("the configured host %q is looked up as %q", s, h)
		}
	})
}

// FuzzTarget: what the firewall judges is what the origin gets, and decoding
// twice gives nothing new.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"/", "/a%2fb?c=%20", "/a{b}", "/a/../b;c", "//a", "/?", "/%e4%bd%a0", "/\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		g, err := parseTarget(s)
		if err != nil {
			return
		}
		u := g.url("http", "origin.example")
		if u.RequestURI() != g.uri() {
			t.Fatalf("%q: judged %q, sent %q", s, g.uri(), u.RequestURI())
		}
		again, err := parseTarget(g.uri())
		if err != nil || again != g {
			t.Fatalf("%q: %+v, again %+v %v", s, g, again, err)
		}
		r, err := http.NewRequest("GET", "http://origin.example"+g.uri(), nil)
		if err != nil {
			t.Fatalf("%q: %v", g.uri(), err)
		}
		if r.URL.Path != g.path || r.URL.RawQuery != g.query {
			t.Fatalf("%q: path %q, net/url reads %q", s, g.path, r.URL.Path)
		}
		if strings.ContainsRune(g.path, 0) || strings.ContainsAny(g.uri(), " \r\n\t#") {
			t.Fatalf("%q passed as %q", s, g.uri())
		}
	})
}
