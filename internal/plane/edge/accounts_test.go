package edge

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/usage"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// TestEachSiteAnswersForWhatItTook counts requests, refusals and bytes of two
// sites, once each.
func TestEachSiteAnswersForWhatItTook(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		fmt.Fprint(rw, strings.Repeat("x", 1000))
	}))
	t.Cleanup(origin.Close)
	w := newWorld(t, nil,
		siteObject("platform", "shop", edge.SiteSpec{Hosts: []string{"shop.test"}, Origins: []edge.Origin{{URL: origin.URL}}}),
		siteObject("platform", "blog", edge.SiteSpec{Hosts: []string{"blog.test"}, Origins: []edge.Origin{{URL: origin.URL}}}))
	w.edge.Usage()
	text := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	for range 3 {
		w.do("POST", "http://shop.test/", text, strings.NewReader("a="+strings.Repeat("y", 98)))
	}
	w.do("GET", "http://shop.test/?id=1%27%20OR%201=1--", nil, nil)
	w.do("GET", "http://blog.test/", nil, nil)
	got := map[string]usage.Sum{}
	for _, x := range w.edge.Usage() {
		got[x.Tenant+"/"+x.Site] = x.Sum
	}
	shop, blog := got["platform/shop"], got["platform/blog"]
	if shop.Requests != 4 || shop.Blocks != 1 || shop.In != 300 || shop.Out < 3000 || shop.CPU == 0 {
		t.Errorf("%+v", shop)
	}
	if blog.Requests != 1 || blog.Blocks != 0 || blog.In != 0 || blog.Out != 1000 {
		t.Errorf("%+v", blog)
	}
	if again := w.edge.Usage(); len(again) != 0 {
		t.Errorf("told twice: %+v", again)
	}
	w.edge.Owe([]usage.Entry{{Tenant: "platform", Site: "shop", Sum: shop}})
	if back := w.edge.Usage(); len(back) != 1 || back[0].Sum != shop {
		t.Errorf("what could not be kept: %+v", back)
	}
}
