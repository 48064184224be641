package edge

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// frame makes a gRPC message of the fields, each a text.
func frame(flag byte, message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(message))), message...)
}

// field is one field of Protocol Buffers with a length.
func field(number int, value string) []byte {
	b := binary.AppendUvarint(nil, uint64(number)<<3|2)
	return append(binary.AppendUvarint(b, uint64(len(value))), value...)
}

func readFrame(r io.Reader) (string, error) {
	head := make([]byte, grpcHead)
	if _, err := io.ReadFull(r, head); err != nil {
		return "", err
	}
	b := make([]byte, binary.BigEndian.Uint32(head[1:]))
	_, err := io.ReadFull(r, b)
	return string(b), err
}

// grpcOrigin speaks gRPC as its specification says, over HTTP/2 and TLS: it
// echoes each message as it comes and ends with trailers, announced or not.
func grpcOrigin(t *testing.T) edge.Origin {
	ca := newAuthority(t)
	cert, err := ca.Certificate(t.Context(), "grpc.example")
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "application/grpc")
		if r.ProtoMajor != 2 || r.Header.Get("Te") != "trailers" {
			h.Set("Grpc-Status", "13") // trailers only
			h.Set("Grpc-Message", fmt.Sprintf("%s te=%s", r.Proto, r.Header.Get("Te")))
			return
		}
		if r.URL.Path == "/echo.Echo/Fail" {
			h.Set("Grpc-Status", "5")
			return
		}
		rc := http.NewResponseController(w)
		rc.Flush()
		status := "0"
		for {
			m, err := readFrame(r.Body)
			if err == io.EOF {
				break
			}
			if err != nil {
				status = "1"
				break
			}
			w.Write(frame(0, []byte(m)))
			rc.Flush()
		}
		h.Set(http.TrailerPrefix+"Grpc-Status", status)
	}))
	s.EnableHTTP2, s.TLS = true, tlsServer(cert)
	s.StartTLS()
	t.Cleanup(s.Close)
	return edge.Origin{URL: s.URL, CA: ca.pem(), ServerName: "grpc.example"}
}

func grpcWorld(t *testing.T) *world {
	g := grpcOrigin(t)
	make := func(mode string) *resource.Object {
		s := siteObject("acme", mode, *withWAF("", mode+".example", "", mode, 1, 0))
		spec(s).Origins = []edge.Origin{g}
		spec(s).Limits = &edge.Limits{Timeouts: &edge.Timeouts{Request: resource.Duration(time.Second), Idle: resource.Duration(time.Second)}}
		return s
	}
	return newWorld(t, nil, make("block"), make("detect"), make("off"))
}

func grpcCall(t *testing.T, w *world, ctx context.Context, url string, body io.Reader) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, "POST", url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "User-Agent": {"grpc-go/1.70.0"}, "Grpc-Timeout": {"10S"}, "Grpc-Accept-Encoding": {"gzip"}}
	return w.client(true, 0).Do(req)
}

func TestUnaryCallsWorkInEveryMode(t *testing.T) {
	w := grpcWorld(t)
	message := append(field(1, "see you at 5, don't be late"), field(2, string(append(field(1, "nested"), 0x18, 0x00)))...)
	for _, mode := range []string{"block", "detect", "off"} {
		resp, err := grpcCall(t, w, t.Context(), "https://"+mode+".example/echo.Echo/Say", bytes.NewReader(frame(0, message)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := readFrame(resp.Body)
		rest, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 200 || err != nil || got != string(message) || len(rest) != 0 || resp.Trailer.Get("Grpc-Status") != "0" || resp.Header.Get("Content-Type") != "application/grpc" {
			t.Errorf("%s: %d %q %v, trailer %v", mode, resp.StatusCode, got, err, resp.Trailer)
		}
		resp.Body.Close()
		resp, err = grpcCall(t, w, t.Context(), "https://"+mode+".example/echo.Echo/Fail", bytes.NewReader(frame(0, nil)))
		if err != nil || resp.Header.Get("Grpc-Status")+resp.Trailer.Get("Grpc-Status") != "5" {
			t.Errorf("%s: trailers only: %v %+v", mode, err, resp)
		}
		resp.Body.Close()
	}
	if ev := w.events.list(""); len(ev) != 0 {
		t.Errorf("events %+v", ev)
	}
}

func TestAttacksInCallsAreBlocked(t *testing.T) {
	w := grpcWorld(t)
	deep := []byte(sqli)
	for range 5 {
		deep = field(3, string(deep))
	}
	for name, tt := range map[string]struct {
		body  []byte
		where string
	}{
		"field":              {frame(0, field(1, sqli)), "ARGS_POST:grpc.1"},
		"nested":             {frame(0, deep), "ARGS_POST:grpc.3"},
		"second message":     {append(frame(0, field(1, "x")), frame(0, field(7, xss))...), "ARGS_POST:grpc.7"},
		"after a number":     {frame(0, append([]byte{0x08, 0x96, 0x01}, field(2, rce)...)), "ARGS_POST:grpc.2"},
		"no Protocol Buffer": {frame(0, []byte(`{"a":"`+xss+`"}`)), "ARGS_POST:grpc"},
	} {
		w.events.reset()
		resp, err := grpcCall(t, w, t.Context(), "https://block.example/echo.Echo/Say", bytes.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		ev := w.events.list("block")
		if resp.StatusCode != 403 || len(ev) != 1 || !strings.HasPrefix(strings.Replace(ev[0].Rules[0].Where, "ARGS:", "ARGS_POST:", 1), tt.where) {
			t.Errorf("%s: %d %+v", name, resp.StatusCode, ev)
		}
	}
}

func TestWhatOnlyClaimsToBeACallIsRefused(t *testing.T) {
	w := grpcWorld(t)
	for name, tt := range map[string]struct {
		body []byte
		want int
	}{
		"JSON":                {[]byte(`{"a":"b"}`), 400},
		"compressed":          {frame(1, []byte("x")), 400},
		"cut":                 {cut(frame(0, field(1, "hello")), 1), 400},
		"garbage after":       {append(frame(0, nil), 1, 2), 400},
		"1001 texts":          {frame(0, bytes.Repeat(field(1, "a"), 1001)), 403},
		"1000 texts":          {frame(0, bytes.Repeat(field(1, "a"), 1000)), 200},
		"a picture in a call": {frame(0, field(1, string([]byte{0xff, 0xd8, 0xff, 0, 1, 2, 0x80}))), 200},
	} {
		resp, err := grpcCall(t, w, t.Context(), "https://block.example/echo.Echo/Say", bytes.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tt.want {
			t.Errorf("%s: %d, want %d", name, resp.StatusCode, tt.want)
		}
	}
	for _, ctype := range []string{"application/grpc", "application/grpc-web+proto", "application/grpcx"} { // over HTTP/1.1 there is no gRPC
		resp, _ := w.do("POST", "http://block.example/", map[string]string{"Content-Type": ctype}, bytes.NewReader(frame(0, field(1, "hello"))))
		if resp.StatusCode != 403 {
			t.Errorf("%s over HTTP/1.1: %d, want 403", ctype, resp.StatusCode)
		}
	}
}
