// Command scrub measures what the filter of the scrubbing centre costs the
// machine that receives a flood: CPU time a packet of the thread that takes
// packets from the interface, beside an XDP program that only drops, nftables,
// and the kernel's SYN proxy alone, in the same run, over a veth pair in network
// namespaces of its own.
//
// As "go run ./bench/scrub alarm" it measures instead how long after the first
// packet of a flood the detection centre tells of it, how well it names and
// weighs it, with FastNetMon beside it on the same interface; as "go run
// ./bench/scrub replay" how many of 30 000 attacks it misses in simulated time,
// and of 200 in packets, and how often it cries on honest days; as
// "go run ./bench/scrub arming" what of a flood reaches a server that both
// centres guard, and how honest clients fare meanwhile.
//
// Needs root, nft, ip and ethtool; fastnetmon for its row.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/dun-sec/dun/internal/plane/scrub"
	"github.com/dun-sec/dun/internal/plane/scrub/flood"
)

var (
	packets = flag.Int("packets", 2_000_000, "of each measurement")
	rounds  = flag.Int("rounds", 5, "of which the best counts: who disturbs can only add")
)

const inNamespace = "DUN_BENCH_NETNS"

const server, client = "198.51.100.7", "198.51.100.1"

func main() {
	flag.Parse()
	if os.Getenv(inNamespace) == "" {
		os.Exit(alone())
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// alone runs the program again in a network namespace of its own.
func alone() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

// link is the pair and what runs on it.
type link struct {
	outside string
	napi    []string // schedstat of the threads that take packets
	rx      string   // counter of what arrived
}

func run() error {
	// The interfaces of this namespace, and not of that which started it.
	if err := errors.Join(syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""), syscall.Mount("sysfs", "/sys", "sysfs", 0, "")); err != nil {
		return fmt.Errorf("mount sysfs: %w", err)
	}
	l := &link{outside: "dun-bench-" + strconv.Itoa(os.Getpid()), rx: "/sys/class/net/dv0/statistics/rx_packets"}
	defer exec.Command("ip", "netns", "del", l.outside).Run()
	if err := l.build(); err != nil {
		return err
	}
	switch flag.Arg(0) {
	case "alarm":
		return l.alarms()
	case "replay":
		return l.replays()
	case "arming":
		return l.armings()
	}
	return l.costs()
}

// receiver is what takes the flood.
type receiver struct {
	name    string
	vector  string
	sources []int
	spread  bool // over 2 M addresses of 8 192 prefixes
	with    func() (func() error, error)
}

// costs measures every receiver in each round, so that who disturbs the machine
// for a while disturbs all. Of the rounds it prints the best, since disturbing can
// only add; where generator and receiver run at once, how they take turns makes
// as much of a difference, and it prints the median.
func (l *link) costs() error {
	receivers := []receiver{
		{"XDP program that only drops", "udp", []int{1 << 24}, false, l.bare},
		{"dun: 100 000 denied, 10 000 prefixes, limit of udp", "udp", []int{1, 1 << 24}, false, l.filter(scrub.Limit)},
		{"dun: the same, over 2 M addresses of 8 192 prefixes", "udp", []int{1 << 24}, true, l.filter(scrub.Limit)},
		{"nft: ingress, a set of 50 000, drop", "udp", []int{1 << 24}, false, l.nftSet},
		{"dun: SYNs answered by cookies, SYN proxy behind", "syn", []int{1 << 24}, false, l.filter(scrub.Challenge)},
		{"nft: synproxy alone", "syn", []int{1 << 24}, false, l.nftProxy},
	}
	// Where the packets come from: this processor's cache, or that of another.
	from := []int{0, 1}[:min(2, runtime.NumCPU())]
	type cell struct{ receiver, sources, from int }
	each := map[cell][]float64{}
	fmt.Printf("%s, %d processors, load %s; %d packets a measurement, %d rounds\n", kernel(), runtime.NumCPU(), load(), *packets, *rounds)
	for range *rounds {
		for i, r := range receivers {
			undo, err := r.with()
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			for _, f := range from {
				for _, n := range r.sources {
					ns, err := l.measure(r, n, f)
					if err != nil {
						return errors.Join(fmt.Errorf("%s: %w", r.name, err), undo())
					}
					each[cell{i, n, f}] = append(each[cell{i, n, f}], ns)
				}
			}
			if err := undo(); err != nil {
				return err
			}
		}
	}
	told := map[cell]float64{}
	for k, list := range each {
		slices.Sort(list)
		told[k] = []float64{list[0], list[len(list)/2]}[k.from]
	}
	for _, f := range from {
		fmt.Printf("\n%-62s %7s %10s %10s %8s\n", []string{"packets from the same processor's cache, best round", "packets from another processor's cache, median round"}[f], "sources", "ns/packet", "Mpps/core", "x bare")
		for i, r := range receivers {
			for _, n := range r.sources {
				ns := told[cell{i, n, f}]
				sources, times := "16 M", ""
				if n == 1 {
					sources = "1"
				}
				if i > 0 {
					times = fmt.Sprintf("%.2f", ns/told[cell{0, 1 << 24, f}])
				}
				fmt.Printf("%-62s %7s %10.0f %10.2f %8s\n", r.name, sources, ns, 1000/ns, times)
			}
		}
		fmt.Printf("16 M sources cost %.2f times one; nft ingress %.2f times the filter; synproxy alone %.2f times the cookie\n",
			told[cell{1, 1 << 24, f}]/told[cell{1, 1, f}], told[cell{3, 1 << 24, f}]/told[cell{1, 1 << 24, f}], told[cell{5, 1 << 24, f}]/told[cell{4, 1 << 24, f}])
	}
	return nil
}

func sh(line string) error {
	args := strings.Fields(line)
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", line, err, out)
	}
	return nil
}

