package edge

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/kinds/edge"
)

// seenFrom is an origin that answers with what it was told of the client.
func seenFrom(t *testing.T) string {
	return newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s", strings.Join(r.Header["X-Forwarded-For"], "|"), r.Header.Get("X-Forwarded-Proto"))
	}).URL
}

func proxyWorld(t *testing.T) *world {
	w := newWorld(t, func(o *Options) {
		o.ProxyProtocol = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
		o.bounds.proxyWait = 300 * time.Millisecond
	}, siteAt("shop", "shop.example", seenFrom(t)))
	w.put(banObject("acme", "bad", edge.BanSpec{Sources: []string{"192.0.2.66"}}))
	return w
}

// introduce connects from local, sends the pieces one by one and reads one answer.
func introduce(t *testing.T, addr, local string, pieces ...string) string {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	for _, p := range pieces {
		if _, err := io.WriteString(c, p); err != nil {
			break
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "closed"
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 {
		return resp.Status[:3]
	}
	return string(b)
}

func TestConnectionsFromProxiesBeginWithTheirHeader(t *testing.T) {
	w := proxyWorld(t)
	const get = "GET / HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: x\r\nAccept: */*\r\nX-Forwarded-For: 8.8.8.8\r\nConnection: close\r\n\r\n"
	v2 := proxyBlock(0x21, 0x11, proxyTo4)
	banned := append([]byte{192, 0, 2, 66}, proxyTo4[4:]...)
	for _, tt := range []struct {
		name, local string
		pieces      []string
		want        string
	}{
		{"v1", "127.0.0.1", []string{"PROXY TCP4 192.0.2.7 198.51.100.1 56067 443\r\n" + get}, "192.0.2.7 http"},
		{"v2", "127.0.0.1", []string{v2 + get}, "192.0.2.7 http"},
		{"v2 TCP6", "127.0.0.1", []string{proxyBlock(0x21, 0x21, proxyTo6), get}, "2001:db8::7 http"},
		{"v2 byte by byte", "127.0.0.1", strings.Split(v2+get, ""), "192.0.2.7 http"},
		{"v2 LOCAL", "127.0.0.1", []string{proxyBlock(0x20, 0, nil) + get}, "127.0.0.1 http"},
		{"banned client", "127.0.0.1", []string{proxyBlock(0x21, 0x11, banned) + get}, "403"},
		{"no header", "127.0.0.1", []string{get}, "closed"},
		{"too late", "127.0.0.1", []string{v2[:20]}, "closed"},
		{"nothing", "127.0.0.1", nil, "closed"},
		{"header twice", "127.0.0.1", []string{v2 + v2 + get}, "400"},
		{"stranger, none", "127.0.0.2", []string{get}, "127.0.0.2 http"},
		{"stranger, v1", "127.0.0.2", []string{"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n" + get}, "400"},
		{"stranger, v2", "127.0.0.2", []string{v2 + get}, "400"},
	} {
		if got := introduce(t, w.http, tt.local, tt.pieces...); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	ban := w.events.list("ban")
	if len(ban) != 1 || ban[0].Source != "192.0.2.66" {
		t.Errorf("ban events %+v", ban)
	}
	found := false
	for _, e := range w.events.list("limit") {
		found = found || e.Attributes["class"] == "proxyProtocol" && e.Source == "127.0.0.1"
	}
	if !found {
		t.Errorf("no event tells of the bad headers: %+v", w.events.list("limit"))
	}
}

func TestTLSBehindProxyProtocol(t *testing.T) {
	w := proxyWorld(t)
	for _, h2 := range []bool{false, true} {
		c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: w.ca.pool()}, ForceAttemptHTTP2: h2,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}).DialContext(ctx, network, w.https)
				if err == nil {
					_, err = io.WriteString(c, proxyBlock(0x21, 0x21, proxyTo6, proxyTLV(0x04, make([]byte, 300))))
				}
				return c, err
			},
		}}
		resp, body := do(t, c, "GET", "https://shop.example/", nil, nil)
		if want := map[bool]int{false: 1, true: 2}[h2]; resp.ProtoMajor != want || body != "2001:db8::7 https" {
			t.Errorf("h2 %v: %s %q", h2, resp.Proto, body)
		}
		c.CloseIdleConnections()
	}
	if got := introduce(t, w.https, "127.0.0.2", proxyBlock(0x21, 0x11, proxyTo4)); got != "closed" {
		t.Errorf("a stranger's header before TLS: %q", got)
	}
}

func TestStopEndsConnectionsThatWaitForTheirHeader(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.ProxyProtocol = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		o.bounds.proxyWait = time.Hour
	})
	c, err := net.Dial("tcp", w.http)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "PROXY ")
	start := time.Now()
	w.stop()
	if d := time.Since(start); d > drainTimeout {
		t.Errorf("stop took %v", d)
	}
}
