package secret

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The private key of a certificate is put, refused, served with and replaced;
// its bytes are found nowhere, neither in what the cell says nor in what it
// keeps. Its PEM text is looked for line by line, its number in every form.
func TestNobodyFindsThePrivateKeyOfACertificate(t *testing.T) {
	c := up(t)
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	key := func() (*ecdsa.PrivateKey, string, []byte) {
		t.Helper()
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		scalar, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return k, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), scalar
	}
	k, keyPEM, scalar := key()
	_, wrongPEM, wrong := key()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(3), DNSNames: []string{"shop.test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	chain := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	c.travel("a site")
	c.dun("kind: Certificate\nmetadata: {tenant: platform, name: shop}\nspec:\n  chain: |\n    "+strings.ReplaceAll(strings.TrimSpace(chain), "\n", "\n    ")+"\n", "apply", "-f", "-")
	if out := c.fails("secret", "put", "certificate", "shop", "key", "--file", write("wrong.pem", []byte(wrongPEM))); !strings.Contains(out, "does not belong") || strings.Contains(out, "PRIVATE") {
		t.Errorf("a wrong key: %s", out)
	}
	c.dun("", "secret", "put", "certificate", "shop", "key", "--file", write("key.pem", []byte(keyPEM)))
	conn, err := tls.Dial("tcp", strings.TrimPrefix(c.Status().Endpoints["edgeHTTPS"], "https://"), &tls.Config{ServerName: "shop.test", InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.ConnectionState().PeerCertificates[0]; string(got.Raw) != string(der) {
		t.Fatal("the key is not in use: the test sees nothing")
	}

	all := c.everything()
	all["certificate"] = c.dun("", "get", "certificates", "-o", "json")
	all["certificate history"] = c.get("/api/v1/platform/certificates/shop/history", "")
	all["certificate watch"] = c.get("/api/v1/-/watch?kinds=certificate", `"synced"`)
	for what, b := range map[string][]byte{"the key": scalar, "the key that was refused": wrong} {
		if found := where(all, string(b)); len(found) > 0 {
			t.Errorf("%s was found in %v", what, found)
		}
	}
	for _, text := range []string{keyPEM, wrongPEM} {
		for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
			if strings.HasPrefix(line, "-----") || len(line) < 40 {
				continue
			}
			line = line[12:] // what comes before says that it is a P-256 key, as any other
			for place, b := range all {
				if strings.Contains(string(b), line) {
					t.Errorf("a line of a key stands in %s", place)
				}
			}
		}
	}
	if len(where(map[string][]byte{"x": []byte("a" + string(scalar) + "b")}, string(scalar))) == 0 {
		t.Error("the net has a hole")
	}
}
