package edge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
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
	w := newWorld(t, nil, siteAt("shop", "shop.example", o.URL), own)
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

// upgradeOrigin answers an upgrade and then echoes lines.
func upgradeOrigin(t *testing.T) string {
	return newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || r.Header.Get("Sec-Websocket-Key") == "" {
			http.Error(w, "no upgrade", 400)
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nhello\n")
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				return
			}
			fmt.Fprint(c, "echo "+line)
		}
	}).URL
}

const handshake = "GET /ws HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: x\r\nAccept: */*\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

func TestWebSocketIsJoinedBothWays(t *testing.T) {
	s := siteAt("shop", "shop.example", upgradeOrigin(t))
	w := newWorld(t, nil, s)
	c, err := net.Dial("tcp", w.http)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(c, handshake)
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get(RequestHeader) == "" || resp.Header.Get("Sec-Websocket-Accept") != "x" {
		t.Fatalf("%+v %v", resp, err)
	}
	if line, _ := br.ReadString('\n'); line != "hello\n" {
		t.Errorf("first line %q", line)
	}
	for i := range 3 {
		fmt.Fprintf(c, "bare LF and \x00 %d\n", i) // no HTTP any more: nothing judges framing
		if line, _ := br.ReadString('\n'); line != fmt.Sprintf("echo bare LF and \x00 %d\n", i) {
			t.Errorf("line %q", line)
		}
	}
	w.stop() // ends although the connection is open, and within the drain time
	if rest, err := io.ReadAll(br); err != nil && !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") || len(rest) > 0 {
		t.Errorf("after stop: %q %v", rest, err)
	}
}

func TestIdleWebSocketIsClosed(t *testing.T) {
	s := siteAt("shop", "shop.example", upgradeOrigin(t))
	spec(s).Limits = &edge.Limits{Timeouts: &edge.Timeouts{Idle: resource.Duration(200 * time.Millisecond)}}
	w := newWorld(t, nil, s)
	c, err := net.Dial("tcp", w.http)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(c, handshake)
	b, err := io.ReadAll(c)
	if err != nil || !strings.HasSuffix(string(b), "hello\n") {
		t.Errorf("%q %v", b, err)
	}
}

func TestUpgradeToOtherProtocolsIsNotPassed(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
	})
	w := newWorld(t, nil, siteAt("shop", "shop.example", o.URL))
	for _, proto := range []string{"h2c", "websocket"} {
		if code, _ := w.raw(strings.Replace(handshake, "Upgrade: websocket", "Upgrade: "+proto, 1)); code != 502 {
			t.Errorf("%s: %d, want 502", proto, code)
		}
	}
}

func TestServerSentEventsArriveAtOnce(t *testing.T) {
	next := make(chan struct{})
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		rc := http.NewResponseController(w)
		rc.Flush()
		for i := range 3 {
			<-next
			fmt.Fprintf(w, "data: %d\n\n", i)
			rc.Flush()
		}
	})
	w := newWorld(t, nil, siteAt("shop", "shop.example", o.URL))
	for _, h2 := range []bool{false, true} {
		resp, err := w.client(h2, 0).Get(map[bool]string{false: "http", true: "https"}[h2] + "://shop.example/events")
		if err != nil {
			t.Fatal(err)
		}
		br := bufio.NewReader(resp.Body)
		for i := range 3 {
			next <- struct{}{} // the next event is only sent when the one before has arrived
			line, err := br.ReadString('\n')
			br.ReadString('\n')
			if line != fmt.Sprintf("data: %d\n", i) {
				t.Errorf("h2 %v: %q %v", h2, line, err)
			}
		}
		resp.Body.Close()
	}
}

func TestTrailersPass(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Grpc-Status")
		w.Header().Set("Content-Type", "application/grpc")
		io.WriteString(w, "body")
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"Late", "yes")
	})
	w := newWorld(t, nil, siteObject("acme", "shop", *withWAF("", "shop.example", o.URL, "off", 1, 0)))
	for _, h2 := range []bool{false, true} {
		resp, body := do(t, w.client(h2, 0), "POST", map[bool]string{false: "http", true: "https"}[h2]+"://shop.example/", map[string]string{"Content-Type": "application/grpc", "TE": "trailers"}, strings.NewReader("x"))
		if body != "body" || resp.Trailer.Get("Grpc-Status") != "0" || resp.Trailer.Get("Late") != "yes" {
			t.Errorf("h2 %v: %q trailers %v", h2, body, resp.Trailer)
		}
	}
}

func refusedAddress(t testing.TB) string {
	ln := listen(t)
	defer ln.Close()
	return "http://" + ln.Addr().String()
}