func (l *link) build() error {
	in := "ip netns exec " + l.outside + " "
	for _, line := range []string{
		"ip link set lo up", "ip netns add " + l.outside,
		"ip link add dv0 address 02:00:00:00:00:07 type veth peer name dv1 address 02:00:00:00:00:01 netns " + l.outside,
		"ip addr add " + server + "/24 dev dv0", "ip link set dv0 up", in + "ip addr add " + client + "/24 dev dv1", in + "ip link set dv1 up",
		"ip route add default via " + client, "ip neigh replace " + client + " lladdr 02:00:00:00:00:01 dev dv0",
		"ethtool -K dv0 gro on", in + "ethtool -K dv1 gro on",
	} {
		if err := sh(line); err != nil {
			return err
		}
	}
	return os.WriteFile("/sys/class/net/dv0/threaded", []byte("1"), 0)
}

// threads finds the NAPI threads of dv0: they are made when the interface is
// given to NAPI, and again when a program is attached.
func (l *link) threads() error {
	l.napi = nil
	all, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return err
	}
	for _, p := range all {
		b, err := os.ReadFile(p)
		if err == nil && strings.HasPrefix(string(b), "napi/dv0") {
			l.napi = append(l.napi, filepath.Join(filepath.Dir(p), "schedstat"))
		}
	}
	if len(l.napi) == 0 {
		return errors.New("dv0 has no thread of its own")
	}
	return nil
}

func (l *link) spent() (ns float64) {
	for _, p := range l.napi {
		b, err := os.ReadFile(p)
		if err != nil {
			continue
		}
		n, err := strconv.ParseFloat(strings.Fields(string(b))[0], 64)
		if err == nil {
			ns += n
		}
	}
	return ns
}

func (l *link) arrived() float64 {
	b, err := os.ReadFile(l.rx)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseFloat(strings.TrimSpace(string(b)), 64)
	return n
}

// measure floods from a processor; what receives runs on the first.
func (l *link) measure(r receiver, sources, from int) (float64, error) {
	if err := l.threads(); err != nil {
		return 0, err
	}
	for _, p := range l.napi {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p)))
		if err == nil {
			err = pin(pid, 0)
		}
		if err != nil {
			return 0, fmt.Errorf("pin the thread of dv0: %w", err)
		}
	}
	var spent, got float64
	err := l.out(func() error {
		if err := pin(0, from); err != nil {
			return fmt.Errorf("pin the generator: %w", err)
		}
		g, err := flood.New("dv1")
		if err != nil {
			return err
		}
		defer g.Close()
		outside, err := net.InterfaceByName("dv1")
		if err != nil {
			return err
		}
		back, err := g.Swallow(outside.Index) // whoever is answered shall cost nothing here
		if err != nil {
			return err
		}
		defer back.Close()
		t := flood.Target{Addr: netip.MustParseAddr(server), From: net.HardwareAddr{2, 0, 0, 0, 0, 1}, To: net.HardwareAddr{2, 0, 0, 0, 0, 7}, Sources: sources}
		if r.spread {
			t.Addr, t.Spread = netip.AddrFrom4([4]byte{203}), 1<<21
		}
		p, err := flood.For(r.vector, t)
		if err != nil {
			return err
		}
		if _, err := g.Send(context.Background(), p, *packets/10, 0); err != nil { // warm
			return err
		}
		spent, got = l.spent(), l.arrived()
		_, err = g.Send(context.Background(), p, *packets, 0)
		return err
	})
	if err != nil {
		return 0, err
	}
	spent, got = l.spent()-spent, l.arrived()-got
	if got < float64(*packets)/100 {
		return 0, fmt.Errorf("only %.0f packets arrived", got)
	}
	return spent / got, nil
}

