package sigv4

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// signer is the AWS SDK for Python (python3-botocore of Debian): it signs each
// request that it reads and prints it as it would be sent.
const signer = `
import json, sys
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
out = []
for c in json.load(sys.stdin):
    r = AWSRequest(method=c["method"], url="https://dun.test" + c["path"], data=c["body"].encode(), headers=c["headers"] or {})
    who = Credentials("AKEXAMPLE", c["secret"])
    if c["expires"]:
        SigV4QueryAuth(who, "dun", "local", expires=c["expires"]).add_auth(r)
    else:
        r.headers["X-Amz-Content-Sha256"] = SigV4Auth(who, "dun", "local").payload(r)
        SigV4Auth(who, "dun", "local").add_auth(r)
    p = r.prepare()
    out.append({"url": p.url, "headers": {k: str(v) for k, v in p.headers.items()}})
json.dump(out, sys.stdout)
`

type toSign struct {
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Body    string            `json:"body"`
	Secret  string            `json:"secret"`
	Expires int               `json:"expires"`
	Headers map[string]string `json:"headers"`
}

func signedByBotocore(t *testing.T, list ...toSign) (out []*http.Request) {
	t.Helper()
	in, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/usr/bin/python3", "-c", signer)
	cmd.Stdin = bytes.NewReader(in)
	b, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v; is python3-botocore there? %s", err, b)
	}
	var signed []struct {
		URL     string
		Headers map[string]string
	}
	if err := json.Unmarshal(b, &signed); err != nil || len(signed) != len(list) {
		t.Fatal(err)
	}
	for i, s := range signed {
		r := httptest.NewRequest(list[i].Method, s.URL, strings.NewReader(list[i].Body))
		for k, v := range s.Headers {
			r.Header.Set(k, v)
		}
		out = append(out, r)
	}
	return out
}

// TestBotocoreIsAccepted takes what the published test suite goes through: every
// method, queries in any order and script, empty and doubled values, spaces in
// headers; by header and by URL. With another secret each is refused.
func TestBotocoreIsAccepted(t *testing.T) {
	var list []toSign
	for _, path := range []string{
		"/", "/api/v1/acme/sites", "/api/v1/-/watch?kinds=site%2Cban&watch=", "/a?Param2=value2&Param1=value1", "/a?Param1=value2&Param1=Value1", "/a?Param1=&Param2",
		"/a?-._~0123456789=ABCxyz", "/a?%E1%88%B4=bar", "/a?labels=a%3Db%2Cc%21%3Dd", "/a?q=a%20b%2Bc%2F%3D", "/a?a-=1&a=2&aa=3", "/-._~0123456789ABCxyz",
	} {
		for _, h := range []map[string]string{nil, {"Dun-Reason": "why  so   many    spaces", "Content-Type": "application/json"}, {"My-Header2": "\"a   b   c\"", "my-header1": "value4,value1"}} {
			list = append(list, toSign{Method: "GET", Path: path, Secret: secret, Headers: h}, toSign{Method: "GET", Path: path, Secret: secret, Expires: 60})
			for _, m := range []string{"PUT", "POST", "PATCH", "DELETE"} {
				list = append(list, toSign{Method: m, Path: path, Body: "{\"a\":\"\u4e2d\"}", Secret: secret, Headers: h})
			}
		}
	}
	n := len(list)
	for _, x := range list[:n] {
		x.Secret += "x"
		list = append(list, x)
	}
	for i, r := range signedByBotocore(t, list...) {
		if got, want := accepted(r), i < n; got != want {
			_, err := Parse(r)
			t.Errorf("%s %s %v: accepted %v (%v)", r.Method, r.URL, r.Header, got, err)
		}
	}
	if n < 200 {
		t.Errorf("only %d requests", n)
	}
}

// TestSignedURLs: an URL reads, for as long as it says, and every change of it is
// refused.
func TestSignedURLs(t *testing.T) {
	path := "/api/v1/acme/sites?limit=5"
	list := signedByBotocore(t,
		toSign{Method: "GET", Path: path, Secret: secret, Expires: 60}, toSign{Method: "HEAD", Path: path, Secret: secret, Expires: 3600},
		toSign{Method: "GET", Path: path, Secret: secret, Expires: 3601}, toSign{Method: "DELETE", Path: path, Secret: secret, Expires: 60}, toSign{Method: "PUT", Path: path, Body: "{}", Secret: secret, Expires: 60})
	for i, want := range []bool{true, true, false, false, false} {
		if accepted(list[i]) != want {
			t.Errorf("%s %s: want %v", list[i].Method, list[i].URL, want)
		}
	}
	good := list[0]
	c, err := Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	for off, want := range map[time.Duration]bool{-Skew - time.Second: false, 0: true, 59 * time.Second: true, 60 * time.Second: false, time.Hour: false} {
		if (c.Fresh(c.Date.Add(off), false) == nil) != want {
			t.Errorf("%s after it was signed: want %v", off, want)
		}
	}
	raw := good.URL.RawQuery
	for i := range raw {
		bad := good.Clone(t.Context())
		b := []byte(raw)
		b[i] ^= 1
		bad.URL.RawQuery = string(b)
		if accepted(bad) {
			t.Errorf("byte %d of %s may be %q", i, raw, b[i])
		}
	}
	for name, change := range map[string]func(*http.Request){
		"another method":    func(r *http.Request) { r.Method = "HEAD" },
		"another path":      func(r *http.Request) { r.URL.Path += "x" },
		"one more":          func(r *http.Request) { r.URL.RawQuery += "&after=x" },
		"doubled":           func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Expires=60" },
		"in another case":   func(r *http.Request) { r.URL.RawQuery = strings.Replace(raw, "X-Amz-Expires", "x-amz-expires", 1) },
		"an unknown one":    func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Security-Token=x" },
		"a body":            func(r *http.Request) { r.ContentLength = 1 },
		"a header besides":  func(r *http.Request) { r.Header.Set("Dun-Reason", "x") },
		"a bearer session":  func(r *http.Request) { r.Header.Set("Authorization", "Bearer dun_s_x") },
		"signed once more":  func(r *http.Request) { r.Header.Set("Authorization", algorithm+" Credential=x") },
		"another algorithm": func(r *http.Request) { r.URL.RawQuery = strings.Replace(raw, "HMAC-SHA256", "HMAC-SHA1", 1) },
	} {
		bad := good.Clone(t.Context())
		if change(bad); accepted(bad) {
			t.Errorf("%s: accepted", name)
		}
	}
	Strip(good)
	if good.URL.RawQuery != "limit=5" {
		t.Errorf("what is left: %s", good.URL.RawQuery)
	}
}
