package edge

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// passSite passes pass.example through to an address.
func passSite(p *edge.PassThrough, origins ...string) *resource.Object {
	s := siteObject("acme", "pass", edge.SiteSpec{Hosts: []string{"pass.example"}, PassThrough: p})
	for _, o := range origins {
		spec(s).Origins = append(spec(s).Origins, edge.Origin{URL: "https://" + o})
	}
	return s
}

// hello is a ClientHello for a name, as one record.
func hello(t testing.TB, name string) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		tls.Client(client, &tls.Config{ServerName: name}).Handshake()
		client.Close()
	}()
	b := make([]byte, 16<<10)
	n, err := server.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// records cuts the handshake message of one record into records of size bytes.
func records(record []byte, size int) []byte {
	var out []byte
	for body := record[5:]; len(body) > 0; {
		n := min(size, len(body))
		out = append(out, record[0], record[1], record[2], byte(n>>8), byte(n))
		out = append(out, body[:n]...)
		body = body[n:]
	}
	return out
}

// drain is an origin that reads to the end and answers what came.
func drain(t *testing.T) (addr string, connections *atomic.Int64) {
	t.Helper()
	ln := listen(t)
	t.Cleanup(func() { ln.Close() })
	connections = new(atomic.Int64)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			go func() {
				defer c.Close()
				h := sha256.New()
				n, _ := io.Copy(h, c)
				fmt.Fprintf(c, "%d %x", n, h.Sum(nil))
			}()
		}
	}()
	return ln.Addr().String(), connections
}

func (w *world) knock(t *testing.T) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", w.https)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c.(*net.TCPConn)
}

func TestPassThroughLeavesTLSToTheOrigin(t *testing.T) {
	ca := newAuthority(t)
	cert, err := ca.Certificate(t.Context(), "pass.example")
	if err != nil {
		t.Fatal(err)
	}
	o := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "from the origin over ", r.Proto) }))
	o.EnableHTTP2, o.TLS = true, tlsServer(cert)
	o.StartTLS()
	t.Cleanup(o.Close)
	w := newWorld(t, nil, passSite(&edge.PassThrough{}, o.Listener.Addr().String()), siteAt("shop", "shop.example", echoOrigin(t).URL))
	c := w.client(true, 0)
	c.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: ca.pool()} // who signs for the edge is not trusted
	if resp, body := do(t, c, "GET", "https://pass.example/?a=1%27%20OR%201=1--", nil, nil); resp.StatusCode != 200 || body != "from the origin over HTTP/2.0" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	if resp, _ := do(t, w.client(true, 0), "GET", "https://shop.example/", nil, nil); resp.StatusCode != 200 {
		t.Errorf("the site beside it: %d", resp.StatusCode)
	}
	// Nothing of it is served by other ways: in clear, nor under another name.
	if resp, _ := w.do("GET", "http://pass.example/", nil, nil); resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("in clear: %d", resp.StatusCode)
	}
	if resp, _ := do(t, w.client(true, 0), "GET", "https://shop.example/", map[string]string{"Host": "pass.example"}, nil); resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("under another server name: %d", resp.StatusCode)
	}
	if s := w.edge.Stats().Sites["acme/pass"]; s.Requests != 1 || s.Blocked != 0 {
		t.Errorf("%+v", s)
	}
}