func TestOriginFailures(t *testing.T) {
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	slow := newOrigin(t, func(http.ResponseWriter, *http.Request) { <-hang })
	cut := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
		c, _, _ := http.NewResponseController(w).Hijack()
		c.Close()
	})
	tlsOrigin := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(tlsOrigin.Close)
	waits := siteAt("slow", "slow.example", slow.URL)
	spec(waits).Limits = &edge.Limits{Timeouts: &edge.Timeouts{Origin: resource.Duration(200 * time.Millisecond)}}
	w := newWorld(t, nil, siteAt("down", "down.example", refusedAddress(t)), waits, siteAt("cut", "cut.example", cut.URL), siteAt("tls", "tls.example", tlsOrigin.URL))
	for host, want := range map[string]struct {
		status int
		class  string
	}{"down": {502, "connect"}, "slow": {504, "timeout"}, "cut": {502, "protocol"}, "tls": {502, "tls"}} {
		w.events.reset()
		resp, _ := w.do("GET", "http://"+host+".example/", nil, nil)
		ev := w.events.list("origin")
		if resp.StatusCode != want.status || len(ev) != 1 || ev[0].Attributes["class"] != want.class || ev[0].Attributes["origin"] == "" || ev[0].Attributes["count"] != "1" {
			t.Errorf("%s: %d, events %+v", host, resp.StatusCode, ev)
		}
	}
}

func TestOriginErrorEventsAreCoalesced(t *testing.T) {
	now := time.Now()
	var offset atomic.Int64
	w := newWorld(t, func(o *Options) { o.Now = func() time.Time { return now.Add(time.Duration(offset.Load())) } }, siteAt("down", "down.example", refusedAddress(t)))
	c := w.client(false, 0)
	for range 30 {
		do(t, c, "GET", "http://down.example/", nil, nil)
	}
	offset.Store(int64(time.Second))
	do(t, c, "GET", "http://down.example/", nil, nil)
	ev := w.events.list("origin")
	if len(ev) != 2 || ev[1].Attributes["count"] != "30" {
		t.Errorf("%d events, last %+v", len(ev), ev[len(ev)-1].Attributes)
	}
	if s := w.edge.Stats(); s.Total.OriginErrors != 31 {
		t.Errorf("stats %+v", s.Total)
	}
}

func TestAnotherOriginIsTriedWhenOneIsDown(t *testing.T) {
	up := echoOrigin(t)
	for _, mode := range []string{"block", "off"} {
		s := siteObject("acme", "shop", *withWAF("", "shop.example", "", mode, 1, 0))
		spec(s).Origins = []edge.Origin{{URL: refusedAddress(t), Weight: 1000}, {URL: up.URL, Weight: 1}}
		w := newWorld(t, func(o *Options) { o.bounds.rest = time.Nanosecond }, s)
		for _, method := range []string{"GET", "POST"} {
			for range 10 {
				var body io.Reader
				if method == "POST" {
					body = strings.NewReader(`{"a":1}`)
				}
				resp, text := w.do(method, "http://shop.example/", map[string]string{"Content-Type": "application/json"}, body)
				if resp.StatusCode != 200 || method == "POST" && !strings.Contains(text, "body=7") {
					t.Fatalf("waf %s %s: %d %q", mode, method, resp.StatusCode, text)
				}
			}
		}
	}
}

func TestOriginThatRefusedIsAvoidedForAWhile(t *testing.T) {
	up := echoOrigin(t)
	var dials sync.Map
	now := time.Now()
	var offset atomic.Int64
	s := siteAt("shop", "shop.example", "")
	down := refusedAddress(t)
	spec(s).Origins = []edge.Origin{{URL: down, Weight: 1000}, {URL: up.URL}}
	w := newWorld(t, func(o *Options) {
		o.Now = func() time.Time { return now.Add(time.Duration(offset.Load())) }
		o.Dial = func(string) DialFunc {
			return func(ctx context.Context, network, addr string) (net.Conn, error) {
				n, _ := dials.LoadOrStore("http://"+addr, new(atomic.Int64))
				n.(*atomic.Int64).Add(1)
				return (&net.Dialer{}).DialContext(ctx, network, addr)
			}
		}
	}, s)
	count := func() int64 { n, _ := dials.LoadOrStore(down, new(atomic.Int64)); return n.(*atomic.Int64).Load() }
	for range 50 {
		w.do("GET", "http://shop.example/", nil, nil)
	}
	if n := count(); n != 1 {
		t.Errorf("the origin that is down was dialled %d times, want once", n)
	}
	offset.Store(int64(restAfterFailure))
	for range 50 {
		w.do("GET", "http://shop.example/", nil, nil)
	}
	if n := count(); n != 2 {
		t.Errorf("after the rest it was dialled %d times, want 2", n)
	}
}

