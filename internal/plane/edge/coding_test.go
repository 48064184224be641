package edge

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"

	"github.com/dun-sec/dun/internal/kinds/edge"
)

// coded compresses as the test's name of the coding says.
func coded(t testing.TB, coding string, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zlib":
		w = zlib.NewWriter(&b)
	case "raw":
		w, _ = flate.NewWriter(&b, 6)
	case "br":
		w = brotli.NewWriterLevel(&b, 9)
	}
	w.Write(plain)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var codingNames = map[string]string{"gzip": "gzip", "zlib": "deflate", "raw": "deflate", "br": "br"}

// gotOrigin remembers the last request.
type gotOrigin struct {
	header  http.Header
	length  int64
	body    string
	reached int
}

func codingWorld(t *testing.T) (*world, *gotOrigin) {
	got := &gotOrigin{}
	o := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		*got = gotOrigin{r.Header.Clone(), r.ContentLength, string(b), got.reached + 1}
	})
	block, small := siteAt("shop", "shop.example", o.URL), siteAt("small", "small.example", o.URL)
	spec(small).Limits = &edge.Limits{Body: 8 << 10}
	return newWorld(t, nil, block, small,
		siteObject("acme", "seen", *withWAF("", "seen.example", o.URL, "detect", 1, 0)),
		siteObject("acme", "open", *withWAF("", "open.example", o.URL, "off", 1, 0))), got
}

func TestCodedBodiesAreDecodedBeforeTheyAreJudged(t *testing.T) {
	w, got := codingWorld(t)
	good := []byte(`{"name":"` + strings.Repeat("shoes and socks ", 500) + `"}`)
	bad := []byte(`{"name":"1' OR '1'='1' UNION SELECT password FROM users-- -"}`)
	for form, name := range codingNames {
		for _, h2 := range []bool{false, true} {
			for _, inChunks := range []bool{false, true} {
				what := fmt.Sprintf("%s h2=%v chunked=%v", form, h2, inChunks)
				send := func(plain []byte) int {
					var r io.Reader = bytes.NewReader(coded(t, form, plain))
					if inChunks {
						r = chunked{r}
					}
					base := map[bool]string{false: "http", true: "https"}[h2] + "://shop.example/api"
					resp, _ := do(t, w.client(h2, 0), "POST", base, map[string]string{"Content-Type": "application/json", "Content-Encoding": name, "Content-Digest": "sha-256=:x:"}, r)
					return resp.StatusCode
				}
				if code := send(good); code != 200 || got.body != string(good) || got.length != int64(len(good)) || got.header["Content-Encoding"] != nil || got.header["Content-Digest"] != nil {
					t.Errorf("%s: %d, origin got %d bytes, length %d, header %v", what, code, len(got.body), got.length, got.header)
				}
				before := got.reached
				if code := send(bad); code != 403 || got.reached != before {
					t.Errorf("%s: an attack got %d", what, code)
				}
			}
		}
	}
	if m, d := w.edge.spools.inMem.Load(), w.edge.spools.onDisk.Load(); m != 0 || d != 0 {
		t.Errorf("%d bytes of memory and %d of disk were not given back", m, d)
	}
}

func TestCodedBodiesThatAreRefused(t *testing.T) {
	w, got := codingWorld(t)
	zeros := make([]byte, 10<<20)
	bomb := coded(t, "gzip", zeros)
	good := coded(t, "gzip", []byte(`{"a":1}`))
	for _, tt := range []struct {
		name, host, coding string
		body               []byte
		want               int
		class              string
	}{
		{"gzip bomb", "shop", "gzip", bomb, 413, "ratio"},
		{"zlib bomb", "shop", "deflate", coded(t, "zlib", zeros), 413, "ratio"},
		{"brotli bomb", "shop", "br", coded(t, "br", zeros), 413, "ratio"},
		{"nested, said twice", "shop", "gzip, gzip", coded(t, "gzip", bomb), 415, "coding"},
		{"over the site's limit", "small", "gzip", coded(t, "gzip", zeros[:9<<10]), 413, "body"},
		{"many empty members", "small", "gzip", bytes.Repeat(coded(t, "gzip", nil), 1000), 413, "body"},
		{"zstd", "shop", "zstd", good, 415, "coding"},
		{"compress", "shop", "compress", good, 415, "coding"},
		{"two codings", "shop", "gzip, br", good, 415, "coding"},
		{"cut gzip", "shop", "gzip", good[:len(good)-3], 400, "coding"},
		{"cut in the header", "shop", "gzip", good[:5], 400, "coding"},
		{"cut zlib", "shop", "deflate", cut(coded(t, "zlib", zeros[:100]), 2), 400, "coding"},
		{"cut raw", "shop", "deflate", cut(coded(t, "raw", zeros[:100]), 2), 400, "coding"},
		{"cut brotli", "shop", "br", cut(coded(t, "br", []byte("a few words here")), 2), 400, "coding"},
		{"garbage after gzip", "shop", "gzip", append(bytes.Clone(good), "GET /"...), 400, "coding"},
		{"garbage after zlib", "shop", "deflate", append(coded(t, "zlib", []byte("{}")), 'x'), 400, "coding"},
		{"garbage after raw", "shop", "deflate", append(coded(t, "raw", []byte("{}")), 'x'), 400, "coding"},
		{"garbage after brotli", "shop", "br", append(coded(t, "br", []byte("{}")), 'x'), 400, "coding"},
		{"wrong sum", "shop", "gzip", flip(good, len(good)-8), 400, "coding"},
		{"not gzip at all", "shop", "gzip", []byte(`{"a":"1"}`), 400, "coding"},
	} {
		w.events.reset()
		before := got.reached
		head := map[string]string{"Content-Type": "application/json", "Content-Encoding": tt.coding}
		resp, _ := w.do("POST", "http://"+tt.host+".example/", head, bytes.NewReader(tt.body))
		ev := w.events.list("limit")
		if resp.StatusCode != tt.want || got.reached != before || len(ev) != 1 || ev[0].Attributes["class"] != tt.class {
			t.Errorf("%s: %d, events %+v, want %d %s", tt.name, resp.StatusCode, ev, tt.want, tt.class)
		}
		if tt.want == 415 && resp.Header.Get("Accept-Encoding") != codings {
			t.Errorf("%s: the answer does not say what is accepted", tt.name)
		}
	}
}