func TestPassThroughCarriesBytesUntouched(t *testing.T) {
	addr, _ := drain(t)
	w := newWorld(t, nil, passSite(&edge.PassThrough{}, addr))
	one := hello(t, "pass.example")
	noise := make([]byte, 300<<10)
	rand.NewChaCha8([32]byte{1}).Read(noise)
	for name, first := range map[string][]byte{"one record": one, "records of 7 bytes": records(one, 7), "records of one byte": records(one, 1)} {
		c := w.knock(t)
		sent := sha256.New()
		for _, b := range first { // each byte a segment of its own
			if _, err := c.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		sent.Write(first)
		c.Write(noise)
		sent.Write(noise)
		c.CloseWrite() // half closed, the answer must still come
		got, err := io.ReadAll(c)
		if want := fmt.Sprintf("%d %x", len(first)+len(noise), sent.Sum(nil)); err != nil || string(got) != want {
			t.Errorf("%s: the origin saw %q, sent %q (%v)", name, got, want, err)
		}
	}
}

func TestPassThroughIntroducesTheClient(t *testing.T) {
	ln := listen(t)
	t.Cleanup(func() { ln.Close() })
	told := make(chan proxied, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		p, err := readProxy(c)
		if err != nil {
			t.Error(err)
		}
		b := make([]byte, 3)
		io.ReadFull(c, b)
		if !bytes.Equal(b, []byte{22, 3, 1}) {
			t.Errorf("after the header comes %x", b)
		}
		told <- p
	}()
	w := newWorld(t, nil, passSite(&edge.PassThrough{ProxyProtocol: true}, ln.Addr().String()))
	c := w.knock(t)
	c.Write(hello(t, "pass.example"))
	if p := <-told; p.from.String() != c.LocalAddr().String() || p.to.String() != w.https {
		t.Errorf("told %v", p)
	}
	for _, a := range []string{"192.0.2.1:1", "[2001:db8::1]:65535"} {
		for _, b := range []string{"192.0.2.2:443", "[2001:db8::2]:443"} {
			from, to := netip.MustParseAddrPort(a), netip.MustParseAddrPort(b)
			p, err := readProxy(bytes.NewReader(proxyHeader(from, to)))
			if err != nil || p.from != from || p.to != to {
				t.Errorf("%s %s: %v %v", a, b, p, err)
			}
		}
	}
}

// refused sends a hello and says which alert comes back; 0 = none within the
// time, and the connection stays open.
func refused(t *testing.T, c *net.TCPConn) byte {
	t.Helper()
	c.Write(hello(t, "pass.example"))
	c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	b, err := io.ReadAll(c)
	if errors.Is(err, io.EOF) || err == nil {
		if len(b) != 7 || b[0] != 21 {
			t.Fatalf("closed with %x", b)
		}
		return b[6]
	}
	return 0
}

func TestBansAndLimitsHoldForWhatIsPassedThrough(t *testing.T) {
	addr, reached := drain(t)
	now := time.Now()
	s := passSite(&edge.PassThrough{Connections: 3}, addr)
	spec(s).Limits = &edge.Limits{Concurrency: 2}
	w := newWorld(t, func(o *Options) { o.Now = func() time.Time { return now } }, s)
	open := []*net.TCPConn{w.knock(t), w.knock(t)}
	for _, c := range open {
		if a := refused(t, c); a != 0 {
			t.Fatalf("alert %d", a)
		}
	}
	for range 3 {
		if a := refused(t, w.knock(t)); a != alertDenied {
			t.Errorf("a third connection of one client: alert %d", a)
		}
	}
	ev := w.events.list("limit")
	if len(ev) != 1 || ev[0].Attributes["class"] != "concurrency" || ev[0].Attributes["count"] != "1" || ev[0].Tenant != "acme" || ev[0].Source != "127.0.0.1" {
		t.Errorf("%+v", ev)
	}
	if s := w.edge.Stats().Sites["acme/pass"]; s.Requests != 5 || s.Blocked != 3 || reached.Load() != 2 {
		t.Errorf("%+v, %d reached the origin", s, reached.Load())
	}
	// A ban ends what lasts, and refuses what comes.
	w.put(banObject("acme", "bad", edge.BanSpec{Sources: []string{"127.0.0.1"}}))
	open[0].SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := open[0].Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a banned client stays connected: %v", err)
	}
	w.events.reset()
	if a := refused(t, w.knock(t)); a != alertDenied || len(w.events.list("ban")) != 1 {
		t.Errorf("a banned client: alert %d, events %+v", a, w.events.list(""))
	}
	for deadline := time.Now().Add(10 * time.Second); w.edge.tally.site(siteName{"acme", "pass"}).connections.Load() != 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("connections are not given back")
		}
	}
	w.put(banObject("acme", "bad", edge.BanSpec{Sources: []string{"192.0.2.1"}}), func() *resource.Object {
		s := passSite(&edge.PassThrough{Connections: 1}, addr)
		spec(s).Limits = &edge.Limits{Rate: &edge.Rate{Requests: 2, Per: resource.Duration(time.Hour)}}
		return s
	}())
	w.events.reset()
	first := w.knock(t)
	for i, want := range []byte{0, alertDenied, alertDenied} {
		c := first
		if i > 0 {
			c = w.knock(t)
		}
		if a := refused(t, c); a != want {
			t.Errorf("connection %d: alert %d", i, a)
		}
	}
	var classes []string
	for _, e := range w.events.list("limit") {
		classes = append(classes, e.Attributes["class"])
	}
	if fmt.Sprint(classes) != "[connections]" {
		t.Errorf("%v", classes)
	}
}

