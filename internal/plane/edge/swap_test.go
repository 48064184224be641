package edge

import (
	"crypto/tls"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// swapClient makes requests over TLS one after the other and counts those that
// fail. A certificate that is none of the tenant's counts as a failure, too.
type swapClient struct {
	c              *http.Client
	known          *sync.Map // fingerprints that were put, as raw text
	served, failed atomic.Int64
	reason         atomic.Value
}

func newSwapClient(w *world, h2, fresh bool, known *sync.Map) *swapClient {
	s := &swapClient{c: w.client(h2, 0), known: known}
	tr := s.c.Transport.(*http.Transport)
	tr.DisableKeepAlives = fresh
	tr.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(state tls.ConnectionState) error {
		if _, ok := s.known.Load(string(state.PeerCertificates[0].Raw)); !ok {
			return errors.New("shown a certificate that is not the tenant's")
		}
		return nil
	}}
	return s
}

func (s *swapClient) run(stop <-chan struct{}, tick chan<- struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		req, _ := http.NewRequest("GET", "https://shop.example/x?a=b", nil)
		req.Header = http.Header{"User-Agent": {"Mozilla/5.0"}, "Accept": {"*/*"}}
		resp, err := s.c.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != 200 {
				err = errors.New(resp.Status)
			}
		}
		if err != nil {
			s.failed.Add(1)
			s.reason.Store(err.Error())
			continue
		}
		s.served.Add(1)
		select {
		case tick <- struct{}{}:
		default:
		}
	}
}

// While certificates are made, half replaced, replaced and deleted, and sites
// change, no request fails, on connections that stay and on new ones.
func TestCertificateSwapsUnderLoadFailNoRequest(t *testing.T) {
	a, b := echoOrigin(t), echoOrigin(t)
	s := &safe{}
	known := &sync.Map{}
	fresh := func(days int, names ...string) made {
		m := makeCertificate(t, days, names...)
		known.Store(string(m.leaf.Raw), true)
		return m
	}
	last := s.certificate(t, "acme", "shop", fresh(90, "shop.example"))
	w := newWorld(t, func(o *Options) { o.Keys = s.open }, siteAt("shop", "shop.example", a.URL), last)
	stop, tick := make(chan struct{}), make(chan struct{}, 1)
	var load sync.WaitGroup
	var clients []*swapClient
	for i := range 6 {
		c := newSwapClient(w, i%2 == 0, i >= 2, known)
		clients = append(clients, c)
		load.Go(func() { c.run(stop, tick) })
	}
	for i := range 60 {
		switch m := fresh(90+i, "shop.example"); i % 4 {
		case 0: // the chain before its key, then the pair
			half := *last
			half.Spec = &edge.CertificateSpec{Chain: m.chain}
			w.put(&half)
			last = s.certificate(t, "acme", "shop", m)
			w.put(last)
		case 1: // a second one that holds longer, and goes again
			other := s.certificate(t, "acme", "other", fresh(500, "shop.example"))
			w.put(other)
			w.remove(resource.Ref{Kind: "Certificate", Tenant: "acme", Name: "other"})
		case 2: // a key that does not open
			s.shutTo(true)
			w.put(s.certificate(t, "acme", "shop", m))
			s.shutTo(false)
			w.put(last)
		case 3: // the site names it, or not
			site := siteAt("shop", "shop.example", []string{a.URL, b.URL}[i%2])
			if i%8 == 3 {
				spec(site).TLS = &edge.TLS{Certificate: "shop"}
			}
			w.put(site)
		}
		for range 6 {
			select {
			case <-tick:
			case <-time.After(20 * time.Second):
				t.Fatal("no request was served")
			}
		}
	}
	close(stop)
	load.Wait()
	var served, failed int64
	for _, c := range clients {
		served, failed = served+c.served.Load(), failed+c.failed.Load()
		if why := c.reason.Load(); why != nil {
			t.Errorf("a request failed: %v", why)
		}
	}
	t.Logf("%d requests, %d failed, over 60 rounds of changes", served, failed)
	if failed != 0 || served < 300 {
		t.Errorf("%d of %d requests failed", failed, served)
	}
}
