// Package scrub runs the program with an interface to filter, floods it from
// another network namespace and kills it meanwhile.
package scrub

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/lab"
	"github.com/dun-sec/dun/internal/plane/scrub"
)

const server, client = "198.51.100.7", "198.51.100.1"

func command(t *testing.T, line string) string {
	t.Helper()
	args := strings.Fields(line)
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// pair makes dv0 here and dv1 in a named namespace.
func pair(t *testing.T) {
	t.Helper()
	outside := "dun-scrub-" + strconv.Itoa(os.Getpid())
	in := "ip netns exec " + outside + " "
	command(t, "ip netns add "+outside)
	t.Cleanup(func() { command(t, "ip netns del "+outside) })
	for _, line := range []string{
		"ip link add dv0 address 02:00:00:00:00:07 type veth peer name dv1 address 02:00:00:00:00:01 netns " + outside,
		"ip addr add " + server + "/24 dev dv0", "ip link set dv0 up", in + "ip addr add " + client + "/24 dev dv1", in + "ip link set dv1 up",
		"ip route add default via " + client, "ip neigh replace " + client + " lladdr 02:00:00:00:00:01 dev dv0",
		in + "ip neigh replace " + server + " lladdr 02:00:00:00:00:07 dev dv1",
	} {
		command(t, line)
	}
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader("table inet arrivals {\n counter flood { }\n chain raw { type filter hook prerouting priority -400; policy accept\n ip saddr 64.0.0.0/4 counter name flood\n }\n}\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
}

func arrived(t *testing.T) (n int) {
	t.Helper()
	for line := range strings.Lines(command(t, "nft list counters")) {
		if _, err := fmt.Sscanf(strings.TrimSpace(line), "packets %d", &n); err == nil {
			return n
		}
	}
	t.Fatal("no counter")
	return 0
}

// forgetPins takes away what this test leaves in the bpf file system.
func forgetPins(t *testing.T) {
	before, _ := filepath.Glob("/sys/fs/bpf/dun-*")
	t.Cleanup(func() {
		after, _ := filepath.Glob("/sys/fs/bpf/dun-*")
		for _, dir := range after {
			if slices.Contains(before, dir) {
				continue
			}
			if err := scrub.Remove(dir); err != nil {
				t.Error(err)
			}
		}
	})
}

// serve takes connections at the server until the test ends.
func serve(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp", server+":8080")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, c); c.Close() }()
		}
	}()
}

// TestKilledUnderFlood: a flood is found and met; kill -9 neither opens nor
// closes the gate; the next process takes the filter over.
func TestKilledUnderFlood(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	pair(t)
	forgetPins(t)
	serve(t)
	bin, dir := lab.Build(t, "../../cmd/dun"), filepath.Join(t.TempDir(), "d")
	more := []string{"listen: {console: \"127.0.0.1:7443\"}", "scrub: {interfaces: [dv0]}"}
	cell := lab.Up(t, bin, dir, more...)
	record := filepath.Join(t.TempDir(), "pa.yaml")
	if err := os.WriteFile(record, []byte("kind: ProtectedAddress\nmetadata: {tenant: platform, name: shop}\nspec:\n  prefix: "+server+"\n  services: [{protocol: tcp, ports: \"8080\"}]\n  thresholds: [{vector: syn, packets: 2000}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, exit := cell.Dun("apply", "-f", record); exit != 0 || !strings.Contains(out, "enforced 1/1") {
		t.Fatal(exit, out)
	}
	type result struct {
		out  string
		exit int
	}
	done := make(chan result, 1)
	go func() {
		out, exit := cell.Dun("drill", "ddos", "--vector", "syn", "--rate", "20000", "--seconds", "12", "-o", "json")
		done <- result{out, exit}
	}()
	wait(t, func() bool {
		out, _ := cell.Dun("top", "--once", "-o", "json")
		return strings.Contains(out, `"cookie_sent"`) || strings.Contains(out, `"no_service"`)
	})
	leaked := arrived(t)
	cell.Kill()
	begun := time.Now()
	wait(t, func() bool { return time.Since(begun) > 2*time.Second })
	if n := arrived(t) - leaked; n != 0 {
		t.Errorf("%d packets of the flood arrived while nobody ran", n)
	}
	cell = lab.Up(t, bin, dir, more...)
	r := <-done
	if n := arrived(t) - leaked; n != 0 {
		t.Errorf("%d packets of the flood arrived after it was met", n)
	}
	t.Logf("%d packets before it was met; %s", leaked, r.out)
	var drill struct{ Sent, Visits, Failed int }
	if err := json.Unmarshal([]byte(r.out[max(0, strings.Index(r.out, "{")):]), &drill); err != nil || r.exit != 0 || drill.Sent < 50_000 || drill.Visits < 50 || drill.Failed > 0 {
		t.Error(err, r.exit, r.out)
	}
	wait(t, func() bool {
		out, _ := cell.Dun("get", "attacks")
		return strings.Contains(out, server) && strings.Contains(out, "syn")
	})
	for _, control := range []string{"8.1-1", "8.1-15", "8.1-19", "8.1-22", "9.1-4"} {
		if out, exit := cell.Dun("posture", "run", control); exit != 0 || !strings.Contains(out, "proved") {
			t.Error(control, exit, out)
		}
	}
	cell.Stop()
	// Without the interface in the configuration the filter goes.
	cell = lab.Up(t, bin, dir, more[0])
	if out := command(t, "ip link show dv0"); strings.Contains(out, "xdp") {
		t.Error("the filter is still there:", out)
	}
	if out, _ := cell.Dun("status", "-o", "json"); !strings.Contains(out, "scrub.interfaces") {
		t.Error("the status does not say how to filter:", out)
	}
}

func wait(t *testing.T, good func() bool) {
	t.Helper()
	end := time.NewTimer(lab.Wait)
	defer end.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !good() {
		select {
		case <-end.C:
			t.Fatal("it does not come to that")
		case <-tick.C:
		}
	}
}
