// Package hosts proves hosts of tenants end to end: a cell as a process, a real
// name server, and clients at the edge's door.
package hosts

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/lab"
)

const records = `
kind: Tenant
metadata: {tenant: platform, name: acme}
spec: {}
---
kind: Site
metadata: {tenant: acme, name: shop}
spec: {hosts: [shop.hosts-of-acme.test], origins: [{url: 'http://192.0.2.1:9'}]}
---
kind: Site
metadata: {tenant: platform, name: own}
spec: {hosts: [own.test], origins: [{url: 'http://127.0.0.1:9'}]}
`

// ask is the status that the edge answers for a host.
func ask(t *testing.T, c *lab.Cell, host string) string {
	t.Helper()
	out, err := exec.Command("curl", "-s", "-o", filepath.Join(t.TempDir(), "body"), "-w", "%{http_code}", "-H", "Host: "+host, "http://127.0.0.1:"+c.Port("edgeHTTP")+"/").CombinedOutput()
	if err != nil {
		t.Fatalf("curl: %v %s", err, out)
	}
	return string(out)
}

type hostStatus struct{ Host, State, Method, Record, Value, Address, Message string }

// until reads the site's status until its first host is in the state.
func until(t *testing.T, c *lab.Cell, state string) hostStatus {
	t.Helper()
	var out string
	for deadline := time.Now().Add(lab.Wait); time.Now().Before(deadline); {
		out, _ = c.Dun("get", "site", "shop", "--tenant", "acme", "-o", "json")
		var o struct {
			Status struct{ Hosts []hostStatus }
		}
		if json.Unmarshal([]byte(out), &o) == nil && len(o.Status.Hosts) == 1 && o.Status.Hosts[0].State == state {
			return o.Status.Hosts[0]
		}
	}
	t.Fatalf("never %s:\n%s", state, out)
	return hostStatus{}
}

func TestATenantsHostIsServedOnceItIsProven(t *testing.T) {
	bin := lab.Build(t, "../../cmd/dun")
	dns := lab.NewDNS(t)
	dir := filepath.Join(t.TempDir(), "d")
	config := fmt.Sprintf("edge: {resolvers: [%q]}", dns.Addr)
	c := lab.Up(t, bin, dir, config)
	manifest := filepath.Join(t.TempDir(), "r.yaml")
	if err := os.WriteFile(manifest, []byte(records), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, exit := c.Dun("apply", "-f", manifest); exit != 0 {
		t.Fatal(out)
	}
	h := until(t, c, "pending")
	if got := ask(t, c, h.Host); got != "421" {
		t.Errorf("an unproven host answers %s", got)
	}
	if got := ask(t, c, "own.test"); got != "502" {
		t.Errorf("a host of the platform answers %s", got)
	}
	dns.Tell("txt-record=" + h.Record + "," + h.Value)
	if out, exit := c.Dun("do", "check", "site", "shop", "--tenant", "acme"); exit != 0 {
		t.Fatalf("%d %s", exit, out)
	}
	if got := until(t, c, "proven"); got.Method != "dns" || got.Value != "" {
		t.Errorf("%+v", got)
	}
	served := func() {
		t.Helper()
		for deadline := time.Now().Add(lab.Wait); ; {
			got := ask(t, c, h.Host)
			if got == "504" || got == "502" {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("a proven host answers %s", got)
			}
		}
	}
	served()
	// It survives a kill, and the name server's death.
	dns.Tell()
	c.Kill()
	c = lab.Up(t, bin, dir, config)
	served()
	if out, _ := c.Dun("get", "sites", "--tenant", "acme"); strings.Contains(out, h.Host+"  "+h.Host) {
		t.Error(out)
	}
}
