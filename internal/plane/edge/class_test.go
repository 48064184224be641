package edge

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/data"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

func classObject(name string, level int, parent string) *resource.Object {
	return &resource.Object{Kind: "DataClass", Metadata: resource.Metadata{Tenant: "platform", Name: name}, Spec: &data.DataClassSpec{Title: name, Level: level, Parent: parent}}
}

// classed is a site that gives out data of a class, "" = it does not say.
func classed(o *resource.Object, class string) *resource.Object {
	c := *o
	if class != "" {
		c.Metadata.Labels = map[string]string{resource.LabelClass: class}
	}
	return &c
}

func someClasses() []*resource.Object {
	return []*resource.Object{classObject("public", 1, ""), classObject("staff", 2, ""), classObject("wages", 2, "secret"), classObject("secret", 3, ""), classObject("production", 4, "")}
}

const marker = "what may not leave"

// markedOrigin answers with the marks that the path names, and counts.
func markedOrigin(t *testing.T) (url string, asked *atomic.Int64) {
	asked = new(atomic.Int64)
	return newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("X-Secret", marker)
		for _, m := range strings.Split(r.URL.Query().Get("as"), ",") {
			if m != "" {
				w.Header().Add(ClassHeader, strings.TrimSpace(strings.ReplaceAll(m, "none", "")))
			}
		}
		switch r.URL.Path {
		case "/busy":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/stream":
			w.Header().Set("Content-Type", "text/event-stream")
		case "/hints":
			w.Header().Set("Link", "</a.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del("Link")
		case "/trailer":
			w.Header().Set("Trailer", ClassHeader)
		}
		io.WriteString(w, marker)
		if r.URL.Path == "/trailer" {
			w.Header().Set(ClassHeader, "production")
			w.Header().Set(http.TrailerPrefix+"Dun-Late", "production")
		}
	}).URL, asked
}

// TestAnswersAboveTheSiteStay is control 1-1 at the edge's door.
func TestAnswersAboveTheSiteStay(t *testing.T) {
	url, _ := markedOrigin(t)
	w := newWorld(t, nil, someClasses()...)
	for _, tt := range []struct {
		site, as string
		told     string // class in the event; "" = it leaves
	}{
		{"", "", ""}, {"", "production", ""}, {"", "nonsense", ""},
		{"staff", "", ""}, {"staff", "public", ""}, {"staff", "staff", ""}, {"staff", "staff,staff", ""},
		{"staff", "secret", "secret"}, {"staff", "production", "production"},
		{"staff", "wages", "wages"}, // no lower than what it is part of
		{"staff", "nonsense", classUnknown}, {"staff", "none", classUnknown}, {"staff", "Staff", classUnknown},
		{"staff", "public,staff", classSeveral}, {"staff", "staff,public", classSeveral},
		{"production", "nonsense", ""}, {"production", "public,staff", ""}, {"production", "production", ""},
		{"gone", "", ""}, {"gone", "public", "public"}, {"gone", "nonsense", classUnknown},
	} {
		s := classed(siteAt("shop", "shop.example", url), tt.site)
		spec(s).Traffic = &edge.Traffic{Breaker: &edge.Breaker{Off: true}} // it is busy often
		w.put(s)
		for _, how := range []struct{ scheme, method, path string }{
			{"http", "GET", "/"}, {"https", "GET", "/"}, {"http", "HEAD", "/"}, {"https", "HEAD", "/"}, {"https", "POST", "/"}, {"http", "GET", "/stream"}, {"http", "GET", "/busy"}, {"http", "GET", "/hints"},
		} {
			what := fmt.Sprintf("%s site, %q: %s %s%s", tt.site, tt.as, how.method, how.scheme, how.path)
			w.events.reset()
			resp, body := do(t, w.client(how.scheme == "https", 0), how.method, how.scheme+"://shop.example"+how.path+"?as="+tt.as, map[string]string{"Accept-Language": "zh", "Content-Type": "application/x-www-form-urlencoded"}, strings.NewReader(map[bool]string{true: "a=b"}[how.method == "POST"]))
			if resp.Header[ClassHeader] != nil || resp.Header.Get(RequestHeader) == "" {
				t.Errorf("%s: header %v", what, resp.Header)
			}
			events := w.events.list(kindEgress)
			if tt.told == "" {
				if len(events) != 0 || resp.Header.Get("X-Secret") != marker || how.method != "HEAD" && body != marker {
					t.Errorf("%s: %d %q, %d events; want it to leave", what, resp.StatusCode, body, len(events))
				}
				continue
			}
			if resp.StatusCode != http.StatusForbidden || resp.Header.Get("X-Secret") != "" || strings.Contains(body, marker) || how.method != "HEAD" && (!strings.Contains(body, resp.Header.Get(RequestHeader)) || !strings.Contains(body, "不对外提供")) {
				t.Errorf("%s: %d %v %q", what, resp.StatusCode, resp.Header, body)
			}
			if len(events) != 1 {
				t.Fatalf("%s: %d events", what, len(events))
			}
			if e := events[0]; e.Action != actionBlocked || e.Tenant != "acme" || e.Object != "site/shop" || e.Request != resp.Header.Get(RequestHeader) || e.Attributes["class"] != tt.told || e.Attributes["limit"] != tt.site || strings.Contains(fmt.Sprint(e.Attributes), marker) {
				t.Errorf("%s: event %+v", what, e)
			}
		}
	}
	// A class that is raised, or goes, holds at once.
	w.put(classed(siteAt("shop", "shop.example", url), "staff"), classObject("public", 3, ""))
	if resp, _ := w.do("GET", "http://shop.example/?as=public", nil, nil); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a class that was raised: %d", resp.StatusCode)
	}
	w.put(classObject("public", 1, ""))
	if resp, _ := w.do("GET", "http://shop.example/?as=public", nil, nil); resp.StatusCode != http.StatusOK {
		t.Errorf("a class that was lowered: %d", resp.StatusCode)
	}
	w.remove(classObject("public", 1, "").Ref())
	if resp, _ := w.do("GET", "http://shop.example/?as=public", nil, nil); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a class that went: %d", resp.StatusCode)
	}
}

