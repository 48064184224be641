package edge

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"slices"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

const (
	maxChain = 8        // certificates
	maxPEM   = 24 << 10 // bytes of a chain
	leastRSA = 2048     // bits (NIST SP 800-131A)
	mostRSA  = 8192     // bits: a handshake costs the cube of them
)

// ParseChain reads a chain in PEM, the site's own certificate first. What is
// refused comes with the reason.
func ParseChain(s string) ([]*x509.Certificate, *resource.Text) {
	refuse := func(en, zh string) ([]*x509.Certificate, *resource.Text) {
		t := resource.T(en, zh)
		return nil, &t
	}
	if len(s) > maxPEM {
		return refuse("is larger than 24 KiB", "超过 24 KiB")
	}
	var out []*x509.Certificate
	rest := []byte(s)
	for {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if strings.Contains(b.Type, "PRIVATE KEY") {
			return refuse("holds a private key, which must never stand in a record; put it with dun secret put, and make a new one if this one was sent elsewhere", "含有私钥,私钥绝不能写入记录;请用 dun secret put 存入,若已外泄请重新生成")
		}
		if b.Type != "CERTIFICATE" {
			return refuse("holds something else than certificates", "含有证书以外的内容")
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return refuse("holds a certificate that cannot be read", "含有无法解析的证书")
		}
		if out = append(out, c); len(out) > maxChain {
			return refuse("holds more than 8 certificates", "证书超过 8 张")
		}
	}
	if len(out) == 0 || len(bytes.TrimSpace(rest)) > 0 {
		return refuse("want certificates in PEM", "应为 PEM 格式的证书")
	}
	return out, nil
}

// judgeChain says what is wrong with a chain that somebody wants to use now.
func judgeChain(chain []*x509.Certificate, now time.Time, r *resource.Report) {
	leaf := chain[0]
	for _, c := range chain {
		if !strongKey(c.PublicKey) {
			r.Add("spec.chain", "the key of %q is weak: want RSA of 2048 to 8192 bits, ECDSA P-256, P-384 or P-521, or Ed25519", "%q 的密钥强度不足:应为 2048 至 8192 位 RSA、ECDSA P-256、P-384、P-521 或 Ed25519", subject(c))
		}
	}
	if slices.Contains([]x509.SignatureAlgorithm{x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1, x509.DSAWithSHA256}, leaf.SignatureAlgorithm) {
		r.Add("spec.chain", "the certificate is signed with %s, which is broken", "证书以 %s 签名,该算法已不安全", leaf.SignatureAlgorithm)
	}
	switch {
	case now.After(leaf.NotAfter):
		r.Add("spec.chain", "the certificate expired at %s", "证书已于 %s 过期", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		r.Add("spec.chain", "the certificate is valid from %s on, not yet", "证书自 %s 起生效,目前尚未生效", leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	if len(Names(leaf)) == 0 {
		why := ""
		if leaf.IsCA && len(chain) > 1 {
			why = "; perhaps the order is wrong: the site's own certificate comes first"
		}
		r.Add("spec.chain", "the first certificate covers no name: it needs subject alternative names"+why, "第一张证书未覆盖任何名称:须包含主体备用名称(站点证书须排在最前)")
	}
	for i := range chain[1:] {
		if chain[i].CheckSignatureFrom(chain[i+1]) != nil {
			r.Add("spec.chain", "certificate %d (%q) is not signed by the next one (%q): order them from the site's to the authority's", "第 %d 张证书(%q)并非由下一张(%q)签发:请按站点证书到根证书的顺序排列", i+1, subject(chain[i]), subject(chain[i+1]))
			return
		}
	}
}

func subject(c *x509.Certificate) string {
	if n := c.Subject.CommonName; n != "" {
		return n
	}
	if n := Names(c); len(n) > 0 {
		return n[0]
	}
	return c.Subject.String()
}

func strongKey(key any) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() >= leastRSA && k.N.BitLen() <= mostRSA
	case *ecdsa.PublicKey:
		return k.Curve == elliptic.P256() || k.Curve == elliptic.P384() || k.Curve == elliptic.P521()
	case ed25519.PublicKey:
		return true
	}
	return false
}

// PublicKeyHash names a public key: SHA-256 of its SubjectPublicKeyInfo, hex.
func PublicKeyHash(public any) string {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// Names are what a certificate covers: DNS names in small letters, and addresses.
func Names(c *x509.Certificate) []string {
	var out []string
	for _, n := range c.DNSNames {
		out = append(out, strings.ToLower(n))
	}
	for _, ip := range c.IPAddresses {
		out = append(out, ip.String())
	}
	return out
}
