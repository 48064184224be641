package edge

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/text"
)

func TestPagesSpeakTheClientsLanguageAndForm(t *testing.T) {
	p := newPages("https://console.example/?a=1&b=\"x\"")
	tests := []struct{ accept, lang, ctype, has string }{
		{"text/html,application/xhtml+xml,*/*;q=0.8", "en-US,en;q=0.5", "text/html; charset=utf-8", "This request was blocked"},
		{"text/html", "zh-CN,zh;q=0.9,en;q=0.8", "text/html; charset=utf-8", "该请求已被拦截"},
		{"application/json, text/plain, */*", "", "application/problem+json", "This request was blocked"},
		{"application/problem+json", "zh", "application/problem+json", "该请求已被拦截"},
		{"*/*", "", "text/plain; charset=utf-8", "This request was blocked"},
		{"", "zh", "text/plain; charset=utf-8", "该请求已被拦截"},
	}
	for _, tt := range tests {
		r := httptest.NewRequest("GET", "/<script>?x=<script>", nil)
		if tt.accept != "" {
			r.Header.Set("Accept", tt.accept)
		}
		r.Header.Set("Accept-Language", tt.lang)
		rec := httptest.NewRecorder()
		p.write(rec, r, "agrav5nxbmaap2v4mtoq", 403)
		body, h := rec.Body.String(), rec.Header()
		if rec.Code != 403 || h.Get("Content-Type") != tt.ctype || !strings.Contains(body, tt.has) || !strings.Contains(body, "agrav5nxbmaap2v4mtoq") {
			t.Errorf("%+v: %d %s %q", tt, rec.Code, h.Get("Content-Type"), body)
		}
		if h.Get("Cache-Control") != "no-store" || !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("headers %v", h)
		}
		if strings.Contains(body, "<script") {
			t.Errorf("the page echoes the request: %q", body)
		}
		if strings.HasPrefix(tt.ctype, "text/html") && !strings.Contains(body, "https://console.example/?a=1&amp;b=&#34;x&#34;") {
			t.Errorf("console address is absent or not escaped: %q", body)
		}
		if strings.Contains(tt.ctype, "json") {
			var v struct {
				Status  int
				Request string
			}
			if err := json.Unmarshal(rec.Body.Bytes(), &v); err != nil || v.Status != 403 || v.Request != "agrav5nxbmaap2v4mtoq" {
				t.Errorf("%q: %+v %v", body, v, err)
			}
		}
	}
}

func TestEveryStatusHasItsPageInBothLanguages(t *testing.T) {
	for _, status := range pageStatuses() {
		title, advice := wording(status)
		for _, w := range []text.Text{title, advice} {
			if w.En == "" || w.Zh == "" || w.En == w.Zh {
				t.Errorf("%d: %+v", status, w)
			}
		}
	}
}
