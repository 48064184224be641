package edge

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

func TestHeaderLimits(t *testing.T) {
	o := echoOrigin(t)
	small := siteAt("small", "small.example", o.URL)
	spec(small).Limits = &edge.Limits{Header: 2 << 10}
	w := newWorld(t, nil, siteAt("shop", "shop.example", o.URL), small)
	head := func(host string, fields, size int) string {
		s := "GET / HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: x\r\nAccept: */*\r\n"
		for i := range fields {
			s += fmt.Sprintf("X-%d: y\r\n", i)
		}
		if fill := size - len(s) - len("X-Fill: \r\n\r\n"); fill > 0 {
			s += "X-Fill: " + strings.Repeat("z", fill) + "\r\n"
		}
		return s + "\r\n"
	}
	tests := []struct {
		name string
		data string
		want int
	}{
		{"100 fields", head("shop.example", 97, 0), 200},
		{"101 fields", head("shop.example", 98, 0), 431},
		{"site limit", head("small.example", 0, 2<<10), 200},
		{"site limit + 1", head("small.example", 0, 2<<10+1), 431},
		{"far over the edge's limit", head("shop.example", 0, 80<<10), 431},
		{"endless", "GET / HTTP/1.1\r\nHost: shop.example\r\nX: " + strings.Repeat("z", 300<<10), 431},
	}
	for _, tt := range tests {
		if got, _ := w.raw(tt.data); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
	if n := len(w.events.list("limit")); n < 3 {
		t.Errorf("%d limit events", n)
	}
}

func TestSlowHeaderIsCutWhileOthersGoOn(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.bounds.headerWait = 300 * time.Millisecond }, siteAt("shop", "shop.example", echoOrigin(t).URL))
	slow, err := net.Dial("tcp", w.http)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	io.WriteString(slow, "GET / HTTP/1.1\r\nHost: shop")
	cut := make(chan time.Duration, 1)
	start := time.Now()
	go func() {
		slow.SetReadDeadline(time.Now().Add(10 * time.Second))
		io.Copy(io.Discard, slow)
		cut <- time.Since(start)
	}()
	for range 20 {
		if resp, _ := w.do("GET", "http://shop.example/", nil, nil); resp.StatusCode != 200 {
			t.Errorf("another client: %d", resp.StatusCode)
		}
	}
	if d := <-cut; d > 5*time.Second || d < 200*time.Millisecond {
		t.Errorf("cut after %v", d)
	}
}

func TestSlowBodyIsAnsweredWith408(t *testing.T) {
	for _, mode := range []string{"block", "off"} {
		s := siteObject("acme", "shop", *withWAF("", "shop.example", echoOrigin(t).URL, mode, 1, 0))
		spec(s).Limits = &edge.Limits{Timeouts: &edge.Timeouts{Request: resource.Duration(300 * time.Millisecond)}}
		w := newWorld(t, nil, s)
		got, _ := w.raw("POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{")
		if got != 408 {
			t.Errorf("waf %s: %d, want 408", mode, got)
		}
		if ev := w.events.list("limit"); len(ev) != 1 || ev[0].Attributes["class"] != "requestTime" {
			t.Errorf("waf %s: events %+v", mode, ev)
		}
		// A keep-alive connection lives on past the deadline of a body that came in time.
		c := w.client(false, 0)
		for range 2 {
			resp, _ := do(t, c, "POST", "http://shop.example/", map[string]string{"Content-Type": "application/json"}, strings.NewReader("{}"))
			if resp.StatusCode != 200 {
				t.Errorf("waf %s: in time: %d", mode, resp.StatusCode)
			}
		}
	}
}

func TestSlowOriginDoesNotInheritTheDeadlineOfTheBody(t *testing.T) {
	late := make(chan struct{})
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-late
		io.WriteString(w, "done")
	})
	for _, mode := range []string{"block", "off"} {
		s := siteObject("acme", "shop", *withWAF("", "shop.example", o.URL, mode, 1, 0))
		spec(s).Limits = &edge.Limits{Timeouts: &edge.Timeouts{Request: resource.Duration(200 * time.Millisecond)}}
		w := newWorld(t, nil, s)
		time.AfterFunc(600*time.Millisecond, func() { late <- struct{}{} })
		resp, body := w.do("POST", "http://shop.example/", map[string]string{"Content-Type": "application/json"}, strings.NewReader("{}"))
		if resp.StatusCode != 200 || body != "done" {
			t.Errorf("waf %s: %d %q", mode, resp.StatusCode, body)
		}
	}
}

