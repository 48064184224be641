package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// DNS is a real name server on a free port of loopback, which knows what it was
// told and nothing else.
type DNS struct {
	Addr string

	t    testing.TB
	port string
	cmd  *exec.Cmd
}

// NewDNS starts one; each record is a line of dnsmasq's configuration, as in
// "txt-record=a.example,value" or "address=/a.example/192.0.2.1".
func NewDNS(t testing.TB, records ...string) *DNS {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &DNS{Addr: ln.Addr().String(), t: t}
	_, d.port, _ = net.SplitHostPort(d.Addr)
	ln.Close()
	t.Cleanup(d.stop)
	d.Tell(records...)
	return d
}

func (d *DNS) stop() {
	if d.cmd != nil && d.cmd.Process.Kill() == nil {
		d.cmd.Wait()
	}
}

// Tell makes these all that the server knows, and waits until it answers.
func (d *DNS) Tell(records ...string) {
	d.t.Helper()
	d.stop()
	conf := filepath.Join(d.t.TempDir(), "dns.conf")
	lines := append([]string{"port=" + d.port, "listen-address=127.0.0.1", "bind-interfaces", "no-resolv", "no-hosts", "keep-in-foreground", "local=/#/", "txt-record=ready.dns-of-the-lab.test,yes", "pid-file=" + conf + ".pid"}, records...)
	if os.Geteuid() == 0 {
		lines = append(lines, "user=root")
	}
	if err := os.WriteFile(conf, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		d.t.Fatal(err)
	}
	d.cmd = exec.Command("dnsmasq", "--conf-file="+conf)
	var out lockedBuffer
	d.cmd.Stdout, d.cmd.Stderr = &out, &out
	if err := d.cmd.Start(); err != nil {
		d.t.Fatalf("start dnsmasq: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), Wait)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if list, err := d.Resolver().LookupTXT(ctx, "ready.dns-of-the-lab.test."); err == nil && len(list) == 1 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			d.t.Fatal(fmt.Errorf("dnsmasq does not answer\n%s", out.String()))
		}
	}
}

// Resolver asks this server alone.
func (d *DNS) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, d.Addr)
	}}
}
