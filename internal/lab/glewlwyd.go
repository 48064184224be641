package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// OpenID is Debian's glewlwyd, an OpenID Connect provider, as a process of its
// own with one client, dun.
type OpenID struct {
	Issuer, CAPEM string
	ClientSecret  string

	t     testing.TB
	base  string
	admin *http.Client
}

// StartOpenID runs it until the test ends; people may be sent back to the
// address.
func StartOpenID(t testing.TB, redirect string) *OpenID {
	t.Helper()
	dir := t.TempDir()
	cert, key := doorCertificate(t)
	address := FreeTCP(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	p := &OpenID{CAPEM: string(cert), ClientSecret: "client-secret-of-a-test", t: t, base: "https://" + address + "/api"}
	p.Issuer = p.base + "/oidc"
	conf := fmt.Sprintf(`port=%s
bind_address="127.0.0.1"
external_url="https://%s/"
login_url="login.html"
api_prefix="api"
log_mode="console"
log_level="WARNING"
cookie_secure=1
session_expiration=3600
session_key="SESSION"
admin_session_authentication="cookie"
profile_session_authentication="cookie"
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="/usr/lib/glewlwyd/user"
client_module_path="/usr/lib/glewlwyd/client"
user_auth_scheme_module_path="/usr/lib/glewlwyd/scheme"
plugin_module_path="/usr/lib/glewlwyd/plugin"
use_secure_connection=true
secure_connection_key_file="%s/key.pem"
secure_connection_pem_file="%s/cert.pem"
hash_algorithm="SHA512"
database = { type = "sqlite3"; path = "%s/db" }
`, port, address, dir, dir, dir)
	for name, b := range map[string][]byte{"cert.pem": cert, "key.pem": key, "conf": []byte(conf)} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("sqlite3", filepath.Join(dir, "db"), ".read /usr/share/dbconfig-common/data/glewlwyd/install/sqlite3").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "glewlwyd", "--config-file="+filepath.Join(dir, "conf"))
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if cmd.Wait(); t.Failed() {
			t.Logf("glewlwyd:\n%s", out.Bytes())
		}
	})
	p.setUp(redirect)
	return p
}

func (p *OpenID) client() *http.Client {
	p.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(p.CAPEM))
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	p.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Jar: jar, Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (p *OpenID) setUp(redirect string) {
	p.t.Helper()
	p.admin = p.client()
	for end := time.Now().Add(Wait); ; {
		res, err := p.admin.Get(p.base + "/")
		if err == nil {
			res.Body.Close()
			break
		}
		if time.Now().After(end) {
			p.t.Fatalf("glewlwyd does not start: %v", err)
		}
		<-time.After(20 * time.Millisecond)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		p.t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		p.t.Fatal(err)
	}
	type m = map[string]any
	p.call(p.admin, http.MethodPost, "/auth/", m{"username": "admin", "password": "password"}) // as the package makes it
	p.call(p.admin, http.MethodPost, "/mod/plugin/", m{"module": "oidc", "name": "oidc", "display_name": "OIDC", "order_rank": 0, "enabled": true, "parameters": m{
		"iss": p.Issuer, "jwt-type": "rsa", "jwt-key-size": "256",
		"key":                   string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
		"cert":                  string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
		"access-token-duration": 3600, "refresh-token-duration": 3600, "code-duration": 600, "refresh-token-rolling": false, "allow-non-oidc": false,
		"auth-type-code-enabled": true, "auth-type-token-enabled": false, "auth-type-id-token-enabled": true, "auth-type-password-enabled": false,
		"auth-type-client-enabled": false, "auth-type-device-enabled": false, "auth-type-refresh-enabled": false, "scope": []any{}, "additional-parameters": []any{},
		"claims": []any{}, "name-claim": "no", "email-claim": "mandatory", "scope-claim": "no", "pkce-allowed": true, "pkce-method-plain-allowed": false,
		"jwks-show": true, "subject-type": "public", "allowed-scope": []string{"openid"},
	}})
	p.call(p.admin, http.MethodPost, "/client/", m{
		"client_id": "dun", "name": "Dun", "confidential": true, "password": p.ClientSecret, "client_secret": p.ClientSecret, "redirect_uri": []string{redirect},
		"authorization_type": []string{"code"}, "scope": []string{"openid"}, "enabled": true, "token_endpoint_auth_method": []string{"client_secret_basic"},
	})
}

func (p *OpenID) call(c *http.Client, method, path string, body any) {
	p.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		p.t.Fatal(err)
	}
	req, err := http.NewRequest(method, p.base+path, bytes.NewReader(b))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		p.t.Fatalf("glewlwyd: %s %s: %d", method, path, res.StatusCode)
	}
}

const openIDPassword = "password-of-a-test"

// AddUser adds somebody who may use the client.
func (p *OpenID) AddUser(name, email string) {
	p.t.Helper()
	p.call(p.admin, http.MethodPost, "/user/", map[string]any{"username": name, "password": openIDPassword, "name": name, "email": email, "scope": []string{"openid"}, "enabled": true})
}

// Consent signs somebody in at the provider, lets him agree to what is asked at
// the address, and returns where he is sent back to.
func (p *OpenID) Consent(name, at string) *url.URL {
	p.t.Helper()
	c := p.client()
	p.call(c, http.MethodPost, "/auth/", map[string]any{"username": name, "password": openIDPassword})
	p.call(c, http.MethodPut, "/auth/grant/dun", map[string]any{"scope": "openid"})
	res, err := c.Get(at + "&g_continue")
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	to, err := res.Location()
	if err != nil {
		p.t.Fatalf("%d %v", res.StatusCode, err)
	}
	return to
}
