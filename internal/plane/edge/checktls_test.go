package edge

import (
	"crypto/tls"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// try runs a check as the registry does: first that its probe would see.
func try(t *testing.T, c assurance.Check) (assurance.Evidence, error) {
	t.Helper()
	if err := c.Positive(t.Context()); err != nil {
		t.Fatalf("%s: positive control: %v", c.Control, err)
	}
	var e assurance.Evidence
	return e, c.Probe(t.Context(), &e)
}

func wantBroken(t *testing.T, what string, err error, words string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) || fault.Is(err, fault.Unavailable) {
		t.Errorf("%s: %v, want %q", what, err, words)
	}
}

// weakDoor is a door that somebody weakened.
func weakDoor(t *testing.T, conf *tls.Config) netip.AddrPort {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { c.(*tls.Conn).Handshake(); c.Close() }()
		}
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

func TestEverySiteIsGreetedOverTLS(t *testing.T) {
	o := echoOrigin(t)
	w := newWorld(t, nil)
	w.ca.life = 60 * 24 * time.Hour // before anybody asks
	w.put(siteAt("shop", "shop.example", o.URL), siteAt("all", "*.wild.example", o.URL))
	door := netip.MustParseAddrPort(w.https)
	if _, err := try(t, w.edge.secure(CheckEnv{Secure: door})); err != nil {
		t.Errorf("as it is: %v", err)
	}
	_, err := try(t, w.edge.secure(CheckEnv{}))
	wantBroken(t, "no door", err, "no HTTPS door")
	good, err := w.ca.Certificate(t.Context(), "shop.example")
	if err != nil {
		t.Fatal(err)
	}
	other, err := w.ca.Certificate(t.Context(), "other.example")
	if err != nil {
		t.Fatal(err)
	}
	weak := []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA, tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	for what, tt := range map[string]struct {
		conf  *tls.Config
		words string
	}{
		"weak suites":    {&tls.Config{Certificates: []tls.Certificate{*good}, CipherSuites: weak}, "is accepted"},
		"another's name": {&tls.Config{Certificates: []tls.Certificate{*other}}, "does not cover"},
		"TLS 1.1 alone":  {&tls.Config{Certificates: []tls.Certificate{*good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, "no TLS"},
	} {
		_, err := try(t, w.edge.secure(CheckEnv{Secure: weakDoor(t, tt.conf)}))
		wantBroken(t, what, err, tt.words)
	}
	late := newWorld(t, func(o *Options) { o.Now = func() time.Time { return time.Now().Add(50 * 365 * 24 * time.Hour) } }, siteAt("shop", "shop.example", o.URL))
	_, err = try(t, late.edge.secure(CheckEnv{Secure: weakDoor(t, &tls.Config{Certificates: []tls.Certificate{*good}})}))
	wantBroken(t, "a certificate that ended", err, "the certificate ends")
}

func TestAClearWayToAnOriginIsFound(t *testing.T) {
	w := newWorld(t, nil, siteAt("shop", "shop.example", "http://127.0.0.1:1"), siteAt("sealed", "sealed.example", "https://192.0.2.1"))
	if _, err := try(t, w.edge.sealedWay()); err != nil {
		t.Errorf("as it is: %v", err)
	}
	w.put(siteObject("acme", "leaky", edge.SiteSpec{Hosts: []string{"*.leaky.example"}, Origins: []edge.Origin{{URL: "https://192.0.2.1"}, {URL: "http://192.0.2.2:8080"}}}))
	e, err := try(t, w.edge.sealedWay())
	wantBroken(t, "a clear origin", err, "acme/leaky")
	if len(e) == 0 {
		t.Error("no evidence")
	}
	w.remove(resource.Ref{Kind: "Site", Tenant: "acme", Name: "leaky"})
	if _, err := try(t, w.edge.sealedWay()); err != nil {
		t.Errorf("when it is gone: %v", err)
	}
}

// A certificate of the tenant's own that ends soon turns the control red, by name.
func TestAnOwnCertificateThatEndsIsFound(t *testing.T) {
	o := echoOrigin(t)
	s := &safe{}
	w := newWorld(t, func(o *Options) { o.Keys = s.open }, siteAt("shop", "shop.example", o.URL), s.certificate(t, "acme", "shop", makeCertificate(t, 90, "shop.example")))
	env := CheckEnv{Secure: netip.MustParseAddrPort(w.https)}
	if _, err := try(t, w.edge.secure(env)); err != nil {
		t.Errorf("as it is: %v", err)
	}
	for _, days := range []int{6, -1} {
		w.put(s.certificate(t, "acme", "shop", makeCertificate(t, days, "shop.example")))
		_, err := try(t, w.edge.secure(env))
		wantBroken(t, "it ends", err, "shop.example: the certificate ends")
	}
}
