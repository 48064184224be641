package edge

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/kinds/edge"
)

// shake makes one whole handshake with the edge for a host.
func (w *world) shake(host string) error {
	d := tls.Dialer{Config: &tls.Config{ServerName: host, RootCAs: w.ca.pool()}}
	c, err := d.DialContext(w.t.Context(), "tcp", w.https)
	if err != nil {
		return err
	}
	return c.Close()
}

// TestHandshakesTakeTurnsByTenant holds the only turn: a flood at one tenant's
// host waits behind itself, and one of another tenant is next but one.
func TestHandshakesTakeTurnsByTenant(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "x") }))
	t.Cleanup(origin.Close)
	site := func(tenant, host string) edge.SiteSpec {
		return edge.SiteSpec{Hosts: []string{host}, Origins: []edge.Origin{{URL: origin.URL}}}
	}
	w := newWorld(t, func(o *Options) { o.bounds.slots = 1 }, siteObject("loud", "a", site("loud", "loud.invalid")), siteObject("calm", "b", site("calm", "calm.invalid")))
	for _, h := range []string{"loud.invalid", "calm.invalid"} { // the certificates are made
		if err := w.shake(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.edge.hands.enter(t.Context(), "somebody", time.Hour); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	shake := func(host string) {
		all.Go(func() {
			if err := w.shake(host); err != nil {
				t.Errorf("%s: %v", host, err)
			}
		})
	}
	const flood = 40
	for range flood {
		shake("loud.invalid")
	}
	w.waiting("loud", flood)
	shake("calm.invalid")
	w.waiting("calm", 1)
	w.edge.hands.mu.Lock()
	next := slices.Clone(w.edge.hands.order)
	w.edge.hands.mu.Unlock()
	if !slices.Equal(next, []string{"loud", "calm"}) { // one of the flood, then the other tenant
		t.Errorf("the turns go to %v", next)
	}
	w.edge.hands.leave()
	all.Wait()
	w.turnsAreBack(t)
}

// waiting polls until so many of a tenant wait for a turn.
func (w *world) waiting(tenant string, n int) {
	w.t.Helper()
	late := time.Now().Add(time.Minute)
	for {
		w.edge.hands.mu.Lock()
		got := len(w.edge.hands.wait[tenant])
		w.edge.hands.mu.Unlock()
		if got == n {
			return
		}
		if time.Now().After(late) {
			w.t.Fatalf("%d of %s wait, want %d", got, tenant, n)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// turnsAreBack shows that no handshake, good, broken off or refused, keeps one.
func (w *world) turnsAreBack(t *testing.T) {
	t.Helper()
	bad := []string{"nothing that is TLS", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", ""}
	for _, b := range bad {
		c, err := net.Dial("tcp", w.https)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, b)
		c.Close()
	}
	for _, conf := range []*tls.Config{
		{ServerName: "loud.invalid"}, // trusts nothing, and says so
		{ServerName: "nobody.invalid", InsecureSkipVerify: true}, {ServerName: "loud.invalid", InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12},
		{ServerName: "loud.invalid", InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.CurveP521}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		c, err := (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", w.https)
		if err == nil {
			c.Close()
		}
		cancel()
	}
	late := time.Now().Add(time.Minute)
	for {
		w.edge.hands.mu.Lock()
		free, wait := w.edge.hands.free, len(w.edge.hands.wait)
		w.edge.hands.mu.Unlock()
		if free == 1 && wait == 0 {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("%d turns are free, %d tenants wait", free, wait)
		}
		<-time.After(5 * time.Millisecond)
	}
}