// pin keeps a thread, 0 = the calling one, on one processor.
func pin(tid, processor int) error {
	var set unix.CPUSet
	set.Set(processor)
	return unix.SchedSetaffinity(tid, &set)
}

// out runs f on a thread outside, which ends with it.
func (l *link) out(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		h, err := netns.GetFromName(l.outside)
		if err == nil {
			err = errors.Join(netns.Set(h), h.Close())
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// bare attaches the program that only drops.
func (l *link) bare() (func() error, error) {
	g, err := flood.New("dv0")
	if err != nil {
		return nil, err
	}
	ifi, err := net.InterfaceByName("dv0")
	if err != nil {
		return nil, err
	}
	x, err := g.Swallow(ifi.Index)
	if err != nil {
		return nil, err
	}
	return func() error { return errors.Join(x.Close(), g.Close()) }, nil
}

// filter attaches ours, filled.
func (l *link) filter(action scrub.Action) func() (func() error, error) {
	return func() (func() error, error) {
		i, err := scrub.Install(scrub.InstallOptions{Interfaces: []string{"dv0"}, Table: "dun_scrub_bench", Slots: 16})
		if err != nil {
			return nil, err
		}
		i.InstallProxy()
		t, err := scrub.Take(i.Hand)
		if err != nil {
			return nil, err
		}
		p := scrub.Policy{Prefixes: []netip.Prefix{netip.MustParsePrefix(server + "/32")}}
		for v := range p.Action {
			p.Action[v], p.RatePerAddress[v] = action, 1000
		}
		rest := scrub.Policy{Slot: 1}
		for v := range rest.Action {
			rest.Action[v], rest.Rate[v] = action, 1000
		}
		for n := range 9_999 {
			rest.Prefixes = append(rest.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{203, byte(n >> 8), byte(n), 0}), 24))
		}
		if err := t.Publish([]scrub.Policy{p, rest}, scrub.Options{Sample: 256, Proxy: i.Proxied()}); err != nil {
			return nil, err
		}
		var denied []scrub.Denial
		for range 100_000 {
			n := rand.Uint32()
			denied = append(denied, scrub.Denial{Source: netip.PrefixFrom(netip.AddrFrom4([4]byte{100 | byte(n>>24), byte(n >> 16), byte(n >> 8), byte(n)}), 32), Until: scrub.Monotonic() + time.Hour})
		}
		if err := t.SetDenied(denied); err != nil {
			return nil, err
		}
		i.Attach()
		if s := i.State(); s.Interfaces[0].Mode != scrub.ModeNative || s.Proxy != "" {
			return nil, fmt.Errorf("%+v", s)
		}
		return func() error { return errors.Join(t.Close(), i.Close(), scrub.RemoveProxy("dun_scrub_bench")) }, nil
	}
}

func nft(rules string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %.300s", err, out)
	}
	return nil
}

func (l *link) nftSet() (func() error, error) {
	var b strings.Builder
	b.WriteString("table netdev peer {\n set denied { type ipv4_addr; size 65536; elements = { ")
	seen := map[uint32]bool{}
	for len(seen) < 50_000 {
		n := rand.Uint32() | 0x64000000
		if seen[n] {
			continue
		}
		seen[n] = true
		fmt.Fprintf(&b, "%d.%d.%d.%d,\n", n>>24, n>>16&255, n>>8&255, n&255)
	}
	b.WriteString("} }\n chain in { type filter hook ingress device dv0 priority 0; policy accept;\n ip saddr @denied drop\n udp dport 0-65535 drop\n }\n}\n")
	return func() error { return sh("nft delete table netdev peer") }, nft(b.String())
}

func (l *link) nftProxy() (func() error, error) {
	return func() error { return sh("nft delete table inet peer") }, nft(`table inet peer {
	chain raw { type filter hook prerouting priority raw; policy accept; iifname dv0 tcp flags syn notrack
	}
	chain in { type filter hook input priority 0; policy accept;
		iifname dv0 ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp sack-perm
		iifname dv0 ct state invalid drop
	}
}`)
}

func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "Linux"
	}
	return "Linux " + strings.TrimSpace(string(b))
}

func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	return strings.Fields(string(b))[0]
}
