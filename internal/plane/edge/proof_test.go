package edge

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

func TestAHostThatIsNotProvenIsNotServed(t *testing.T) {
	var hits atomic.Int64
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) { hits.Add(1); fmt.Fprint(w, "of the origin") })
	s := siteObject("acme", "shop", edge.SiteSpec{Hosts: []string{"good.example", "new.example", "*.wild.example"}, Origins: []edge.Origin{{URL: o.URL}}})
	s.State = &edge.SiteState{Proofs: true, Proven: []edge.Proof{{Host: "good.example", Method: "dns"}}}
	own := siteObject("platform", "own", edge.SiteSpec{Hosts: []string{"own.example"}, Origins: []edge.Origin{{URL: o.URL}}})
	own.State = &edge.SiteState{Proofs: true}
	unknown := siteAt("unknown", "unknown.example", o.URL)
	unknown.State = nil
	w := newWorld(t, nil, s, own, unknown)
	secure := w.client(true, 0)
	status := func(host string) (plain, tls int) {
		t.Helper()
		p, body := w.do("GET", "http://"+host+"/", nil, nil)
		if p.StatusCode == 200 && body != "of the origin" {
			t.Errorf("%s: %q", host, body)
		}
		resp, err := secure.Get("https://" + host + "/")
		if err != nil {
			return p.StatusCode, 0 // no certificate for it
		}
		resp.Body.Close()
		return p.StatusCode, resp.StatusCode
	}
	for host, want := range map[string]int{"good.example": 200, "own.example": 200, "new.example": 421, "a.wild.example": 421, "unknown.example": 421} {
		hits.Store(0)
		plain, tls := status(host)
		if plain != want || want == 200 != (tls == 200) || want != 200 && hits.Load() != 0 {
			t.Errorf("%s: %d in clear, %d by TLS, the origin was asked %d times", host, plain, tls, hits.Load())
		}
	}
	s.State = &edge.SiteState{Proofs: true, Proven: []edge.Proof{{Host: "new.example", Method: "http"}, {Host: "*.wild.example", Method: "dns"}}}
	w.put(s)
	for host, want := range map[string]int{"good.example": 421, "new.example": 200, "a.wild.example": 200} {
		if plain, _ := status(host); plain != want {
			t.Errorf("%s afterwards: %d", host, plain)
		}
	}
}

func TestNoEdgeAnswersWhatProvesAHost(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "value") })
	w := newWorld(t, nil, siteAt("shop", "*.shop.example", o.URL))
	if resp, body := w.do("GET", "http://a.shop.example"+edge.ProofPath+"x", nil, nil); resp.StatusCode != 421 || body == "value" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	if resp, _ := w.do("GET", "http://a.shop.example/.well-known/other", nil, nil); resp.StatusCode != 200 {
		t.Errorf("beside it: %d", resp.StatusCode)
	}
}

func TestAStatusAloneCompilesNothing(t *testing.T) {
	w := newWorld(t, nil, siteAt("shop", "shop.example", "http://127.0.0.1:1"))
	one := w.edge.snap.Load()
	site := func(rev, status uint64) resource.Batch {
		o := siteAt("shop", "shop.example", "http://127.0.0.1:1")
		o.Metadata.Revision, o.Metadata.StatusRevision, o.Metadata.Updated = rev, status, time.Now()
		return resource.Batch{Changes: []resource.Change{{Ref: o.Ref(), Object: o}}, Synced: true}
	}
	w.feed.deliver(site(0, 9))
	if w.edge.snap.Load() != one {
		t.Error("a status made a new snapshot")
	}
	w.feed.deliver(site(10, 9))
	if w.edge.snap.Load() == one {
		t.Error("a change did not")
	}
}
