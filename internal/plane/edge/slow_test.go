package edge

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// trickle sends n bytes in pieces, one at each tick.
type trickle struct {
	left, piece int
	tick        *time.Ticker
}

func (r *trickle) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	<-r.tick.C
	n := min(r.piece, r.left, len(p))
	for i := range n {
		p[i] = 'x'
	}
	r.left -= n
	return n, nil
}

func TestBodyBelowTheLeastRateIsAnsweredWith408(t *testing.T) {
	t.Parallel()
	o := echoOrigin(t)
	w := newWorld(t, func(o *Options) { o.bounds.bodyGrace, o.bounds.bodyRate = 400*time.Millisecond, 1000 },
		siteAt("block", "block.example", o.URL), siteObject("acme", "off", *withWAF("", "off.example", o.URL, "off", 1, 0)))
	for _, mode := range []string{"block", "off"} {
		for _, h2 := range []bool{false, true} {
			for _, tt := range []struct {
				name         string
				total, piece int
				want         int
			}{
				{"200 B/s", 1000, 10, 408},
				{"2000 B/s for longer than the grace", 2000, 100, 200},
			} {
				w.events.reset()
				tick := time.NewTicker(50 * time.Millisecond)
				what := fmt.Sprintf("%s, waf %s, h2 %v", tt.name, mode, h2)
				start := time.Now()
				resp, body := do(t, w.client(h2, 0), "POST", map[bool]string{false: "http", true: "https"}[h2]+"://"+mode+".example/", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, &trickle{tt.total, tt.piece, tick})
				tick.Stop()
				ev := w.events.list("limit")
				if resp.StatusCode != tt.want || tt.want == 408 && (len(ev) != 1 || ev[0].Attributes["class"] != "slowBody") || tt.want == 200 && !strings.Contains(body, "body=2000") {
					t.Errorf("%s: %d %q after %v, events %+v", what, resp.StatusCode, body, time.Since(start), ev)
				}
				if d := time.Since(start); tt.want == 408 && (d < 400*time.Millisecond || d > 5*time.Second) {
					t.Errorf("%s: cut after %v", what, d)
				}
			}
		}
	}
}

// TestOriginThatReadsSlowlyIsNotTheClientsFault: bytes that lie here because the
// origin does not take them are not late.
func TestOriginThatReadsSlowlyIsNotTheClientsFault(t *testing.T) {
	t.Parallel()
	const size = 6 << 20 // more than the sockets hold
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		io.ReadFull(r.Body, make([]byte, 1))
		<-time.After(2 * time.Second)
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n+1)
	})
	w := newWorld(t, func(o *Options) { o.bounds.bodyGrace, o.bounds.bodyRate = time.Second, size },
		siteObject("acme", "off", *withWAF("", "off.example", o.URL, "off", 1, 0)))
	for _, scheme := range []string{"http", "https"} {
		resp, body := do(t, w.client(true, 0), "POST", scheme+"://off.example/", nil, strings.NewReader(strings.Repeat("x", size)))
		if resp.StatusCode != 200 || body != strconv.Itoa(size) {
			t.Errorf("%s: %d %q", scheme, resp.StatusCode, body)
		}
	}
}

func TestClientThatDoesNotReadIsCut(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
		b := make([]byte, 1<<20)
		for range 64 {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	})
	s := siteAt("shop", "shop.example", o.URL)
	spec(s).Limits = &edge.Limits{Timeouts: &edge.Timeouts{Idle: resource.Duration(300 * time.Millisecond)}}
	w := newWorld(t, nil, s)
	c, err := net.Dial("tcp", w.http)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: x\r\nAccept: */*\r\n\r\n")
	resp, err := w.client(true, 0).Get("https://shop.example/") // nobody reads the body
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 200") {
		t.Fatalf("%q %v", line, err)
	}
	for deadline := time.Now().Add(10 * time.Second); w.edge.flights.Load() != 0; {
		if time.Now().After(deadline) {
			t.Fatalf("%d requests are still held", w.edge.flights.Load())
		}
		if resp, _ := w.do("HEAD", "http://shop.example/", nil, nil); resp.StatusCode != 200 {
			t.Errorf("another client: %d", resp.StatusCode)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// TestSlowhttptestDoesNotStopTheService runs a real attacker in the three ways
// that hold connections, all at once, while a second client goes on.
func TestSlowhttptestDoesNotStopTheService(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	attacker, err := exec.LookPath("slowhttptest")
	if err != nil {
		t.Fatal("slowhttptest is not installed; make test installs it")
	}
	big := strings.Repeat("x", 1<<20)
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/big" {
			io.WriteString(w, big)
		}
	})
	w := newWorld(t, nil, siteAt("ip", "127.0.0.1", o.URL))
	dir := t.TempDir()
	ended := make(chan error, 3)
	for _, mode := range []string{"-H", "-B", "-X"} {
		path := map[string]string{"-X": "/big"}[mode]
		cmd := exec.CommandContext(t.Context(), attacker, mode, "-g", "-o", filepath.Join(dir, mode[1:]), "-c", "300", "-r", "60", "-l", "8", "-i", "1", "-p", "3", "-s", "8192", "-w", "10", "-y", "20", "-n", "1", "-z", "5", "-u", "http://"+w.http+path)
		go func() {
			out, err := cmd.CombinedOutput()
			if err != nil {
				err = fmt.Errorf("%s: %w: %s", mode, err, out)
			}
			ended <- err
		}()
	}
	served, worst := 0, time.Duration(0)
	c := w.client(false, 0)
	for left := 3; left > 0; {
		select {
		case err := <-ended:
			if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
				t.Error(err)
			}
			left--
		case <-time.After(20 * time.Millisecond):
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+w.http+"/", nil)
		req.Header = http.Header{"User-Agent": {"x"}, "Accept": {"*/*"}}
		c.CloseIdleConnections() // a new connection each time
		start := time.Now()
		resp, err := c.Do(req)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("the second client: %v %+v", err, resp)
		}
		resp.Body.Close()
		cancel()
		served, worst = served+1, max(worst, time.Since(start))
	}
	t.Logf("%d requests of the second client, the slowest took %v", served, worst)
	for _, mode := range []string{"H", "B", "X"} {
		reachable(t, filepath.Join(dir, mode+".csv"))
	}
}

// reachable reads what the attacker's own probe saw at each second.
func reachable(t *testing.T, file string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil || len(rows) < 3 {
		t.Fatalf("%s: %d rows, %v", file, len(rows), err)
	}
	t.Logf("%s: %v, last %v", filepath.Base(file), rows[0], rows[len(rows)-1])
	for _, r := range rows[1:] {
		if up := strings.TrimSpace(r[len(r)-1]); up == "0" {
			t.Errorf("%s: not reachable at %v", filepath.Base(file), r)
		}
	}
}

// TestBodyIsLeftAloneAfterItsRequest: transports may read a body when the
// handler is gone; the server's HTTP/2 code crashes on deadlines set then.
func TestBodyIsLeftAloneAfterItsRequest(t *testing.T) {
	late := make(chan *bodyStream, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := &request{edge: &Edge{bounds: bounds{}.withDefaults()}, r: r, rc: http.NewResponseController(w), site: &site{request: time.Minute}}
		b := &bodyStream{from: q.paced(r.Body), left: 1 << 20}
		defer func() { late <- b }()
		defer b.from.leave()
		b.Read(make([]byte, 1))
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	resp, err := s.Client().Post(s.URL, "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	b := <-late
	b.Read(make([]byte, 1))
	b.from.clear()
	if resp.ProtoMajor != 2 {
		t.Errorf("%s", resp.Proto)
	}
}
