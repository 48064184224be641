package edge

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

func TestForwardedHeadersComeFromTheConnection(t *testing.T) {
	var got http.Header
	var host string
	o := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) { got, host = r.Header.Clone(), r.Host })
	own := siteAt("own", "own.example", o.URL)
	spec(own).Origins[0].Host = "internal.example"
	shop := siteObject("acme", "shop", *withWAF("", "shop.example", o.URL, "off", 1, 0)) // the rules refuse some of these
	w := newWorld(t, nil, shop, own)
	lies := map[string]string{
		"X-Forwarded-For": "8.8.8.8", "X-Forwarded-Proto": "gopher", "X-Forwarded-Host": "evil", "X-Forwarded-Port": "1", "Forwarded": "for=8.8.8.8",
		"X-Real-IP": "8.8.8.8", "X_Forwarded_For": "8.8.8.8", "X_Real_IP": "8.8.8.8", "True-Client-IP": "8.8.8.8", "Proxy": "http://evil",
		"Dun-Tenant": "platform", "Connection": "close, X-Secret-Hop", "X-Secret-Hop": "1", "Keep-Alive": "x", "TE": "trailers, deflate", "Upgrade": "h2c",
		"Via": "1.0 fred", "Cookie": "a=b", "Dun_Tenant": "platform", "Content_Length": "5",
	}
	for scheme, want := range map[string]string{"http": "http", "https": "https"} {
		do(t, w.client(false, 0), "GET", scheme+"://shop.example/", lies, nil)
		for k, v := range map[string]string{
			"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": want, "X-Forwarded-Host": "shop.example", "Cookie": "a=b", "Te": "trailers",
			"X-Forwarded-Port": "", "Forwarded": "", "X-Real-Ip": "", "X_forwarded_for": "", "X_real_ip": "", "True-Client-Ip": "", "Proxy": "",
			"Dun-Tenant": "", "Dun_tenant": "", "X-Secret-Hop": "", "Keep-Alive": "", "Upgrade": "", "Content_length": "", "Accept-Encoding": "",
		} {
			if g := strings.Join(got[k], "|"); g != v {
				t.Errorf("%s: %s is %q, want %q", scheme, k, g, v)
			}
		}
		if via := got["Via"]; len(via) != 2 || via[0] != "1.0 fred" || via[1] != w.edge.via {
			t.Errorf("Via %q", via)
		}
		if host != "shop.example" {
			t.Errorf("Host %q", host)
		}
	}
	do(t, w.client(false, 0), "GET", "http://own.example/", nil, nil)
	if host != "internal.example" || got.Get("X-Forwarded-Host") != "own.example" {
		t.Errorf("own host: %q, forwarded %q", host, got.Get("X-Forwarded-Host"))
	}
}

func TestLoopIsFound(t *testing.T) {
	w := newWorld(t, nil)
	w.put(siteAt("loop", "loop.example", "http://"+w.http))
	if resp, _ := w.do("GET", "http://loop.example/", nil, nil); resp.StatusCode != 508 {
		t.Errorf("status %d, want 508", resp.StatusCode)
	}
}

func TestPathsReachTheOriginAsJudged(t *testing.T) {
	var got string
	o := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) { got = r.RequestURI })
	s := siteObject("acme", "shop", *withWAF("", "shop.example", o.URL, "off", 1, 0))
	w := newWorld(t, nil, s)
	for sent, want := range map[string]string{
		"/": "/", "/a%2fb": "/a%2fb", "/a%2Fb{c}": "/a%2Fb%7Bc%7D", "//a//b": "//a//b", "/a/../b": "/a/../b", "/a;x=1/b": "/a;x=1/b",
		"/?": "/?", "/?a=b&c": "/?a=b&c", "/x?a={b}|c": "/x?a={b}|c", "/\xe4\xbd\xa0": "/%E4%BD%A0", "/a|b^c`": "/a%7Cb%5Ec%60", "/x?y?z": "/x?y?z",
		"/%41": "/%41", "/a:b@c": "/a:b@c", "/[x]": "/[x]",
	} {
		got = ""
		if code, _ := w.raw("GET " + sent + " HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"); code != 200 || got != want {
			t.Errorf("%q: %d, origin got %q, want %q", sent, code, got, want)
		}
	}
}

func TestRedirectsAndEncodingsAreLeftAlone(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/to" {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		io.WriteString(w, "not really gzip "+r.Header.Get("Accept-Encoding"))
	})
	w := newWorld(t, nil, siteAt("shop", "shop.example", o.URL))
	if resp, _ := w.do("GET", "http://shop.example/to", nil, nil); resp.StatusCode != 302 || resp.Header.Get("Location") != "/elsewhere" {
		t.Errorf("%d %s", resp.StatusCode, resp.Header.Get("Location"))
	}
	if _, body := w.do("GET", "http://shop.example/x", map[string]string{"Accept-Encoding": "gzip"}, nil); body != "not really gzip gzip" {
		t.Errorf("%q", body)
	}
}

func TestClientThatLeavesCancelsTheOrigin(t *testing.T) {
	gone, in := make(chan struct{}), make(chan struct{})
	o := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) { close(in); <-r.Context().Done(); close(gone) })
	w := newWorld(t, nil, siteAt("shop", "shop.example", o.URL))
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "GET", "http://shop.example/", nil)
	req.Header.Set("User-Agent", "x")
	go w.client(false, 0).Do(req)
	<-in
	cancel()
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
		t.Error("the origin was not told")
	}
	if ev := w.events.list("origin"); len(ev) != 0 {
		t.Errorf("the client's leaving was blamed on the origin: %+v", ev)
	}
}

func TestBrokenAnswerDoesNotLookComplete(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
		c, _, _ := http.NewResponseController(w).Hijack()
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		c.Close()
	})
	w := newWorld(t, nil, siteAt("shop", "shop.example", o.URL))
	resp, err := w.client(false, 0).Get("http://shop.example/")
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("a cut answer was passed on as whole")
	}
}

func TestSilentOriginIsCutAfterTheIdleTime(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "a")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	s := siteAt("shop", "shop.example", o.URL)
	spec(s).Limits = &edge.Limits{Timeouts: &edge.Timeouts{Idle: resource.Duration(200 * time.Millisecond)}}
	w := newWorld(t, nil, s)
	resp, err := w.client(false, 0).Get("http://shop.example/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil || string(b) != "a" {
		t.Errorf("%q %v", b, err)
	}
}