func TestRequestsInProgressAreBounded(t *testing.T) {
	hold, in := make(chan struct{}), make(chan struct{}, 4)
	o := newOrigin(t, func(http.ResponseWriter, *http.Request) { in <- struct{}{}; <-hold })
	w := newWorld(t, func(o *Options) { o.bounds.requests = 2 }, siteAt("shop", "shop.example", o.URL))
	c := w.client(false, 0)
	done := make(chan int, 2)
	for range 2 {
		go func() { resp, _ := do(t, c, "GET", "http://shop.example/", nil, nil); done <- resp.StatusCode }()
		<-in
	}
	if resp, _ := do(t, c, "GET", "http://shop.example/", nil, nil); resp.StatusCode != 503 {
		t.Errorf("third: %d", resp.StatusCode)
	}
	close(hold)
	if a, b := <-done, <-done; a != 200 || b != 200 {
		t.Errorf("held: %d %d", a, b)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.bounds.connections = 2; o.bounds.headerWait = 10 * time.Second }, siteAt("shop", "shop.example", echoOrigin(t).URL))
	var held []net.Conn
	for range 2 {
		c, err := net.Dial("tcp", w.http)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "GET / HTTP/1.1\r\n") // accepted and waiting
		held = append(held, c)
	}
	third, err := net.Dial("tcp", w.http) // the kernel takes it; the edge does not
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	io.WriteString(third, "GET / HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: x\r\nAccept: */*\r\nConnection: close\r\n\r\n")
	third.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if n, _ := third.Read(make([]byte, 1)); n != 0 {
		t.Error("a connection over the bound was served")
	}
	for _, c := range held {
		c.Close()
	}
	third.SetReadDeadline(time.Now().Add(5 * time.Second))
	b := make([]byte, 12)
	if _, err := io.ReadFull(third, b); err != nil || string(b) != "HTTP/1.1 200" {
		t.Errorf("after room was made: %q %v", b, err)
	}
}

func TestInspectionBudgetStopsExpensiveBodies(t *testing.T) {
	o := echoOrigin(t)
	block := siteAt("shop", "shop.example", o.URL)
	detect := siteObject("acme", "seen", *withWAF("", "seen.example", o.URL, "detect", 1, 0))
	w := newWorld(t, func(o *Options) { o.bounds.inspection = 50 * time.Millisecond }, block, detect)
	body := `{"a":"` + strings.Repeat("select * from where union ../ ", 20000) + `"}`
	head := map[string]string{"Content-Type": "application/json"}
	start := time.Now()
	resp, _ := w.do("POST", "http://shop.example/", head, strings.NewReader(body))
	t.Logf("stopped after %v", time.Since(start))
	if resp.StatusCode != 413 {
		t.Errorf("block: %d, want 413", resp.StatusCode)
	}
	if resp, _ := w.do("POST", "http://seen.example/", head, strings.NewReader(body)); resp.StatusCode != 200 {
		t.Errorf("detect: %d, want 200", resp.StatusCode)
	}
	ev := w.events.list("limit")
	if len(ev) != 2 || ev[0].Attributes["class"] != "inspection" || ev[0].Action != "blocked" || ev[1].Action != "detected" {
		t.Errorf("events %+v", ev)
	}
	for range 5 { // the engine still judges right after it was stopped
		if resp, _ := w.do("GET", "http://shop.example/?q=x", nil, nil); resp.StatusCode != 200 {
			t.Errorf("benign afterwards: %d", resp.StatusCode)
		}
		if resp, _ := w.do("GET", "http://shop.example/.git/config", nil, nil); resp.StatusCode != 403 {
			t.Errorf("attack afterwards: %d", resp.StatusCode)
		}
	}
}

func TestMultipartPartsAreBounded(t *testing.T) {
	w := newWorld(t, nil, siteAt("shop", "shop.example", echoOrigin(t).URL))
	for parts, want := range map[int]int{maxParts: 200, maxParts + 1: 413} {
		var b strings.Builder
		for i := range parts {
			fmt.Fprintf(&b, "--xyzzy\r\nContent-Disposition: form-data; name=\"f%d\"; filename=\"a.txt\"\r\n\r\nx\r\n", i)
		}
		b.WriteString("--xyzzy--\r\n")
		resp, _ := w.do("POST", "http://shop.example/", map[string]string{"Content-Type": "multipart/form-data; boundary=xyzzy"}, strings.NewReader(b.String()))
		if resp.StatusCode != want {
			t.Errorf("%d parts: %d, want %d", parts, resp.StatusCode, want)
		}
	}
}
