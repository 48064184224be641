package edge

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/kinds/edge"
)

func withWAF(name, host, origin, mode string, paranoia, threshold int) *edge.SiteSpec {
	return &edge.SiteSpec{Hosts: []string{host}, Origins: []edge.Origin{{URL: origin}}, WAF: &edge.WAF{Mode: mode, Paranoia: paranoia, Threshold: threshold}}
}

func TestParanoiaLevelsChangeVerdicts(t *testing.T) {
	o := echoOrigin(t)
	w := newWorld(t, nil)
	hosts := []string{"", "pl1.example", "pl2.example", "pl3.example", "pl4.example"}
	for pl := 1; pl <= 4; pl++ {
		w.put(siteObject("acme", hosts[pl][:3], *withWAF("", hosts[pl], o.URL, "block", pl, 3)))
	}
	c := w.client(false, 0)
	seen := map[int]int{}
	for _, p := range []string{
		"/?q=1'%20OR%20'1'='1", // an attack: level 1
		"/?q=a%2Cb%2Cc",        // level 2
		"/?q=50%25",            // level 3
		"/?q=wow%21",           // any character but the plainest: level 4
	} {
		for pl := 1; pl <= 4; pl++ {
			resp, _ := do(t, c, "GET", "http://"+hosts[pl]+p, nil, nil)
			if resp.StatusCode == 403 {
				seen[pl]++
			}
		}
	}
	if !(seen[1] < seen[2] && seen[2] < seen[3] && seen[3] < seen[4]) {
		t.Errorf("blocked by level: %v, want each level to block more", seen)
	}
}

func TestSettingsOfOneSiteDoNotLeakIntoAnother(t *testing.T) {
	o := echoOrigin(t)
	w := newWorld(t, nil,
		siteObject("acme", "strict", *withWAF("", "strict.example", o.URL, "block", 4, 1)),
		siteObject("acme", "loose", *withWAF("", "loose.example", o.URL, "block", 1, 1000)),
		siteObject("acme", "watched", *withWAF("", "watched.example", o.URL, "detect", 4, 1)),
		siteObject("acme", "open", *withWAF("", "open.example", o.URL, "off", 4, 1)),
	)
	want := map[string]int{"strict.example": 403, "loose.example": 200, "watched.example": 200, "open.example": 200}
	var all sync.WaitGroup
	for host, code := range want {
		c := w.client(false, 0)
		for range 4 {
			all.Go(func() {
				for range 15 {
					resp, _ := do(t, c, "GET", "http://"+host+"/?q=1'%20OR%20'1'='1", nil, nil)
					if resp.StatusCode != code {
						t.Errorf("%s: %d, want %d", host, resp.StatusCode, code)
					}
				}
			})
		}
	}
	all.Wait()
	for _, e := range w.events.list("") {
		switch e.Object {
		case "site/strict":
			if e.Kind != "block" || e.Action != "blocked" {
				t.Fatalf("strict: %s %s", e.Kind, e.Action)
			}
		case "site/watched":
			if e.Kind != "block" || e.Action != "detected" || len(e.Rules) == 0 {
				t.Fatalf("watched: %s %s %v", e.Kind, e.Action, e.Rules)
			}
		default:
			t.Fatalf("event of %s: %+v", e.Object, e)
		}
	}
	s := w.edge.Stats()
	if got := s.Sites["acme/strict"]; got.Requests != 60 || got.Blocked != 60 {
		t.Errorf("strict counted %+v", got)
	}
	if got := s.Sites["acme/watched"]; got.Detected != 60 || got.Blocked != 0 {
		t.Errorf("watched counted %+v", got)
	}
	if s.Total.Requests != 240 {
		t.Errorf("total %+v", s.Total)
	}
}

func TestThresholdChangesVerdict(t *testing.T) {
	o := echoOrigin(t)
	w := newWorld(t, nil,
		siteObject("acme", "five", *withWAF("", "five.example", o.URL, "block", 1, 0)),
		siteObject("acme", "six", *withWAF("", "six.example", o.URL, "block", 1, 6)),
	)
	c := w.client(false, 0)
	// One critical rule, 930130, five points.
	for host, code := range map[string]int{"five.example": 403, "six.example": 200} {
		if resp, _ := do(t, c, "GET", "http://"+host+"/.git/config", nil, nil); resp.StatusCode != code {
			t.Errorf("%s: %d, want %d", host, resp.StatusCode, code)
		}
	}
}

