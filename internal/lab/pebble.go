package lab

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/letsencrypt/challtestsrv"
)

// Pebble is an ACME authority of Let's Encrypt's for tests, as a process of its
// own. Every name is 127.0.0.1 to it.
type Pebble struct {
	Directory string
	CAPEM     string // of its own door
}

// StartPebble runs bin (Build of github.com/letsencrypt/pebble/v2/cmd/pebble)
// until the test ends. It asks challenges on the two ports; 0 = on none.
func StartPebble(t testing.TB, bin string, httpPort, tlsPort int) *Pebble {
	t.Helper()
	dir := t.TempDir()
	cert, key := doorCertificate(t)
	files := map[string][]byte{"cert.pem": cert, "key.pem": key}
	address, dns := FreeTCP(t), FreeTCP(t)
	none := func(port int) int {
		if port == 0 {
			port = 1 // nobody listens there
		}
		return port
	}
	conf, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": address, "managementListenAddress": "", "certificate": filepath.Join(dir, "cert.pem"), "privateKey": filepath.Join(dir, "key.pem"),
		"httpPort": none(httpPort), "tlsPort": none(tlsPort), "keyAlgorithm": "ecdsa", "retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles": map[string]any{"default": map[string]any{"description": "d", "validityPeriod": 90 * 24 * 3600}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	files["conf.json"] = conf
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	names, err := challtestsrv.New(challtestsrv.Config{DNSAddrs: []string{dns}, Log: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)})
	if err != nil {
		t.Fatal(err)
	}
	names.SetDefaultDNSIPv6("")
	go names.Run()
	t.Cleanup(names.Shutdown)
	ctx, cancel := context.WithCancel(context.Background())
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, bin, "-config", filepath.Join(dir, "conf.json"), "-dnsserver", dns)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=20", "PEBBLE_AUTHZREUSE=0")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if cmd.Wait(); t.Failed() {
			t.Logf("pebble:\n%s", out.Bytes())
		}
	})
	p := &Pebble{Directory: "https://" + address + "/dir", CAPEM: string(cert)}
	p.wait(t)
	return p
}

func (p *Pebble) wait(t testing.TB) {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(p.CAPEM))
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, Timeout: time.Second}
	defer c.CloseIdleConnections()
	for end := time.Now().Add(Wait); time.Now().Before(end); {
		if r, err := c.Get(p.Directory); err == nil {
			r.Body.Close()
			return
		}
		<-time.After(20 * time.Millisecond)
	}
	t.Fatal("pebble does not start")
}

// doorCertificate is a certificate for 127.0.0.1 that signs itself.
func doorCertificate(t testing.TB) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	kb, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb})
}

// FreeTCP is an address that nobody listened on a moment ago.
func FreeTCP(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return fmt.Sprint("127.0.0.1:", strconv.Itoa(ln.Addr().(*net.TCPAddr).Port))
}
