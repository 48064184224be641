package edge

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/secret"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// safe holds the keys of a world, as core/secret would.
type safe struct {
	mu     sync.Mutex
	keys   map[secret.Ref][]byte
	opened int
	shut   bool
}

func (s *safe) open(_ context.Context, owner resource.Ref, ref secret.Ref, purpose string) (secret.Value, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened++
	b := s.keys[ref]
	if b == nil || s.shut || purpose != edge.KeyPurpose || owner.Kind != "Certificate" {
		return secret.Value{}, errors.New("no such secret")
	}
	return secret.New(append([]byte(nil), b...)), nil
}

func (s *safe) shutTo(shut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut = shut
}

// made is a certificate with its key, not yet in a record.
type made struct {
	leaf  *x509.Certificate
	chain string
	key   crypto.Signer
}

func makeCertificate(t testing.TB, days int, names ...string) made {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Duration(days) * 24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made{leaf, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), key}
}

// certificate is the record of a whole pair, whose key the safe holds.
func (s *safe) certificate(t testing.TB, tenant, name string, m made) *resource.Object {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(m.key)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		s.keys = map[secret.Ref][]byte{}
	}
	ref := secret.Ref(fmt.Sprintf("s-%026d", len(s.keys)))
	s.keys[ref] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return &resource.Object{
		Kind: "Certificate", Metadata: resource.Metadata{Tenant: tenant, Name: name, UID: "u"}, Spec: &edge.CertificateSpec{Chain: m.chain},
		State: &edge.CertificateState{Key: string(ref), PublicKey: edge.PublicKeyHash(m.leaf.PublicKey), Chain: m.chain},
	}
}

// shown is the certificate that a client sees under a server name; "cell" = one
// that the cell signed.
func (w *world) shown(sni string, all map[string]made) string {
	w.t.Helper()
	c, err := tls.Dial("tcp", w.https, &tls.Config{ServerName: sni, InsecureSkipVerify: true})
	if err != nil {
		w.t.Fatalf("%s: %v", sni, err)
	}
	defer c.Close()
	got := c.ConnectionState().PeerCertificates[0]
	for name, m := range all {
		if got.Equal(m.leaf) {
			return name
		}
	}
	return "cell"
}

func TestASiteHasItsOwnCertificate(t *testing.T) {
	o := echoOrigin(t)
	s := &safe{}
	w := newWorld(t, func(o *Options) { o.Keys = s.open }, siteAt("shop", "shop.example", o.URL), siteAt("wild", "*.wild.example", o.URL), siteAt("other", "other.example", o.URL))
	all := map[string]made{
		"shop": makeCertificate(t, 90, "Shop.Example", "unused.example"), "wild": makeCertificate(t, 90, "*.wild.example"), "exact": makeCertificate(t, 30, "a.wild.example"),
		"named": makeCertificate(t, 10, "other.example"), "longer": makeCertificate(t, 400, "other.example"), "foreign": makeCertificate(t, 500, "shop.example", "*.wild.example"),
	}
	want := func(when string, m map[string]string) {
		t.Helper()
		for sni, name := range m {
			if got := w.shown(sni, all); got != name {
				t.Errorf("%s: %s shows %s, want %s", when, sni, got, name)
			}
		}
	}
	want("without certificates", map[string]string{"shop.example": "cell", "x.wild.example": "cell"})
	for name, m := range all {
		tenant := "acme"
		if name == "foreign" {
			tenant = "beta"
		}
		w.put(s.certificate(t, tenant, name, m))
	}
	want("by host", map[string]string{
		"shop.example": "shop", "SHOP.example": "shop", "x.wild.example": "wild", "a.wild.example": "exact", "other.example": "longer",
		"unused.example": "cell", "nobody.example": "cell", "a.b.wild.example": "cell",
	})
	named := siteAt("other", "other.example", o.URL)
	spec(named).TLS = &edge.TLS{Certificate: "named"}
	w.put(named)
	want("by name", map[string]string{"other.example": "named"})
	spec(named).TLS.Certificate = "shop"
	w.put(named)
	want("named, but it does not cover the host", map[string]string{"other.example": "longer"})
	w.remove(resource.Ref{Kind: "Certificate", Tenant: "acme", Name: "shop"})
	want("gone", map[string]string{"shop.example": "cell"})
	if s.opened != len(all) {
		t.Errorf("keys were opened %d times, want %d: once each", s.opened, len(all))
	}
}

func TestAHalfReplacedPairLeavesTheOldOneServing(t *testing.T) {
	o := echoOrigin(t)
	s := &safe{}
	all := map[string]made{"old": makeCertificate(t, 20, "shop.example"), "new": makeCertificate(t, 90, "shop.example")}
	first := s.certificate(t, "acme", "shop", all["old"])
	var ahead atomic.Int64
	w := newWorld(t, func(o *Options) {
		o.Keys, o.Now = s.open, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	}, siteAt("shop", "shop.example", o.URL), first)
	check := func(when, want string) {
		t.Helper()
		if got := w.shown("shop.example", all); got != want {
			t.Errorf("%s: %s serves, want %s", when, got, want)
		}
	}
	check("before", "old")
	half := *first
	half.Spec = &edge.CertificateSpec{Chain: all["new"].chain}
	w.put(&half)
	check("the new chain without its key", "old")
	again := newWorld(t, func(o *Options) { o.Keys = s.open }, siteAt("shop", "shop.example", o.URL), &half)
	if got := again.shown("shop.example", all); got != "old" {
		t.Errorf("after a restart in between %s serves", got)
	}
	whole := s.certificate(t, "acme", "shop", all["new"])
	s.shutTo(true)
	w.put(whole)
	check("the key does not open", "old")
	s.shutTo(false)
	ahead.Store(int64(2 * openAgain))
	w.put(siteAt("x", "x.example", o.URL))
	check("the key opens", "new")
	lie := s.certificate(t, "acme", "shop", all["old"])
	lie.State.(*edge.CertificateState).PublicKey = edge.PublicKeyHash(all["new"].leaf.PublicKey)
	lie.Spec = &edge.CertificateSpec{Chain: all["new"].chain}
	w.put(lie)
	check("a record that names another's key", "new")
}
