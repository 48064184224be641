package edge

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/dun-sec/dun/internal/kinds/edge"
)

// proxyBlock makes a version 2 header.
func proxyBlock(command, family byte, addresses []byte, tlvs ...[]byte) string {
	body := append([]byte(nil), addresses...)
	for _, t := range tlvs {
		body = append(body, t...)
	}
	b := append([]byte(proxyV2), command, family, byte(len(body)>>8), byte(len(body)))
	return string(append(b, body...))
}

func proxyTLV(kind byte, value []byte) []byte {
	return append([]byte{kind, byte(len(value) >> 8), byte(len(value))}, value...)
}

// summed sets the checksum of a header that ends with an empty CRC32c field.
func summed(s string) string {
	b := []byte(s)
	binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return string(b)
}

var (
	proxyTo4 = []byte{192, 0, 2, 7, 198, 51, 100, 1, 0xdb, 0x03, 0x01, 0xbb}
	proxyTo6 = append(append(netip.MustParseAddr("2001:db8::7").AsSlice(), netip.MustParseAddr("2001:db8::1").AsSlice()...), 0xdb, 0x03, 0x01, 0xbb)
	noSum    = proxyTLV(proxyTLVCRC, make([]byte, 4))
)

type proxyCase struct{ name, data, want string } // want: from>to, "local" or "" for refused

func proxyCases() []proxyCase {
	ends4, ends6 := "192.0.2.7:56067>198.51.100.1:443", "[2001:db8::7]:56067>[2001:db8::1]:443"
	good := summed(proxyBlock(0x21, 0x11, proxyTo4, proxyTLV(0x02, []byte("shop.example")), noSum))
	full := "ffff" + strings.Repeat(":ffff", 7)
	return []proxyCase{
		{"v1 TCP4", "PROXY TCP4 192.0.2.7 198.51.100.1 56067 443\r\n", ends4},
		{"v1 TCP6", "PROXY TCP6 2001:db8::7 2001:db8::1 56067 443\r\n", ends6},
		{"v1 longest TCP6", "PROXY TCP6 " + full + " " + full + " 65535 65535\r\n", "[" + full + "]:65535>[" + full + "]:65535"},
		{"v1 UNKNOWN", "PROXY UNKNOWN\r\n", "local"},
		{"v1 UNKNOWN with more", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "local"},
		{"v1 families mixed", "PROXY TCP4 2001:db8::7 198.51.100.1 1 2\r\n", ""},
		{"v1 port over 65535", "PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n", ""},
		{"v1 leading zero", "PROXY TCP4 192.0.2.7 198.51.100.1 056 443\r\n", ""},
		{"v1 zone", "PROXY TCP6 fe80::1%eth0 2001:db8::1 1 2\r\n", ""},
		{"v1 double space", "PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n", ""},
		{"v1 bare LF", "PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n" + strings.Repeat("x", 100), ""},
		{"v1 lower case", "proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n", ""},
		{"v1 107 bytes", "PROXY UNKNOWN " + strings.Repeat("x", 107-16) + "\r\n", "local"},
		{"v1 108 bytes", "PROXY UNKNOWN " + strings.Repeat("x", 108-16) + "\r\n", ""},
		{"v1 endless", "PROXY TCP4 " + strings.Repeat("1", 4096), ""},
		{"v1 cut", "PROXY TCP4 192.0.2.7 198.51", ""},
		{"v2 TCP4", proxyBlock(0x21, 0x11, proxyTo4), ends4},
		{"v2 TCP6", proxyBlock(0x21, 0x21, proxyTo6), ends6},
		{"v2 TLVs and sum", good, ends4},
		{"v2 wrong sum", good[:len(good)-1] + string(good[len(good)-1]^1), ""},
		{"v2 two sums", summed(proxyBlock(0x21, 0x11, proxyTo4, noSum, noSum)), ""},
		{"v2 sum of 3 bytes", proxyBlock(0x21, 0x11, proxyTo4, proxyTLV(proxyTLVCRC, []byte{1, 2, 3})), ""},
		{"v2 TLV past the end", proxyBlock(0x21, 0x11, proxyTo4, []byte{4, 0, 9, 1}), ""},
		{"v2 TLV head cut", proxyBlock(0x21, 0x11, proxyTo4, []byte{4, 0}), ""},
		{"v2 LOCAL", proxyBlock(0x20, 0x00, nil), "local"},
		{"v2 LOCAL with a block", proxyBlock(0x20, 0x31, []byte("ignored")), "local"},
		{"v2 UDP", proxyBlock(0x21, 0x12, proxyTo4), ""},
		{"v2 UNIX", proxyBlock(0x21, 0x31, make([]byte, 216)), ""},
		{"v2 UNSPEC", proxyBlock(0x21, 0x00, nil), ""},
		{"v2 short addresses", proxyBlock(0x21, 0x11, proxyTo4[:11]), ""},
		{"v2 version 1", proxyBlock(0x11, 0x11, proxyTo4), ""},
		{"v2 unknown command", proxyBlock(0x22, 0x11, proxyTo4), ""},
		{"v2 4 KiB", proxyBlock(0x21, 0x11, proxyTo4, proxyTLV(0x04, make([]byte, 4096-12-3))), ends4},
		{"v2 over 4 KiB", proxyBlock(0x21, 0x11, proxyTo4, proxyTLV(0x04, make([]byte, 4096-12-2))), ""},
		{"v2 cut", proxyBlock(0x21, 0x11, proxyTo4)[:20], ""},
		{"HTTP", "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n", ""},
		{"nothing", "", ""},
	}
}

func TestProxyHeaderIsReadExactly(t *testing.T) {
	for _, tt := range proxyCases() {
		for _, slowly := range []bool{false, true} {
			const next = "\x16\x03\x01 what follows"
			r := bufio.NewReader(strings.NewReader(tt.data + next))
			var from io.Reader = r
			if tt.want == "" {
				from = strings.NewReader(tt.data)
			}
			if slowly {
				from = iotest.OneByteReader(from)
			}
			p, err := readProxy(from)
			got := ""
			switch {
			case err == nil && p == proxied{}:
				got = "local"
			case err == nil:
				got = p.from.String() + ">" + p.to.String()
			}
			if got != tt.want {
				t.Errorf("%s: %q %v, want %q", tt.name, got, err, tt.want)
			}
			if rest, _ := io.ReadAll(r); tt.want != "" && string(rest) != next {
				t.Errorf("%s: left %q", tt.name, rest)
			}
		}
	}
}

// FuzzReadProxy: nothing is read beyond the bound, and how the bytes arrive
// changes nothing.
func FuzzReadProxy(f *testing.F) {
	for _, c := range proxyCases() {
		f.Add([]byte(c.data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		p, err := readProxy(r)
		if used := len(data) - r.Len(); used > 16+proxyBlockMax {
			t.Fatalf("%d bytes read", used)
		}
		again, err2 := readProxy(iotest.OneByteReader(bytes.NewReader(data)))
		if again != p || (err == nil) != (err2 == nil) {
			t.Fatalf("%+v %v, byte by byte %+v %v", p, err, again, err2)
		}
		if err != nil && p != (proxied{}) || err == nil && p.from.IsValid() != p.to.IsValid() || p.from.Addr().Zone() != "" || p.from.Addr().Is4In6() {
			t.Fatalf("%+v %v", p, err)
		}
	})
}

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
