package browser_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// pairPEM makes a certificate for a host, that signs itself, and its key.
func pairPEM(t *testing.T, host string, life time.Duration) (chain, key string, der []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(5), DNSNames: []string{host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life)}
	if der, err = x509.CreateCertificate(rand.Reader, c, c, k.Public(), k); err != nil {
		t.Fatal(err)
	}
	kb, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb})), der
}

// A certificate is uploaded with its key: the list, one button, one form. What
// does not match is told on the page, and what was uploaded serves at once.
func TestACertificateIsUploadedInThreeClicks(t *testing.T) {
	cell, e := enter(t)
	apply(t, cell, "kind: Site\nmetadata: {tenant: platform, name: shop}\nspec: {hosts: [shop.test], origins: [{url: \"http://127.0.0.1:1\"}]}\n")
	chain, key, der := pairPEM(t, "shop.test", 20*24*time.Hour)
	_, wrong, _ := pairPEM(t, "shop.test", 24*time.Hour)
	fill := func(key string) {
		t.Helper()
		e.Do("fill in", chromedp.SetValue(chromedp.CSS("#f-name"), "shop"), chromedp.SetValue(chromedp.CSS("#f-chain"), chain), chromedp.SetValue(chromedp.CSS("#f-key"), key), chromedp.Click(chromedp.CSS("form.card button.main")))
	}
	e.Do("sites", chromedp.Click(chromedp.CSS(`nav a[href="/records/sites"]`)))
	e.Until("the list of sites", `location.pathname === "/records/sites" && document.readyState === "complete"`)
	e.Do("upload", chromedp.Click(chromedp.CSS(`a[href="/certificates/new"]`)))
	e.Until("the form", `location.pathname === "/certificates/new" && document.querySelector("#f-tenant").value === "platform"`)
	e.Judge("the form")
	e.EveryLook("certificate-form")
	fill(wrong)
	e.Until("the refusal", `document.querySelector(".note.bad") !== null && document.body.textContent.includes("does not belong to the certificate") && document.querySelector("#f-key").value === ""`)
	e.Judge("the refusal")
	e.EveryLook("certificate-refused")
	fill(key)
	e.Until("the record", `location.pathname === "/records/certificates/platform/shop" && document.readyState === "complete"`)
	e.EveryLook("certificate-record")
	for end := time.Now().Add(20 * time.Second); ; <-time.After(20 * time.Millisecond) {
		c, err := tls.Dial("tcp", "127.0.0.1:"+cell.Port("edgeHTTPS"), &tls.Config{ServerName: "shop.test", InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		got := c.ConnectionState().PeerCertificates[0]
		c.Close()
		if string(got.Raw) == string(der) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("what was uploaded does not serve")
		}
	}
	e.Visit("/")
	e.Until("the tile", `document.body.textContent.includes("end soon: platform/shop")`)
	e.EveryLook("certificate-tile")
	e.Visit("/records/certificates")
	e.Judge("the list")
	e.EveryLook("certificate-list")
}
