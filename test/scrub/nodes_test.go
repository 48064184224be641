package scrub

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/telemetry"
	"github.com/dun-sec/dun/internal/lab"
	"github.com/dun-sec/dun/internal/plane/scrub/flood"
)

// sites makes two ways to the server, each from a network of its own: dva and
// dvb are where nodes filter.
func sites(t *testing.T) {
	t.Helper()
	command(t, "ip addr add "+server+"/32 dev lo")
	for i, end := range []string{"dva", "dvb"} {
		outside := "dun-" + end + "-" + strconv.Itoa(os.Getpid())
		in := "ip netns exec " + outside + " "
		command(t, "ip netns add "+outside)
		t.Cleanup(func() { command(t, "ip netns del "+outside) })
		here, there := fmt.Sprintf("02:00:00:00:0%d:07", i), fmt.Sprintf("02:00:00:00:0%d:01", i)
		for _, line := range []string{
			"ip link add " + end + " address " + here + " type veth peer name out address " + there + " netns " + outside,
			fmt.Sprintf("ip addr add 192.0.2.%d/31 dev %s", 2*i, end), "ip link set " + end + " up",
			fmt.Sprintf(in+"ip addr add 192.0.2.%d/31 dev out", 2*i+1), in + "ip link set out up",
			fmt.Sprintf("ip neigh replace 192.0.2.%d lladdr %s dev %s", 2*i+1, there, end),
			fmt.Sprintf(in+"ip route add "+server+" via 192.0.2.%d", 2*i), fmt.Sprintf(in+"ip neigh replace 192.0.2.%d lladdr %s dev out", 2*i, here),
			"sysctl -qw net.ipv4.conf." + end + ".rp_filter=0",
		} {
			command(t, line)
		}
	}
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader("table inet arrivals {\n counter flood { }\n chain raw { type filter hook prerouting priority -400; policy accept\n ip saddr 64.0.0.0/4 counter name flood\n }\n}\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
}

// attack sends SYNs to the server over an interface until ctx ends.
func attack(ctx context.Context, t *testing.T, end string, rate float64) <-chan error {
	t.Helper()
	d := &flood.Drill{Vector: "syn", Addr: netip.MustParseAddr(server), Rate: rate, For: 50 * time.Second}
	if err := d.Find(end, d.Addr); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := d.Run(ctx); done <- err }()
	return done
}

