package identity

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

func TestTokens(t *testing.T) {
	a, b := NewToken(), NewToken()
	if a == b {
		t.Fatal("two tokens are equal")
	}
	ha, ok := HashToken(a)
	hb, _ := HashToken(b)
	if !ok || ha == hb {
		t.Fatal("hash")
	}
	for _, s := range []string{"", "dun_s_", a[:len(a)-1], a + "a", strings.ToUpper(a), "dun_x_" + a[6:]} {
		if _, ok := HashToken(s); ok {
			t.Errorf("%q counts as a token", s)
		}
	}
}

func TestCertificatesVerifyForTheirHostOnly(t *testing.T) {
	_, certPEM, keyPEM, err := NewCA("abcdefgh", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := LoadCA(certPEM, keyPEM, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	for host, asked := range map[string]string{"shop.test": "shop.test", "*.shop.test": "a.shop.test", "127.0.0.1": "127.0.0.1", "::1": "::1"} {
		c, err := ca.Issue(host)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: asked}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
		if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "other.test"}); err == nil {
			t.Errorf("%s: verifies for other.test", host)
		}
	}
}
