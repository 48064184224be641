package agent

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/plane/edge"
)

var errElsewhere = errors.New("dialled elsewhere")

// TestTheCanarysOriginIsThereForItsTenantAndWhileATryLasts: nobody else gets an
// answer of this process in place of an origin.
func TestTheCanarysOriginIsThereForItsTenantAndWhileATryLasts(t *testing.T) {
	var o canaryOrigin
	dial := o.before(func(string) edge.DialFunc {
		return func(context.Context, string, string) (net.Conn, error) { return nil, errElsewhere }
	})
	host, end := o.open("marker")
	for _, tt := range []struct{ tenant, addr string }{
		{"acme", host + ":80"}, {"platform", host + ":80"}, {edge.CanaryTenant, host + ":443"}, {edge.CanaryTenant, "192.0.2.1:80"}, {edge.CanaryTenant, ":80"},
	} {
		if _, err := dial(tt.tenant)(t.Context(), "tcp", tt.addr); !errors.Is(err, errElsewhere) {
			t.Errorf("%s %s: %v", tt.tenant, tt.addr, err)
		}
	}
	for path, class := range map[string]string{pathMarked: "production-user", pathPlain: ""} {
		c, err := dial(edge.CanaryTenant)(t.Context(), "tcp", host+":80")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != "marker" || resp.Header.Get(edge.ClassHeader) != class || resp.Header.Get("Dun-Canary") != "marker" {
			t.Errorf("%s: %v %q %v", path, resp.Header, body, err)
		}
		c.Close()
	}
	end()
	if _, err := dial(edge.CanaryTenant)(t.Context(), "tcp", host+":80"); !errors.Is(err, errElsewhere) {
		t.Errorf("after the try: %v", err)
	}
	if !strings.HasSuffix(host, ".invalid") {
		t.Error(host)
	}
}