func TestWeightsShareTheRequests(t *testing.T) {
	s := &site{origins: []*origin{{upstream: &upstream{}, weight: 3}, {upstream: &upstream{}, weight: 1}}}
	n := map[*origin]int{}
	for range 4000 {
		n[s.choose(time.Now(), nil)]++
	}
	if a := n[s.origins[0]]; a < 2800 || a > 3200 {
		t.Errorf("weights 3:1 gave %d:%d", a, n[s.origins[1]])
	}
	s.origins[0].restUntil.Store(time.Now().Add(time.Hour).UnixNano())
	if s.choose(time.Now(), nil) != s.origins[1] || s.choose(time.Now(), s.origins[1].upstream) != s.origins[0] {
		t.Error("a resting origin is taken last, but taken")
	}
}

func TestOriginTLSIsVerified(t *testing.T) {
	ca := newAuthority(t)
	cert, err := ca.Certificate(t.Context(), "internal.example")
	if err != nil {
		t.Fatal(err)
	}
	o := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
	o.EnableHTTP2 = true
	o.TLS = tlsServer(cert)
	o.StartTLS()
	t.Cleanup(o.Close)
	make := func(name string, g edge.Origin) *resource.Object {
		g.URL = o.URL
		return siteObject("acme", name, edge.SiteSpec{Hosts: []string{name + ".example"}, Origins: []edge.Origin{g}})
	}
	w := newWorld(t, nil, make("good", edge.Origin{CA: ca.pem(), ServerName: "internal.example"}), make("noca", edge.Origin{ServerName: "internal.example"}),
		make("badname", edge.Origin{CA: ca.pem()}), make("garbage", edge.Origin{CA: "nonsense"}))
	for host, want := range map[string]int{"good": 200, "noca": 502, "badname": 502, "garbage": 503} {
		if resp, body := w.do("GET", "http://"+host+".example/", nil, nil); resp.StatusCode != want || want == 200 && body != "HTTP/2.0" {
			t.Errorf("%s: %d %q, want %d", host, resp.StatusCode, body, want)
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

func TestReloadUnderLoadFailsNoRequest(t *testing.T) {
	a, b := echoOrigin(t), echoOrigin(t)
	w := newWorld(t, nil, siteAt("shop", "shop.example", a.URL))
	stop := make(chan struct{})
	var load sync.WaitGroup
	var served atomic.Int64
	for i := range 6 {
		c := w.client(i%2 == 0, 0)
		url := map[bool]string{true: "https", false: "http"}[i%2 == 0] + "://shop.example/x?a=b"
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if resp, body := do(t, c, "GET", url, nil, nil); resp.StatusCode != 200 || !strings.HasPrefix(body, "GET /x") {
					t.Errorf("%d %q", resp.StatusCode, body)
					return
				}
				served.Add(1)
			}
		})
	}
	for i := range 100 {
		s := siteAt("shop", "shop.example", []string{a.URL, b.URL}[i%2])
		spec(s).WAF = &edge.WAF{Paranoia: 1 + i%2}
		w.put(s, banObject("acme", "b", edge.BanSpec{Action: edge.ActionBan, Sources: []string{fmt.Sprintf("192.0.2.%d", i)}}))
		for n := served.Load(); served.Load() < n+3 && !t.Failed(); {
			time.After(0)
		}
	}
	close(stop)
	load.Wait()
	t.Logf("%d requests over 100 reloads", served.Load())
}

func TestThousandSitesShareOneRuleSet(t *testing.T) {
	o := echoOrigin(t)
	var all []*resource.Object
	for i := range 1000 {
		all = append(all, siteAt(fmt.Sprintf("s%d", i), fmt.Sprintf("s%d.example", i), o.URL))
	}
	w := newWorld(t, nil)
	start := time.Now()
	w.put(all...)
	took := time.Since(start)
	if took > time.Second {
		t.Errorf("1000 sites took %v", took)
	}
	t.Logf("1000 sites in %v", took)
	for _, i := range []int{0, 500, 999} {
		for path, want := range map[string]int{"/": 200, "/.git/config": 403} {
			if resp, _ := w.do("GET", fmt.Sprintf("http://s%d.example%s", i, path), nil, nil); resp.StatusCode != want {
				t.Errorf("s%d%s: %d", i, path, resp.StatusCode)
			}
		}
	}
	if n := len(w.edge.pool.all); n != 1 {
		t.Errorf("%d connection pools for one origin", n)
	}
}
