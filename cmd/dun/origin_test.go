package main

import (
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/console"
	"github.com/dun-sec/dun/internal/core/dial"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/text"
)

// TestAnOriginIsTriedAsTheEdgeWould uses the site's name and authority, and
// says in both languages what is wrong.
func TestAnOriginIsTriedAsTheEdgeWould(t *testing.T) {
	host := ""
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { host = r.Host; fmt.Fprint(w, "shop") })
	clear, secure := httptest.NewServer(h), httptest.NewTLSServer(h)
	t.Cleanup(clear.Close)
	t.Cleanup(secure.Close)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + ln.Addr().String()
	ln.Close()
	try := originTest((&dial.Dialer{}).For)
	a, err := try(t.Context(), "platform", console.Origin{URL: secure.URL, CA: ca, ServerName: "example.com", Host: "shop.test"})
	if err != nil || a.Status != 200 || a.TLSName != "example.com" || host != "shop.test" {
		t.Errorf("%+v %v, host %q", a, err, host)
	}
	for what, c := range map[string]struct {
		tenant string
		o      console.Origin
		words  string
	}{
		"no authority": {"platform", console.Origin{URL: secure.URL}, "spec.origins.ca"}, "another name": {"platform", console.Origin{URL: secure.URL, CA: ca, ServerName: "other.test"}, "serverName"},
		"no TLS there": {"platform", console.Origin{URL: strings.Replace(clear.URL, "http:", "https:", 1)}, "http://"}, "nobody": {"platform", console.Origin{URL: nobody}, "nobody listens"},
		"a private address for a tenant": {"acme", console.Origin{URL: clear.URL}, "originNetworks"}, "no authority in PEM": {"platform", console.Origin{URL: secure.URL, CA: "x"}, "PEM"},
	} {
		_, err := try(t.Context(), c.tenant, c.o)
		d := fault.Of(err).Detail
		if err == nil || !strings.Contains(d.En, c.words) || d.In(text.Chinese) == d.En {
			t.Errorf("%s: %v", what, err)
		}
	}
}