// TestAFloodSpreadThin: two nodes filter, each sees less of a flood than its
// threshold; the control plane sees the sum, tells of one attack and has both meet
// it. When the control plane is gone, a node meets a flood alone, and what it saw
// is told later.
func TestAFloodSpreadThin(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	sites(t)
	forgetPins(t)
	bin, dir := lab.Build(t, "../../cmd/dun"), filepath.Join(t.TempDir(), "control")
	listen := fmt.Sprintf(`listen: {console: "127.0.0.1:7443", edgeHTTP: "off", edgeHTTPS: "off", nodes: %q, telemetry: "127.0.0.1:0"}`, lab.FreeTCP(t))
	control := lab.Up(t, bin, dir, listen)
	dun := func(args ...string) string {
		t.Helper()
		out, exit := control.Dun(args...)
		if exit != 0 {
			t.Fatal(args, exit, out)
		}
		return out
	}
	record := filepath.Join(t.TempDir(), "pa.yaml")
	protect := func(threshold int) string {
		t.Helper()
		text := fmt.Sprintf("kind: ProtectedAddress\nmetadata: {tenant: platform, name: shop}\nspec:\n  prefix: %s\n  thresholds: [{vector: syn, packets: %d}]\n", server, threshold)
		if err := os.WriteFile(record, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return dun("apply", "-f", record)
	}
	protect(100_000)
	if out, exit := control.Dun("posture", "run", "8.1-5"); exit == 0 {
		t.Error("nothing filters, and a check says:", out)
	}
	var nodes []*lab.Cell
	for _, end := range []string{"dva", "dvb"} {
		text, _, _ := strings.Cut(dun("token", "create", "--roles", "scrub"), "\ntoken t-")
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		n, err := lab.Join(t, bin, filepath.Join(t.TempDir(), end), file, "scrub: {interfaces: ["+end+"]}")
		if err == nil {
			err = n.Until(func(s *telemetry.Status) bool {
				return s.Ready && s.Roles[0].Name == "scrub" && s.Roles[0].State == telemetry.Enforcing
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	wait(t, func() bool {
		out := dun("status", "-o", "json")
		return strings.Contains(strings.ReplaceAll(out, " ", ""), `"mode":"nodes"`) && !strings.Contains(out, "it has told nothing")
	})
	ctx, stop := context.WithCancel(t.Context())
	first, second := attack(ctx, t, "dva", 3800), attack(ctx, t, "dvb", 3800)
	// How many a generator sends is the machine's choice: the threshold follows.
	var sums []float64
	wait(t, func() bool {
		var top struct{ Items []struct{ Packets float64 } }
		if err := json.Unmarshal([]byte(dun("top", "--once", "-o", "json")), &top); err != nil {
			t.Fatal(err)
		}
		if len(top.Items) == 1 && top.Items[0].Packets > 1000 {
			sums = append(sums, top.Items[0].Packets)
		}
		return len(sums) >= 60
	})
	slices.Sort(sums)
	threshold := int(0.7 * sums[len(sums)/2]) // each node sees about half
	if out := protect(threshold); !strings.Contains(out, "enforced 3/3") && !strings.Contains(out, "enforced 2/2") {
		t.Error(out)
	}
	wait(t, func() bool { return strings.Contains(dun("get", "attacks"), server) })
	// Who tells of it is the control plane; no node saw enough.
	if out := dun("events", "--kind", "attack", "-o", "json"); !strings.Contains(strings.ReplaceAll(out, " ", ""), `"node":"n1"`) || strings.Contains(out, `"n2"`) || strings.Contains(out, `"n3"`) {
		t.Error("told by others:", out)
	}
	quiet := func() bool {
		n := arrived(t)
		pause := time.NewTimer(time.Second)
		<-pause.C
		return arrived(t) == n
	}
	wait(t, quiet)
	t.Log(dun("top", "--once"))
	wait(t, func() bool { return strings.Contains(dun("get", "attacks", "-o", "yaml"), "evidence:") })
	stop()
	for _, done := range []<-chan error{first, second} {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	wait(t, func() bool { return strings.Contains(dun("get", "attacks", "-o", "yaml"), "end: ") })
	if out := dun("get", "attacks"); strings.Count(out, "shop-") != 1 {
		t.Error("not one attack:", out)
	}

	// Checks of the controls are tried with the filters of both.
	for _, id := range []string{"8.1-5", "8.1-13", "8.1-15", "8.1-19"} {
		out := dun("posture", "run", id, "-o", "json")
		if flat := strings.ReplaceAll(out, " ", ""); !strings.Contains(flat, `"state":"proved"`) ||
			id != "8.1-13" && (!strings.Contains(flat, `"n2:`) || !strings.Contains(flat, `"n3:`) || !strings.Contains(strings.ReplaceAll(flat, "\n", ""), `"nodes":["n1","n2","n3"]`)) {
			t.Error(id, out)
		}
	}

	control.Kill()
	ctx, stop = context.WithCancel(t.Context())
	defer stop()
	before := arrived(t)
	third := attack(ctx, t, "dva", 20_000)
	wait(t, func() bool { return arrived(t) > before })
	wait(t, quiet)
	if err := nodes[0].Until(func(s *telemetry.Status) bool {
		return s.Roles[0].State == telemetry.LastKnownGood && slices.ContainsFunc(s.Roles[0].Missing, func(m telemetry.Missing) bool { return m.Need == "control plane" })
	}); err != nil {
		t.Error(err)
	}
	control = lab.Up(t, bin, dir, listen)
	wait(t, func() bool { return strings.Count(dun("get", "attacks"), "shop-") == 2 })
	wait(t, func() bool { // what the node told while it was alone
		return strings.Contains(strings.ReplaceAll(dun("events", "--kind", "attack", "-o", "json"), " ", ""), `"node":"n2"`)
	})
	// A node that says nothing is named.
	nodes[1].Stop()
	wait(t, func() bool {
		out := dun("status", "-o", "json")
		return strings.Contains(out, "it has told nothing of floods") && strings.Contains(out, "node n3")
	})
	if out, _ := control.Dun("posture", "run", "8.1-15", "-o", "json"); !strings.Contains(strings.ReplaceAll(out, " ", ""), `"state":"failed"`) || !strings.Contains(out, "n3: it has told nothing") {
		t.Error("a node that is gone:", out)
	}
	stop()
	if err := <-third; err != nil {
		t.Error(err)
	}
	// A machine that is no node any more filters for nobody.
	if out, _ := control.Dun("delete", "node", "n2"); !strings.Contains(out, "deleted") { // the silent one does not say that it knows
		t.Fatal(out)
	}
	wait(t, func() bool { return strings.Contains(nodes[0].Output(), "removed from the cell") })
	before = arrived(t)
	ctx, stop = context.WithCancel(t.Context())
	defer stop()
	fourth := attack(ctx, t, "dva", 20_000)
	wait(t, func() bool { return arrived(t) > before+20_000 })
	stop()
	if err := <-fourth; err != nil {
		t.Error(err)
	}
}
