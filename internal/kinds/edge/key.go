package edge

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"strings"

	"github.com/dun-sec/dun/internal/core/resource"
)

const maxKeyPEM = 16 << 10 // bytes of a private key, as core/secret keeps

// ParseKey reads one private key in PEM. What is refused comes with the reason,
// which never holds a part of the content.
func ParseKey(b []byte) (crypto.Signer, *resource.Text) {
	refuse := func(en, zh string) (crypto.Signer, *resource.Text) {
		t := resource.T(en, zh)
		return nil, &t
	}
	block, rest := pem.Decode(b)
	for block != nil && block.Type == "EC PARAMETERS" { // openssl ecparam -genkey writes them before the key
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return refuse("want one private key in PEM", "应为一个 PEM 格式的私钥")
	}
	defer clear(block.Bytes)
	if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return refuse("the private key is encrypted; decrypt it first (openssl pkey), it is sealed here", "私钥已加密;请先解密(openssl pkey),存入后会被封存")
	}
	if len(strings.TrimSpace(string(rest))) > 0 {
		return refuse("holds more than one block; want the private key alone", "含有多个块;应仅为私钥")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return refuse("want a PRIVATE KEY block", "应为 PRIVATE KEY 块")
	}
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return refuse("the private key cannot be read", "私钥无法解析")
	}
	return signer, nil
}

// checkKey holds a private key against the chain of its record, and returns
// what its public half is known by.
func checkKey(o *resource.Object, content []byte, r *resource.Report) string {
	spec, ok := o.Spec.(*CertificateSpec)
	if !ok {
		return ""
	}
	if spec.ACME != nil {
		r.Add("key", "it is got from an authority, with a key of its own", "该证书由证书机构签发,私钥随之生成")
		return ""
	}
	key, why := ParseKey(content)
	if why != nil {
		r.Add("key", "%s", "%s", *why)
		return ""
	}
	hash := PublicKeyHash(key.Public())
	chain, why := ParseChain(spec.Chain)
	if why != nil {
		r.Add("spec.chain", "%s", "%s", *why)
		return ""
	}
	if PublicKeyHash(chain[0].PublicKey) != hash {
		r.Add("key", "the private key does not belong to the certificate of %q; nothing was stored. Put the new chain first, then its key", "私钥与 %q 的证书不匹配,未存储任何内容。请先更新证书链,再存入其私钥", subject(chain[0]))
	}
	return hash
}
