package edge

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

func TestReloadUnderLoadFailsNoRequest(t *testing.T) {
	a, b := echoOrigin(t), echoOrigin(t)
	w := newWorld(t, nil, siteAt("shop", "shop.example", a.URL))
	stop := make(chan struct{})
	var load sync.WaitGroup
	var served atomic.Int64
	tick := make(chan struct{}, 1)
	for i := range 6 {
		c := w.client(i%2 == 0, 0)
		url := map[bool]string{true: "https", false: "http"}[i%2 == 0] + "://shop.example/x?a=b"
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if resp, body := do(t, c, "GET", url, nil, nil); resp.StatusCode != 200 || !strings.HasPrefix(body, "GET /x") {
					t.Errorf("%d %q", resp.StatusCode, body)
					return
				}
				served.Add(1)
				select {
				case tick <- struct{}{}:
				default:
				}
			}
		})
	}
	for i := range 100 {
		s := siteAt("shop", "shop.example", []string{a.URL, b.URL}[i%2])
		spec(s).WAF = &edge.WAF{Paranoia: 1 + i%2}
		w.put(s, banObject("acme", "b", edge.BanSpec{Action: edge.ActionBan, Sources: []string{fmt.Sprintf("192.0.2.%d", i)}}))
		for range 3 {
			select {
			case <-tick:
			case <-time.After(10 * time.Second):
				t.Fatal("no request was served")
			}
		}
	}
	close(stop)
	load.Wait()
	t.Logf("%d requests over 100 reloads", served.Load())
}

func TestThousandSitesShareOneRuleSet(t *testing.T) {
	o := echoOrigin(t)
	var all []*resource.Object
	for i := range 1000 {
		all = append(all, siteAt(fmt.Sprintf("s%d", i), fmt.Sprintf("s%d.example", i), o.URL))
	}
	w := newWorld(t, nil)
	start := time.Now()
	w.put(all...)
	took := time.Since(start)
	if took > time.Second {
		t.Errorf("1000 sites took %v", took)
	}
	t.Logf("1000 sites in %v", took)
	for _, i := range []int{0, 500, 999} {
		for path, want := range map[string]int{"/": 200, "/.git/config": 403} {
			if resp, _ := w.do("GET", fmt.Sprintf("http://s%d.example%s", i, path), nil, nil); resp.StatusCode != want {
				t.Errorf("s%d%s: %d", i, path, resp.StatusCode)
			}
		}
	}
	if n := len(w.edge.pool.all); n != 1 {
		t.Errorf("%d connection pools for one origin", n)
	}
}
