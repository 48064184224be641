package edge

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/resource"
)

func TestEveryRequestIsRefusedBeforeTheFirstSync(t *testing.T) {
	w := newWorld(t, nil)
	if resp, _ := w.do("GET", "http://shop.example/", nil, nil); resp.StatusCode != 503 {
		t.Errorf("status %d, want 503", resp.StatusCode)
	}
	s := siteAt("shop", "shop.example", echoOrigin(t).URL)
	w.feed.deliver(resource.Batch{Changes: []resource.Change{{Ref: s.Ref(), Object: s}}})
	if resp, _ := w.do("GET", "http://shop.example/", nil, nil); resp.StatusCode != 503 {
		t.Errorf("unsynced: status %d, want 503", resp.StatusCode)
	}
	if rev, ok := w.edge.Enforced(); ok || rev != 0 {
		t.Errorf("Enforced %d %v before sync", rev, ok)
	}
	w.feed.deliver(resource.Batch{Synced: true})
	if resp, _ := w.do("GET", "http://shop.example/", nil, nil); resp.StatusCode != 200 {
		t.Errorf("synced: status %d, want 200", resp.StatusCode)
	}
	w.feed.deliver(resource.Batch{})
	if rev, ok := w.edge.Enforced(); !ok || rev != 3 {
		t.Errorf("Enforced %d %v, want 3 true: a batch without changes counts", rev, ok)
	}
}

func TestResetKeepsTheOldSnapshotUntilSynced(t *testing.T) {
	o := echoOrigin(t)
	w := newWorld(t, nil, siteAt("a", "a.example", o.URL))
	b := siteAt("b", "b.example", o.URL)
	w.feed.deliver(resource.Batch{Reset: true, Changes: []resource.Change{{Ref: b.Ref(), Object: b}}})
	if resp, _ := w.do("GET", "http://a.example/", nil, nil); resp.StatusCode != 200 {
		t.Errorf("during reset: %d", resp.StatusCode)
	}
	if rev, _ := w.edge.Enforced(); rev != 1 {
		t.Errorf("enforced %d during reset, want 1", rev)
	}
	w.feed.deliver(resource.Batch{Synced: true})
	for host, code := range map[string]int{"a.example": 421, "b.example": 200} {
		if resp, _ := w.do("GET", "http://"+host+"/", nil, nil); resp.StatusCode != code {
			t.Errorf("after reset %s: %d, want %d", host, resp.StatusCode, code)
		}
	}
}

func TestSitesAreFoundByHost(t *testing.T) {
	o := echoOrigin(t)
	w := newWorld(t, nil,
		siteAt("exact", "www.example.com", o.URL), siteAt("wild", "*.example.com", o.URL),
		siteAt("ip4", "192.0.2.1", o.URL), siteAt("ip6", "2001:db8::1", o.URL),
	)
	for host, want := range map[string]string{
		"www.example.com": "exact", "WWW.Example.COM": "exact", "www.example.com.": "exact", "www.example.com:8080": "exact", "www.example.com.:80": "exact",
		"shop.example.com": "wild", "a.b.example.com": "421", "example.com": "421", "evil.test": "421",
		"192.0.2.1": "ip4", "192.0.2.1:8080": "ip4", "[2001:db8::1]": "ip6", "[2001:DB8:0::1]:443": "ip6", "[2001:db8::2]": "421",
		"www.example.com:99999": "400", "www..example.com": "400", "a b": "400", "www.example.com/x": "400", "user@www.example.com": "400",
	} {
		before := w.edge.Stats()
		code, _ := w.raw("GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n")
		got := ""
		for name, n := range w.edge.Stats().Sites {
			if n.Requests > before.Sites[name].Requests {
				got = strings.TrimPrefix(name, "acme/")
			}
		}
		if got == "" {
			got = http.StatusText(code)
			for _, c := range []string{"400", "421"} {
				if c == want && code == map[string]int{"400": 400, "421": 421}[c] {
					got = want
				}
			}
		}
		if got != want {
			t.Errorf("%q: %s (%d), want %s", host, got, code, want)
		}
	}
}

func TestRequestIDIsOnEveryAnswerAndReachesTheOrigin(t *testing.T) {
	var seen string
	s := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Get(RequestHeader)
		w.Header().Set("Dun-Fake", "1")
	})
	w := newWorld(t, nil, siteAt("shop", "shop.example", s.URL))
	before := time.Now().Add(-time.Millisecond)
	resp, _ := w.do("GET", "http://shop.example/", map[string]string{RequestHeader: "forged", "Dun-Anything": "x"}, nil)
	got := resp.Header.Get(RequestHeader)
	at, node, ok := id.ParseRequest(got)
	if !ok || node != 7 || at.Before(before.Truncate(time.Millisecond)) || time.Since(at) > time.Minute {
		t.Errorf("request id %q: %v node %d ok %v", got, at, node, ok)
	}
	if seen != got {
		t.Errorf("the origin saw %q, the client %q", seen, got)
	}
	if resp.Header.Get("Dun-Fake") != "" {
		t.Error("a Dun- header of the origin got through")
	}
	for _, url := range []string{"http://nobody.example/", "http://shop.example/.git/config"} {
		if resp, _ := w.do("GET", url, nil, nil); resp.Header.Get(RequestHeader) == "" {
			t.Errorf("%s: no request id", url)
		}
	}
}
