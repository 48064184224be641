package resource_test

import (
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
)

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 63)
	for s, want := range map[string]bool{
		"a": true, "0": true, "a-b": true, "a--b": true, "xn--a": true, long: true, "1-2-3": true,
		"": false, "-a": false, "a-": false, "-": false, long + "a": false, "A": false, "a_b": false, "a.b": false, "a b": false, "ä": false, "a\n": false, "a/b": false,
	} {
		if resource.ValidName(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}

// verdicts runs a check over a table; "" means right.
func verdicts(t *testing.T, check func(string) *text.Text, table map[string]string) {
	t.Helper()
	for in, want := range table {
		got := check(in)
		switch {
		case got == nil && want != "":
			t.Errorf("%q is accepted, want %q", in, want)
		case got != nil && (want == "" || !strings.Contains(got.En, want)):
			t.Errorf("%q: %q, want %q", in, got.En, want)
		case got != nil && (got.Zh == "" || got.Zh == got.En):
			t.Errorf("%q is not explained in both languages: %+v", in, got)
		}
	}
}

func TestHosts(t *testing.T) {
	label := strings.Repeat("a", 63)
	verdicts(t, resource.CheckHost, map[string]string{
		"a": "", "a.test": "", "*.a.test": "", "xn--vcsoey76a.test": "", "192.0.2.1": "", "2001:db8::1": "", "1.a": "", "a1.b2": "", label + ".test": "",
		"::ffff:192.0.2.1":              "",
		"":                              "is empty",
		"A.test":                        "lower case",
		"http://a.test":                 "without scheme",
		"a.test/":                       "without scheme and path",
		"a.test:80":                     "without port",
		"a.test.":                       "is not a host name",
		".a.test":                       "is not a host name",
		"a..test":                       "is not a host name",
		"*":                             "is not a host name",
		"*a.test":                       "is not a host name",
		"a.*.test":                      "is not a host name",
		"*.*.test":                      "is not a host name",
		"-a.test":                       "is not a host name",
		"a-.test":                       "is not a host name",
		"a_b.test":                      "is not a host name",
		"盾.test":                        "xn--",
		"a b.test":                      "is not a host name",
		"a.test\n":                      "is not a host name",
		label + "a.test":                "is not a host name",
		"1.2.3":                         "looks like an IP address",
		"1.2.3.4.5":                     "looks like an IP address",
		"999.1.1.1":                     "looks like an IP address",
		"01.2.3.4":                      "looks like an IP address",
		"*.1":                           "looks like an IP address",
		"2001:DB8::1":                   "write the address as 2001:db8::1",
		"2001:db8:0::1":                 "write the address as 2001:db8::1",
		"fe80::1%eth0":                  "write the address as fe80::1",
		"[2001:db8::1]":                 "without port",
		"192.0.2.0/24":                  "without scheme",
		strings.Repeat("a.", 127) + "a": "longer than 253",
	})
}

func TestOriginAddresses(t *testing.T) {
	verdicts(t, resource.CheckURL, map[string]string{
		"http://a": "", "https://a.test": "", "http://a.test:3000": "", "http://192.0.2.1:80/": "", "https://[2001:db8::1]:8443": "", "http://A.test": "", "http://a:65535": "",
		"":                        "want http:// or https://",
		"a.test":                  "want http:// or https://",
		"ftp://a":                 "want http:// or https://",
		"//a":                     "want http:// or https://",
		"javascript:alert(1)":     "want http:// or https://",
		"http:a":                  "has no host",
		"http://":                 "has no host",
		"http://:80":              "has no host",
		"http://u@a":              "user or password",
		"http://u:p@a":            "user or password",
		"http://@a":               "user or password",
		"http://a/b":              "scheme, host and port only",
		"http://a//":              "scheme, host and port only",
		"http://a?":               "scheme, host and port only",
		"http://a?b=c":            "scheme, host and port only",
		"http://a#":               "scheme, host and port only",
		"http://a/#b":             "scheme, host and port only",
		"http://a:":               "empty port",
		"http://a:0":              "port from 1 to 65535",
		"http://a:65536":          "port from 1 to 65535",
		"http://a:99999999":       "port from 1 to 65535",
		"http://a:b":              "is not a URL",
		"http://a b":              "is not a URL",
		"http://a\n":              "is not a URL",
		"http://*.a.test":         "neither a name nor an address",
		"http://a_b":              "neither a name nor an address",
		"http://1.2.3":            "neither a name nor an address",
		"http://[fe80::1%25eth0]": "neither a name nor an address",
		"http://%zz":              "is not a URL",
		"http://[::1":             "is not a URL",
	})
}

func TestLabelKeys(t *testing.T) {
	verdicts(t, resource.CheckLabelKey, map[string]string{
		"a": "", "a.b_c-d": "", "A1": "", "dun.dev/class": "", "a/b": "", strings.Repeat("a", 127): "", strings.Repeat("a", 63) + "/" + strings.Repeat("b", 63): "",
		"": "want letters", "/": "want letters", "a/": "want letters", "/a": "want letters", "a/b/c": "want letters", "-a": "want letters", "a-": "want letters", "a b": "want letters",
		"ä": "want letters", "a=b": "want letters", "a\n": "want letters", strings.Repeat("a", 128): "want letters",
	})
}
