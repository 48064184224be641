package nodelink

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/resource"
)

// secretPrefix makes a leaked secret recognisable to scanners.
const (
	secretPrefix = "dun_t_"
	secretBytes  = 32
)

// NewSecret makes the secret of a token, and the verifier that the record
// keeps: the cell never has the secret itself.
func NewSecret() (secret, verifier string) {
	b := make([]byte, secretBytes)
	rand.Read(b)
	secret = secretPrefix + id.Encoding.EncodeToString(b)
	return secret, Verifier(secret)
}

// Verifier is the SHA-256 of a secret of 256 random bits, in hex.
func Verifier(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Verify compares in constant time.
func Verify(secret, verifier string) bool {
	return subtle.ConstantTimeCompare([]byte(Verifier(secret)), []byte(verifier)) == 1
}

// TokenFile is what dun token create prints and dun run reads.
type TokenFile struct {
	URL    string `json:"url" required:"true" max:"512"`   // of the console's door
	CA     string `json:"ca" required:"true" max:"128"`    // sha256:… of the authority's public key
	Token  string `json:"token" required:"true" max:"63"`  // name of the record
	Secret string `json:"secret" required:"true" max:"80"` // once
}

const hashPrefix = "sha256:"

// Text writes the file; what is no field is a comment.
func (t TokenFile) Text(roles []string, expires time.Time) string {
	return fmt.Sprintf("# One machine may join as %s by this file, once, until %s. Keep it secret until then.\nurl: %s\nca: %s\ntoken: %s\nsecret: %s\n",
		strings.Join(roles, ","), expires.UTC().Format(time.RFC3339), t.URL, t.CA, t.Token, t.Secret)
}

// HashOf writes a fingerprint (identity.Fingerprint) as the file holds it.
func HashOf(fingerprint string) string { return hashPrefix + fingerprint }

// ParseToken reads a file strictly.
func ParseToken(b []byte) (TokenFile, error) {
	var t TokenFile
	docs, err := resource.ParseYAML(b)
	if err != nil {
		return t, err
	}
	if len(docs) != 1 {
		return t, fault.New(fault.Invalid, "the token file holds nothing that dun token create printed", "令牌文件不是 dun token create 的输出")
	}
	if err := resource.Fill(docs[0], &t); err != nil {
		return t, err
	}
	raw, err := id.Encoding.DecodeString(strings.TrimPrefix(t.Secret, secretPrefix))
	if !strings.HasPrefix(t.Secret, secretPrefix) || err != nil || len(raw) != secretBytes || !resource.ValidName(t.Token) {
		return t, fault.New(fault.Invalid, "the token file is cut or changed; make a new one with dun token create", "令牌文件不完整或被改动;请用 dun token create 重新生成")
	}
	h, ok := strings.CutPrefix(t.CA, hashPrefix)
	if b, err := hex.DecodeString(h); !ok || err != nil || len(b) != sha256.Size {
		return t, fault.New(fault.Invalid, "ca: want sha256: and 64 hexadecimal digits", "ca:应为 sha256: 加 64 位十六进制数字")
	}
	return t, CheckURL(t.URL)
}

// CheckURL says whether an address to join at can be one.
func CheckURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return fault.New(fault.Invalid, "%q is no address to join at, as in https://10.0.0.1:7443", "%q 不是可加入的地址(例如 https://10.0.0.1:7443)", s)
	}
	return nil
}
