package scrub

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/lab"
	"github.com/dun-sec/dun/internal/plane/scrub/flood"
)

var soak = flag.Duration("flood", 12*time.Second, "how long to flood; make soak says an hour")

// TestMemoryIsFlatUnderFloods: floods of every kind follow one another, with people
// among them. Neither the process nor the kernel's tables grow with time, nobody
// honest is kept out, and nothing is left behind.
func TestMemoryIsFlatUnderFloods(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	pair(t)
	forgetPins(t)
	serve(t)
	bin, dir := lab.Build(t, "../../cmd/dun"), filepath.Join(t.TempDir(), "d")
	cell := lab.Up(t, bin, dir, "listen: {console: \"127.0.0.1:7443\"}", "scrub: {interfaces: [dv0]}")
	record := filepath.Join(t.TempDir(), "pa.yaml")
	if err := os.WriteFile(record, []byte("kind: ProtectedAddress\nmetadata: {tenant: platform, name: shop}\nspec:\n  prefix: "+server+"\n  services: [{protocol: tcp, ports: \"8080\"}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, exit := cell.Dun("apply", "-f", record); exit != 0 {
		t.Fatal(exit, out)
	}
	each := min(30*time.Second, *soak/3)
	var memory []int
	visits, failed, sent, broken := 0, 0, 0, 0
	vectors := []string{"syn", "udp", "ack", "icmp", "synack", "amp", "rst", "dns", "frag"}
	began := time.Now()
	for i := 0; time.Since(began) < *soak; i++ {
		d := &flood.Drill{Vector: vectors[i%len(vectors)], Addr: netip.MustParseAddr(server), Port: 8080, Rate: 10_000, For: each}
		if err := d.Find("dv0", d.Addr); err != nil {
			t.Fatal(err)
		}
		r, err := d.Run(t.Context())
		if err != nil { // the generator's own
			t.Log(d.Vector, err)
			if broken++; broken > 1+i/50 {
				t.Fatal("too many floods break")
			}
			continue
		}
		visits, failed, sent = visits+r.Visits, failed+r.Failed, sent+r.Sent
		if r.Failed > 0 {
			t.Logf("%s: %d of %d visits failed", r.Vector, r.Failed, r.Visits)
		}
		memory = append(memory, resident(t, cell.Process().Pid))
	}
	t.Logf("%s, %d packets, %d visits, %d failed; KiB resident after each flood: %v", time.Since(began).Truncate(time.Second), sent, visits, failed, memory)
	if sent == 0 || visits == 0 || failed > visits/1000 {
		t.Errorf("%d packets, %d of %d visits failed", sent, failed, visits)
	}
	// The first floods fill what is bounded; after them nothing grows.
	if n := len(memory); n >= 40 {
		early, late := slices.Max(memory[n/4:n/2]), slices.Max(memory[3*n/4:])
		if late > early+early/10 {
			t.Errorf("%d KiB in the second quarter, %d in the last", early, late)
		}
	}
	if sent := len(memory); sent > 0 && slices.Max(memory) > 1<<20 {
		t.Errorf("more than a GiB: %v", memory)
	}
	ctx, cancel := context.WithTimeout(t.Context(), lab.Wait)
	defer cancel()
	for ctx.Err() == nil {
		if out, _ := cell.Dun("top", "--once", "-o", "json"); strings.Contains(strings.ReplaceAll(out, " ", ""), `"attack":""`) {
			break
		}
	}
	if out, exit := cell.Dun("get", "attacks"); exit != 0 || !strings.Contains(out, server) {
		t.Error(exit, out)
	}
}

// resident is the memory of a process and of those that it started, in KiB.
func resident(t *testing.T, pid int) (kib int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			break
		}
	}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, name := range tasks {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for _, child := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(child); err == nil {
				kib += resident(t, n)
			}
		}
	}
	return kib
}