func cut(b []byte, n int) []byte { return b[:len(b)-n] }

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

func TestDetectAndOffPassWhatBlockRefuses(t *testing.T) {
	w, got := codingWorld(t)
	bomb := coded(t, "gzip", make([]byte, 4<<20))
	for _, tt := range []struct {
		coding string
		body   []byte
		class  string
	}{{"gzip", bomb, "ratio"}, {"zstd", []byte("(\xb5/\xfd"), "coding"}, {"gzip", []byte("nonsense"), "coding"}} {
		for _, host := range []string{"seen", "open"} {
			w.events.reset()
			resp, _ := w.do("POST", "http://"+host+".example/", map[string]string{"Content-Type": "application/json", "Content-Encoding": tt.coding}, bytes.NewReader(tt.body))
			if resp.StatusCode != 200 || got.body != string(tt.body) || got.header.Get("Content-Encoding") != tt.coding {
				t.Errorf("%s %s: %d, origin got %d of %d bytes as %q", host, tt.class, resp.StatusCode, len(got.body), len(tt.body), got.header.Get("Content-Encoding"))
			}
			ev := w.events.list("limit")
			if host == "open" && len(ev) != 0 || host == "seen" && (len(ev) != 1 || ev[0].Attributes["class"] != tt.class || ev[0].Action != "detected") {
				t.Errorf("%s %s: events %+v", host, tt.class, ev)
			}
		}
	}
	w.do("POST", "http://seen.example/", map[string]string{"Content-Type": "application/json", "Content-Encoding": "gzip"}, bytes.NewReader(coded(t, "gzip", []byte(`{"a":"<script>alert(1)</script>"}`))))
	if ev := w.events.list("block"); len(ev) != 1 || ev[0].Action != "detected" || got.header["Content-Encoding"] != nil {
		t.Errorf("an attack in detect mode: %+v", ev)
	}
}

func TestIdentityIsNoCoding(t *testing.T) {
	w, got := codingWorld(t)
	resp, _ := w.do("POST", "http://shop.example/", map[string]string{"Content-Type": "application/json", "Content-Encoding": "identity"}, strings.NewReader("{}"))
	if resp.StatusCode != 200 || got.body != "{}" || got.header["Content-Encoding"] != nil {
		t.Errorf("%d %+v", resp.StatusCode, got)
	}
}

// FuzzDecode: no coded body makes the decoder give more than its bounds, fail
// with an unknown error or keep what it reserved.
func FuzzDecode(f *testing.F) {
	for form := range codingNames {
		f.Add(codingNames[form], coded(f, form, []byte(strings.Repeat("hello ", 50))))
	}
	g := &engine{limits: bounds{inspection: time.Minute, wait: time.Minute}, slots: make(chan struct{}, 1), heavy: make(chan struct{}, 1)}
	budget := &spoolBudget{dir: f.TempDir(), memory: 64 << 20, disk: 64 << 20}
	f.Fuzz(func(t *testing.T, coding string, data []byte) {
		name, err := contentCoding([]string{coding})
		if err != nil || name == "" {
			return
		}
		raw, plain, chunk := &spool{budget: budget}, &spool{budget: budget}, make([]byte, copySize)
		if err := raw.fill(bytes.NewReader(data), 1<<20, chunk); err != nil {
			return
		}
		err = g.decode(t.Context(), name, raw, plain, 2<<20, chunk)
		if n := plain.size(); n > max(ratioFree, codingRatio*int64(len(data))) || n > 2<<20 {
			t.Fatalf("%d bytes became %d", len(data), n)
		}
		if err != nil && !errors.Is(err, errCoded) && !errors.Is(err, errRatio) && !errors.Is(err, errTooLarge) {
			t.Fatal(err)
		}
		raw.close()
		plain.close()
		if budget.inMem.Load() != 0 || budget.onDisk.Load() != 0 || len(g.slots) != 0 || len(g.heavy) != 0 {
			t.Fatal("something was kept")
		}
	})
}