func TestExclusionsAreAsNarrowAsTheySay(t *testing.T) {
	o := echoOrigin(t)
	past, future := time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	const attack = "text=%3Cscript%3Ealert(1)%3C/script%3E"
	w := newWorld(t, nil,
		siteAt("shop", "shop.example", o.URL), siteAt("other", "other.example", o.URL),
	)
	all := func(x edge.ExclusionSpec) edge.ExclusionSpec { x.Tag = "attack-xss"; x.Site = "shop"; return x }
	tests := []struct {
		name string
		x    edge.ExclusionSpec
		url  string
		want int
	}{
		{"tag", all(edge.ExclusionSpec{}), "http://shop.example/?" + attack, 200},
		{"tag, other attack", all(edge.ExclusionSpec{}), "http://shop.example/?f=../../../etc/passwd", 403},
		{"tag, other site", all(edge.ExclusionSpec{}), "http://other.example/?" + attack, 403},
		{"rule", edge.ExclusionSpec{Site: "shop", Rule: 930130}, "http://shop.example/.git/config", 200},
		{"rule, other rule", edge.ExclusionSpec{Site: "shop", Rule: 930130}, "http://shop.example/?" + attack, 403},
		{"route", all(edge.ExclusionSpec{Route: "/c/*"}), "http://shop.example/c/1?" + attack, 200},
		{"route, elsewhere", all(edge.ExclusionSpec{Route: "/c/*"}), "http://shop.example/d/1?" + attack, 403},
		{"route, segment", all(edge.ExclusionSpec{Route: "/c"}), "http://shop.example/cd?" + attack, 403},
		{"route, below", all(edge.ExclusionSpec{Route: "/c"}), "http://shop.example/c/d?" + attack, 200},
		{"route, itself", all(edge.ExclusionSpec{Route: "/c"}), "http://shop.example/c?" + attack, 200},
		{"route, dots", all(edge.ExclusionSpec{Route: "/c/*"}), "http://shop.example/c/%2e%2e/d?" + attack, 403},
		{"route, escaped slash", all(edge.ExclusionSpec{Route: "/c/*"}), "http://shop.example/c/..%2fd?" + attack, 403},
		{"route, parameter", all(edge.ExclusionSpec{Route: "/c/*"}), "http://shop.example/c/..;/d?" + attack, 403},
		{"argument", all(edge.ExclusionSpec{Argument: "ARGS:text"}), "http://shop.example/?" + attack, 200},
		{"argument, other", all(edge.ExclusionSpec{Argument: "ARGS:text"}), "http://shop.example/?x" + attack, 403},
		{"argument, case", all(edge.ExclusionSpec{Argument: "ARGS:TEXT"}), "http://shop.example/?" + attack, 200},
		{"not expired", all(edge.ExclusionSpec{Expires: &future}), "http://shop.example/?" + attack, 200},
		{"expired", all(edge.ExclusionSpec{Expires: &past}), "http://shop.example/?" + attack, 403},
		{"scoring rule", edge.ExclusionSpec{Site: "shop", Rule: 949110}, "http://shop.example/?" + attack, 403},
		{"unknown tag", edge.ExclusionSpec{Site: "shop", Tag: "nothing"}, "http://shop.example/?" + attack, 403},
		{"unknown variable", all(edge.ExclusionSpec{Argument: "NOTHING:x"}), "http://shop.example/?" + attack, 403},
	}
	c := w.client(false, 0)
	for _, tt := range tests {
		x := exclusionObject("x", tt.x)
		w.put(x)
		if resp, _ := do(t, c, "GET", tt.url, nil, nil); resp.StatusCode != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, resp.StatusCode, tt.want)
		}
		w.remove(x.Ref())
	}
	if resp, _ := do(t, c, "GET", "http://shop.example/?"+attack, nil, nil); resp.StatusCode != http.StatusForbidden {
		t.Errorf("after all exclusions are gone: %d", resp.StatusCode)
	}
}
