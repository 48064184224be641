package edge

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

func ecKey(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func keyPEM(t testing.TB, k crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// signed makes a certificate; a nil parent signs itself.
func signed(t testing.TB, key crypto.Signer, change func(*x509.Certificate), parent *x509.Certificate, by crypto.Signer) (*x509.Certificate, string) {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "shop.example"}, DNSNames: []string{"shop.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
	}
	if change != nil {
		change(c)
	}
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return out, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func authority(c *x509.Certificate) {
	c.Subject.CommonName, c.DNSNames, c.IsCA, c.BasicConstraintsValid, c.KeyUsage = "Test CA", nil, true, true, x509.KeyUsageCertSign
}

func TestABadChainIsTold(t *testing.T) {
	caKey, key := ecKey(t), ecKey(t)
	ca, caPEM := signed(t, caKey, authority, nil, nil)
	_, leaf := signed(t, key, nil, ca, caKey)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	one := func(k crypto.Signer, change func(*x509.Certificate)) string {
		_, s := signed(t, k, change, nil, nil)
		return s
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for what, tt := range map[string]struct{ chain, en, zh string }{
		"leaf and authority": {leaf + caPEM, "", ""},
		"leaf alone":         {leaf, "", ""},
		"ed25519":            {one(ed, nil), "", ""},
		"nothing":            {"", "is required", "须填一项"},
		"no PEM":             {"hello", "want certificates in PEM", "PEM"},
		"rubbish behind":     {leaf + "x", "want certificates in PEM", "PEM"},
		"a private key":      {leaf + keyPEM(t, key), "never stand in a record", "绝不能写入记录"},
		"wrong order":        {caPEM + leaf, "perhaps the order is wrong", "排在最前"},
		"foreign issuer":     {leaf + one(ecKey(t), func(c *x509.Certificate) { authority(c); c.Subject.CommonName = "Other" }), "is not signed by the next one", "并非由下一张"},
		"weak RSA":           {one(small, nil), "is weak", "强度不足"},
		"P-224":              {one(p224, nil), "is weak", "强度不足"},
		"expired":            {one(key, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), "expired at", "过期"},
		"not yet":            {one(key, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), "not yet", "尚未生效"},
		"no names":           {one(key, func(c *x509.Certificate) { c.DNSNames = nil }), "covers no name", "未覆盖任何名称"},
		"too many":           {strings.Repeat(leaf, 9), "more than 8", "超过 8"},
		"too large":          {strings.Repeat("x", maxPEM+1), "larger than 24 KiB", "24 KiB"},
	} {
		var r resource.Report
		validateCertificate(nil, &CertificateSpec{Chain: tt.chain}, &r)
		if tt.en == "" {
			if len(r.Fields) > 0 {
				t.Errorf("%s: %+v", what, r.Fields)
			}
			continue
		}
		if len(r.Fields) == 0 || !strings.Contains(r.Fields[0].Reason.En, tt.en) || !strings.Contains(r.Fields[0].Reason.Zh, tt.zh) || r.Fields[0].Path != "spec.chain" {
			t.Errorf("%s: %+v, want %q", what, r.Fields, tt.en)
		}
	}
}

func TestAKeyIsHeldAgainstItsChain(t *testing.T) {
	key, other := ecKey(t), ecKey(t)
	c, chain := signed(t, key, nil, nil, nil)
	ec, err := x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	params := "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
	for what, tt := range map[string]struct{ key, en string }{
		"PKCS 8":         {keyPEM(t, key), ""},
		"SEC 1":          {string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: ec})), ""},
		"as openssl":     {params + string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: ec})), ""},
		"another's":      {keyPEM(t, other), "does not belong to the certificate"},
		"a certificate":  {chain, "want a PRIVATE KEY block"},
		"two":            {keyPEM(t, key) + keyPEM(t, other), "more than one block"},
		"encrypted":      {"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n", "encrypted"},
		"nothing":        {"", "want one private key"},
		"rubbish inside": {"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n", "cannot be read"},
	} {
		var r resource.Report
		hash := checkKey(&resource.Object{Spec: &CertificateSpec{Chain: chain}}, []byte(tt.key), &r)
		if tt.en == "" && (len(r.Fields) > 0 || hash != PublicKeyHash(c.PublicKey)) || tt.en != "" && (len(r.Fields) == 0 || !strings.Contains(r.Fields[0].Reason.En, tt.en)) {
			t.Errorf("%s: %q %+v, want %q", what, hash, r.Fields, tt.en)
		}
	}
}

// A chain that has the key of the pair in force replaces it at once; another
// one waits for its key.
func TestAHalfReplacedPairLeavesTheOldOneInForce(t *testing.T) {
	key := ecKey(t)
	c, old := signed(t, key, nil, nil, nil)
	_, renewed := signed(t, key, func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(time.Hour) }, nil, nil)
	_, other := signed(t, ecKey(t), nil, nil, nil)
	o := &resource.Object{Spec: &CertificateSpec{Chain: old}, State: &CertificateState{}}
	if _, _, ok := InForce(o); ok || Whole(o) {
		t.Error("a chain without a key is in force")
	}
	o.State = &CertificateState{Key: "s-1", PublicKey: PublicKeyHash(c.PublicKey), Chain: old}
	for what, tt := range map[string]struct {
		spec, want string
		whole      bool
	}{"as put": {old, old, true}, "renewed with the same key": {renewed, renewed, true}, "with another key": {other, old, false}, "unreadable": {"x", old, false}} {
		o.Spec = &CertificateSpec{Chain: tt.spec}
		chain, ref, ok := InForce(o)
		if !ok || chain != tt.want || ref != "s-1" || Whole(o) != tt.whole {
			t.Errorf("%s: %v %q %v", what, ok, ref, Whole(o))
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte(keyPEM(f, ecKey(f))))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, why := ParseKey(b)
		if (k == nil) == (why == nil) {
			t.Errorf("key %v, reason %v", k, why)
		}
	})
}

func FuzzParseChain(f *testing.F) {
	_, s := signed(f, ecKey(f), nil, nil, nil)
	f.Add(s)
	f.Add(s + s)
	f.Fuzz(func(t *testing.T, s string) {
		c, why := ParseChain(s)
		if (len(c) == 0) == (why == nil) {
			t.Errorf("chain %v, reason %v", c, why)
		}
		if why == nil {
			judgeChain(c, time.Now(), &resource.Report{})
		}
	})
}
