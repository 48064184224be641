package edge

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestAFaultBehindAGoodRequestEndsTheConnectionAfterItsAnswer(t *testing.T) {
	w := newWorld(t, nil, siteAt("shop", "shop.example", echoOrigin(t).URL))
	good := "GET /a HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: x\r\nAccept: */*\r\n\r\n"
	for _, pause := range []bool{false, true} {
		c, err := net.Dial("tcp", w.http)
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(5 * time.Second))
		br := bufio.NewReader(c)
		bad := "GET /b HTTP/1.1\nHost: shop.example\n\n" + good
		if pause {
			io.WriteString(c, good)
		} else {
			io.WriteString(c, good+good+bad)
		}
		want := []int{200, 200, 400}
		for i, code := range want {
			if pause && i > 0 {
				if i == 1 {
					io.WriteString(c, good)
				} else {
					io.WriteString(c, bad)
				}
			}
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				// The error may have cancelled the request before it (pipelining).
				if !pause {
					break
				}
				t.Fatalf("answer %d: %v", i, err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != code && pause {
				t.Errorf("pause %v, answer %d: %d, want %d", pause, i, resp.StatusCode, code)
			}
			if resp.StatusCode == 400 {
				break
			}
		}
		if rest, _ := io.ReadAll(br); len(rest) > 0 {
			t.Errorf("pause %v: after the refusal came %q", pause, rest)
		}
		c.Close()
	}
}

func TestWireScanFollowsSplitsAnywhere(t *testing.T) {
	good := "\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcPOST /c HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3;x\r\n\n\n\n\r\n0\r\nT: v\r\n\r\nGET / HTTP/1.0\r\n\r\n"
	for size := 1; size < len(good); size++ {
		var w wireScan
		for rest := []byte(good); len(rest) > 0; {
			n := min(size, len(rest))
			if safe, err := w.scan(rest[:n]); err != nil || safe != n {
				t.Fatalf("pieces of %d at %q: %d %v", size, rest, safe, err)
			}
			rest = rest[n:]
		}
		if w.state != wireHead || w.lines != 0 {
			t.Fatalf("pieces of %d: state %d lines %d at the end", size, w.state, w.lines)
		}
	}
	var w wireScan
	bad := good + "GET / HTTP/1.1\nX: y\r\n\r\n"
	if safe, err := w.scan([]byte(bad)); err == nil || safe != len(good) {
		t.Errorf("safe %d of %d, %v", safe, len(good), err)
	}
}

// FuzzWireScan: whatever passes the scan, net/http must see the same requests
// in it; and the outcome does not depend on how the bytes arrive.
func FuzzWireScan(f *testing.F) {
	for _, s := range smuggling {
		f.Add([]byte(s.data), 3)
	}
	f.Fuzz(func(t *testing.T, data []byte, split int) {
		var one, two wireScan
		safe, err := one.scan(data)
		if safe < 0 || safe > len(data) || err == nil && safe != len(data) {
			t.Fatalf("safe %d of %d, %v", safe, len(data), err)
		}
		if split > 0 && split < len(data) {
			_, e1 := two.scan(data[:split])
			if e1 == nil {
				_, e1 = two.scan(data[split:])
			}
			if (e1 == nil) != (err == nil) {
				t.Fatalf("whole: %v, split at %d: %v", err, split, e1)
			}
		}
		if len(one.line) > lineKept {
			t.Fatalf("kept %d bytes of a line", len(one.line))
		}
		if err != nil || one.state != wireHead || one.lines != 0 {
			return
		}
		// Complete messages without fault: net/http must agree where they end.
		br := bufio.NewReader(bytes.NewReader(data))
		for {
			for { // the scan skips empty lines between messages
				b, perr := br.Peek(2)
				if perr != nil || string(b) != "\r\n" {
					break
				}
				br.Discard(2)
			}
			if _, perr := br.Peek(1); perr != nil {
				return
			}
			r, rerr := http.ReadRequest(br)
			if rerr != nil {
				return // net/http is stricter here; it refuses by itself
			}
			if strings.HasPrefix(r.Method, "PRI") {
				return
			}
			if _, cerr := io.Copy(io.Discard, r.Body); cerr != nil {
				if strings.Contains(cerr.Error(), "unexpected EOF") {
					t.Fatalf("net/http waits for more of %q", data)
				}
				return
			}
		}
	})
}
