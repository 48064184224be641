package edge

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

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
