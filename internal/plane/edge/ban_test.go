package edge

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/kinds/edge"
)

func TestBansAndAllowLists(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	past, future := now.Add(-time.Second), now.Add(time.Second)
	ban := func(tenant string, expires *time.Time, sites []string, src ...string) named[*edge.BanSpec] {
		return named[*edge.BanSpec]{tenant, "b", &edge.BanSpec{Action: edge.ActionBan, Sources: src, Sites: sites, Expires: expires}, nil}
	}
	allow := func(tenant string, expires *time.Time, sites []string, src ...string) named[*edge.BanSpec] {
		b := ban(tenant, expires, sites, src...)
		b.spec.Action = edge.ActionAllow
		return b
	}
	shop, other := siteName{"acme", "shop"}, siteName{"beta", "shop"}
	tests := []struct {
		name string
		bans []named[*edge.BanSpec]
		site siteName
		from string
		want bool
	}{
		{"address", []named[*edge.BanSpec]{ban("acme", nil, nil, "203.0.113.7")}, shop, "203.0.113.7", true},
		{"neighbour", []named[*edge.BanSpec]{ban("acme", nil, nil, "203.0.113.7")}, shop, "203.0.113.8", false},
		{"network", []named[*edge.BanSpec]{ban("acme", nil, nil, "203.0.113.0/24")}, shop, "203.0.113.255", true},
		{"ipv6 network", []named[*edge.BanSpec]{ban("acme", nil, nil, "2001:db8:bad::/48")}, shop, "2001:db8:bad:1::5", true},
		{"ipv6 outside", []named[*edge.BanSpec]{ban("acme", nil, nil, "2001:db8:bad::/48")}, shop, "2001:db8:bae::5", false},
		{"v4-mapped source", []named[*edge.BanSpec]{ban("acme", nil, nil, "::ffff:203.0.113.7")}, shop, "203.0.113.7", true},
		{"other tenant", []named[*edge.BanSpec]{ban("acme", nil, nil, "203.0.113.7")}, other, "203.0.113.7", false},
		{"platform", []named[*edge.BanSpec]{ban("platform", nil, nil, "203.0.113.7")}, other, "203.0.113.7", true},
		{"one site", []named[*edge.BanSpec]{ban("acme", nil, []string{"shop"}, "203.0.113.7")}, shop, "203.0.113.7", true},
		{"another site", []named[*edge.BanSpec]{ban("acme", nil, []string{"blog"}, "203.0.113.7")}, shop, "203.0.113.7", false},
		{"expired", []named[*edge.BanSpec]{ban("acme", &past, nil, "203.0.113.7")}, shop, "203.0.113.7", false},
		{"at its end", []named[*edge.BanSpec]{ban("acme", &now, nil, "203.0.113.7")}, shop, "203.0.113.7", false},
		{"not yet expired", []named[*edge.BanSpec]{ban("acme", &future, nil, "203.0.113.7")}, shop, "203.0.113.7", true},
		{"longest of two", []named[*edge.BanSpec]{ban("acme", &future, nil, "203.0.113.7"), ban("acme", &past, nil, "203.0.113.7")}, shop, "203.0.113.7", true},
		{"for ever beats a time", []named[*edge.BanSpec]{ban("acme", nil, nil, "203.0.113.7"), ban("acme", &past, nil, "203.0.113.7")}, shop, "203.0.113.7", true},
		{"allow first", []named[*edge.BanSpec]{ban("acme", nil, nil, "203.0.113.0/24"), allow("acme", nil, nil, "203.0.113.7")}, shop, "203.0.113.7", false},
		{"allow before platform", []named[*edge.BanSpec]{ban("platform", nil, nil, "203.0.113.0/24"), allow("acme", nil, []string{"shop"}, "203.0.113.7")}, shop, "203.0.113.7", false},
		{"allow of another tenant", []named[*edge.BanSpec]{ban("platform", nil, nil, "203.0.113.0/24"), allow("beta", nil, nil, "203.0.113.7")}, shop, "203.0.113.7", true},
		{"allow expired", []named[*edge.BanSpec]{ban("acme", nil, nil, "203.0.113.0/24"), allow("acme", &past, nil, "203.0.113.7")}, shop, "203.0.113.7", true},
		{"unreadable source", []named[*edge.BanSpec]{ban("acme", nil, nil, "nonsense", "203.0.113.7")}, shop, "203.0.113.7", true},
	}
	for _, tt := range tests {
		b := compileBans(tt.bans, slog.New(slog.DiscardHandler))
		if got := b.refused(tt.site, netip.MustParseAddr(tt.from), now); got != tt.want {
			t.Errorf("%s: refused %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestBannedClientGetsThePageAndAnEvent(t *testing.T) {
	o := echoOrigin(t)
	w := newWorld(t, nil, siteAt("shop", "shop.example", o.URL), banObject("acme", "b", edge.BanSpec{Action: edge.ActionBan, Sources: []string{"127.0.0.0/8", "198.51.100.7"}}))
	if resp, _ := w.do("GET", "http://shop.example/", map[string]string{"X-Forwarded-For": "8.8.8.8"}, nil); resp.StatusCode != 403 {
		t.Errorf("status %d", resp.StatusCode)
	}
	ev := w.events.list("ban")
	if len(ev) != 1 || ev[0].Source != "127.0.0.1" || ev[0].Tenant != "acme" || ev[0].Object != "site/shop" || ev[0].Action != "blocked" {
		t.Errorf("events %+v", ev)
	}
	w.put(banObject("acme", "a", edge.BanSpec{Action: edge.ActionAllow, Sources: []string{"127.0.0.1"}}))
	if resp, _ := w.do("GET", "http://shop.example/", nil, nil); resp.StatusCode != 200 {
		t.Errorf("allowed: status %d", resp.StatusCode)
	}
	if resp, _ := w.do("GET", "http://shop.example/.git/config", nil, nil); resp.StatusCode != 403 {
		t.Errorf("an allow entry switched the firewall off: %d", resp.StatusCode)
	}
	// A dual-stack socket shows IPv4 clients as mapped addresses.
	for _, from := range []string{"[::ffff:198.51.100.7]:999", "198.51.100.7:999"} {
		r := httptest.NewRequest("GET", "http://shop.example/", nil)
		r.RequestURI, r.RemoteAddr = "/", from
		rec := httptest.NewRecorder()
		w.edge.Handler().ServeHTTP(rec, r)
		if rec.Code != http.StatusForbidden {
			t.Errorf("%s: %d", from, rec.Code)
		}
	}
}

func BenchmarkBanLookup(b *testing.B) {
	var all []named[*edge.BanSpec]
	for i := range 100000 {
		all = append(all, named[*edge.BanSpec]{"acme", "x", &edge.BanSpec{Action: edge.ActionBan, Sources: []string{fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)}}, nil})
	}
	t := compileBans(all, slog.New(slog.DiscardHandler))
	now, from := time.Now(), netip.MustParseAddr("192.0.2.9")
	for b.Loop() {
		t.refused(siteName{"acme", "shop"}, from, now)
	}
}
