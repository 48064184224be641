package edge

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

func TestBodyLimitHoldsExactly(t *testing.T) {
	o := echoOrigin(t)
	const limit = 200 << 10 // past memoryBody, so that the file counts too
	var sites []*resource.Object
	for _, mode := range []string{"block", "detect", "off"} {
		s := siteObject("acme", mode, *withWAF("", mode+".example", o.URL, mode, 1, 0))
		spec(s).Limits = &edge.Limits{Body: limit}
		sites = append(sites, s)
	}
	w := newWorld(t, nil, sites...)
	for _, mode := range []string{"block", "detect", "off"} {
		for _, inChunks := range []bool{false, true} {
			for _, h2 := range []bool{false, true} {
				for extra, want := range map[int]int{0: 200, 1: 413} {
					w.events.reset()
					ctype, body := sizedUpload(t, limit+extra)
					var r io.Reader = bytes.NewReader(body)
					if inChunks {
						r = chunked{r}
					}
					scheme := map[bool]string{false: "http://", true: "https://"}[h2]
					resp, text := do(t, w.client(h2, 0), "POST", scheme+mode+".example/up", map[string]string{"Content-Type": ctype}, r)
					if resp.StatusCode != want || want == 200 && !strings.Contains(text, fmt.Sprintf("body=%d", limit)) {
						t.Errorf("%s chunked=%v h2=%v limit%+d: %d %q, want %d", mode, inChunks, h2, extra, resp.StatusCode, text, want)
					}
					if n := len(w.events.list("limit")); n != extra {
						t.Errorf("%s chunked=%v limit%+d: %d events", mode, inChunks, extra, n)
					}
				}
			}
		}
	}
	if m, d := w.edge.spools.inMem.Load(), w.edge.spools.onDisk.Load(); m != 0 || d != 0 {
		t.Errorf("%d bytes of memory and %d of disk were not given back", m, d)
	}
}

// sizedUpload makes a multipart upload of exactly n bytes.
func sizedUpload(t testing.TB, n int) (string, []byte) {
	t.Helper()
	head := "--xyzzy\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n"
	tail := "\r\n--xyzzy--\r\n"
	b := append([]byte(head), make([]byte, n-len(head)-len(tail))...)
	rand.Read(b[len(head):])
	return "multipart/form-data; boundary=xyzzy", append(b, tail...)
}

func TestUploadReachesTheOriginByteForByteAndLeavesNothingBehind(t *testing.T) {
	var got [32]byte
	var length int64
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		io.Copy(h, r.Body)
		got, length = [32]byte(h.Sum(nil)), r.ContentLength
	})
	dir := t.TempDir()
	rules, err := compileRules(filepath.Join(dir)) // the engine's own files go to dir too
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(o *Options) { o.TempDir, o.rules = dir, rules }, siteAt("shop", "shop.example", o.URL))
	for _, size := range []int{1, memoryBody, memoryBody + 1, 1 << 20} {
		size = max(size, 300)
		ctype, body := sizedUpload(t, size)
		for _, inChunks := range []bool{false, true} {
			var r io.Reader = bytes.NewReader(body)
			if inChunks {
				r = chunked{r}
			}
			resp, _ := w.do("POST", "http://shop.example/up", map[string]string{"Content-Type": ctype}, r)
			if resp.StatusCode != 200 || got != sha256.Sum256(body) || length != int64(size) {
				t.Errorf("%d bytes, chunked %v: status %d, hash equal %v, length %d", size, inChunks, resp.StatusCode, got == sha256.Sum256(body), length)
			}
		}
	}
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("left behind: %s", path)
		}
		return err
	})
}

func TestNewEmptiesItsSpoolDirectory(t *testing.T) {
	dir := t.TempDir()
	os.MkdirAll(filepath.Join(dir, "edge-bodies"), 0o700)
	left := filepath.Join(dir, "edge-bodies", "crzmp123")
	writeFile(t, left, "x")
	keep := filepath.Join(dir, "records.db")
	writeFile(t, keep, "x")
	rules, err := sharedRules()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), Options{TempDir: dir, rules: rules}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("a left-over was kept")
	}
	if _, err := os.Stat(keep); err != nil {
		t.Error("a stranger's file was removed")
	}
}

func TestSpoolBudgetRefusesAndIsGivenBack(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.bounds.spoolMemory, o.bounds.spoolDisk = 8<<10, 64<<10 }, siteAt("shop", "shop.example", echoOrigin(t).URL))
	for range 3 {
		for size, want := range map[int]int{4 << 10: 200, 9 << 10: 503} {
			ctype, body := sizedUpload(t, size)
			if resp, _ := w.do("POST", "http://shop.example/", map[string]string{"Content-Type": ctype}, bytes.NewReader(body)); resp.StatusCode != want {
				t.Errorf("%d bytes: %d, want %d", size, resp.StatusCode, want)
			}
		}
	}
	if n := len(w.events.list("limit")); n != 1 {
		t.Errorf("%d events, want 1 a second", n)
	}
}