func TestAPassedConnectionEndsWhenNothingMoves(t *testing.T) {
	addr, _ := drain(t)
	s := passSite(&edge.PassThrough{}, addr)
	spec(s).Limits = &edge.Limits{Timeouts: &edge.Timeouts{Idle: resource.Duration(50 * time.Millisecond)}}
	w := newWorld(t, nil, s)
	c := w.knock(t)
	c.Write(hello(t, "pass.example"))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("it goes on")
	}
}

func TestAPassedConnectionGoesToAnotherOriginWhenOneIsDown(t *testing.T) {
	addr, reached := drain(t)
	down := refusedAddress(t)[len("http://"):]
	s := passSite(&edge.PassThrough{}, down, addr)
	spec(s).Origins[0].Weight = 1000
	w := newWorld(t, nil, s)
	for range 5 {
		if a := refused(t, w.knock(t)); a != 0 {
			t.Errorf("alert %d", a)
		}
	}
	if reached.Load() != 5 {
		t.Errorf("%d reached the origin", reached.Load())
	}
	w.put(passSite(&edge.PassThrough{}, down))
	for range 2 * edge.DefaultFailures {
		if a := refused(t, w.knock(t)); a != alertInternal {
			t.Errorf("without an origin: alert %d", a)
		}
	}
	classes := map[string]bool{}
	for _, e := range w.events.list("origin") {
		classes[e.Attributes["class"]] = true
	}
	if !classes["connect"] || !classes["breaker"] {
		t.Errorf("%v", classes)
	}
}

func FuzzHello(f *testing.F) {
	one := hello(f, "pass.example")
	f.Add(one, uint8(1))
	f.Add(records(one, 3), uint8(200))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint8(3))
	f.Add(bytes.Repeat([]byte{22, 3, 1, 0, 1, 1}, 4000), uint8(255))
	f.Fuzz(func(t *testing.T, data []byte, piece uint8) {
		c := &scripted{data: data, piece: int(piece) + 1}
		name, found, read := peekHello(t.Context(), c)
		if len(read) > maxHello || !bytes.HasPrefix(data, read) || len(name) > 255 && found {
			t.Fatalf("%q %v, read %d of %d bytes", name, found, len(read), len(data))
		}
		again, err := io.ReadAll(&replayed{Conn: c, first: read})
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("what was read does not come again: %d of %d bytes", len(again), len(data))
		}
	})
}

// scripted is a connection from which the data comes in pieces.
type scripted struct {
	net.Conn
	data  []byte
	piece int
}

func (s *scripted) Read(p []byte) (int, error) {
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.piece)], s.data)
	s.data = s.data[n:]
	return n, nil
}

func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }
func (s *scripted) SetDeadline(time.Time) error      { return nil }
func (s *scripted) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *scripted) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