// TestTrailersSayNothingOfAClass: they come when the body has left.
func TestTrailersSayNothingOfAClass(t *testing.T) {
	url, _ := markedOrigin(t)
	w := newWorld(t, nil, append(someClasses(), classed(siteAt("shop", "shop.example", url), "staff"))...)
	for _, scheme := range []string{"http", "https"} {
		resp, body := do(t, w.client(scheme == "https", 0), "GET", scheme+"://shop.example/trailer", nil, nil)
		if resp.StatusCode != http.StatusOK || body != marker || len(resp.Trailer) != 0 || resp.Header.Get("Trailer") != "" {
			t.Errorf("%s: %d %q, trailers %v", scheme, resp.StatusCode, body, resp.Trailer)
		}
	}
}

func TestHeldAnswerIsNotTriedElsewhere(t *testing.T) {
	url, asked := markedOrigin(t)
	other, elsewhere := markedOrigin(t)
	s := classed(siteObject("acme", "shop", edge.SiteSpec{Hosts: []string{"shop.example"}, Origins: []edge.Origin{{URL: url}, {URL: other}}}), "staff")
	w := newWorld(t, nil, append(someClasses(), s)...)
	for as, want := range map[string]int64{"production": 1, "staff": 2} {
		asked.Store(0)
		elsewhere.Store(0)
		w.do("GET", "http://shop.example/busy?as="+as, nil, nil)
		if n := asked.Load() + elsewhere.Load(); n != want {
			t.Errorf("%s: asked %d times, want %d", as, n, want)
		}
	}
}

func TestUpgradeAboveTheSiteStays(t *testing.T) {
	var class atomic.Value
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, Dun-Class\r\nUpgrade: websocket\r\ndun-class: %s\r\n\r\n%s", class.Load(), marker)
	})
	w := newWorld(t, nil, append(someClasses(), classed(siteAt("shop", "shop.example", o.URL), "staff"))...)
	for as, want := range map[string]int{"secret": 403, "staff": 101} {
		class.Store(as)
		if code, body := w.raw(handshake); code != want || strings.Contains(body, marker) {
			t.Errorf("%s: %d %q, want %d", as, code, body, want)
		}
	}
	if n := len(w.events.list(kindEgress)); n != 1 {
		t.Errorf("%d events", n)
	}
}

func TestClassesInARingAreTheHighest(t *testing.T) {
	list := collect[*data.DataClassSpec](map[resource.Ref]*resource.Object{
		classObject("a", 1, "b").Ref(): classObject("a", 1, "b"), classObject("b", 2, "a").Ref(): classObject("b", 2, "a"),
		classObject("c", 1, "nowhere").Ref(): classObject("c", 1, "nowhere"), classObject("d", 2, "e").Ref(): classObject("d", 2, "e"), classObject("e", 3, "").Ref(): classObject("e", 3, ""),
	}, "DataClass")
	if got := compileClasses(list); got["a"] != 4 || got["b"] != 4 || got["c"] != 4 || got["d"] != 3 || got["e"] != 3 {
		t.Errorf("%v", got)
	}
}

// TestUnmarkedAnswersCostNothing: nor do marks on the way of the decision.
func TestUnmarkedAnswersCostNothing(t *testing.T) {
	s := classed(siteAt("shop", "shop.example", "http://192.0.2.1"), "staff")
	q := &request{site: &site{outlet: compileOutlet(s, classLevels{"staff": 2, "secret": 3}, slog.New(slog.DiscardHandler))}}
	plain := &http.Response{Header: http.Header{"Content-Type": {"text/plain"}}}
	marked := &http.Response{Header: http.Header{ClassHeader: {"staff"}}}
	if n := testing.AllocsPerRun(100, func() { q.heldBack(plain); q.heldBack(marked) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if _, held := q.site.outlet.keeps(http.Header{ClassHeader: {"secret"}}); !held {
		t.Error("what is above the site is not held back")
	}
}
