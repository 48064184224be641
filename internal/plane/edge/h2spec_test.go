package edge

import (
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestH2spec runs the conformance suite of HTTP/2 against the TLS door. The
// program is pinned in tools/go.mod.
func TestH2spec(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	const enough = 141
	program := filepath.Join(t.TempDir(), "h2spec")
	out, err := exec.CommandContext(t.Context(), "go", "-C", "../../../tools", "build", "-o", program, "github.com/summerwind/h2spec/cmd/h2spec").CombinedOutput()
	if err != nil {
		t.Fatalf("build h2spec: %v: %s", err, out)
	}
	static := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, strings.Repeat("static ", 200)) // some tests need an answer of a few hundred bytes
	})
	// A judged request needs the header of a browser, which h2spec does not send.
	w := newWorld(t, nil, siteObject("acme", "ip", *withWAF("", "127.0.0.1", static.URL, "off", 1, 0)))
	_, port, _ := net.SplitHostPort(w.https)
	out, _ = exec.CommandContext(t.Context(), program, "--host", "127.0.0.1", "--port", port, "--tls", "--insecure", "--timeout", "2").CombinedOutput()
	text := string(out)
	sum := regexp.MustCompile(`(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed`).FindStringSubmatch(text)
	if sum == nil {
		t.Fatalf("h2spec gave no summary:\n%s", text)
	}
	passed, _ := strconv.Atoi(sum[2])
	t.Log(sum[0])
	if _, failures, ok := strings.Cut(text, "Failures:"); ok {
		t.Log(failures)
	}
	if passed < enough {
		t.Errorf("%s, want %d passed", sum[0], enough)
	}
}
