package edge

import (
	"bufio"
	"errors"
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
