package scrub_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/lab"
	"github.com/dun-sec/dun/internal/plane/scrub"
	"github.com/dun-sec/dun/internal/plane/scrub/flood"
)

// wire is two network namespaces and a veth pair: dv0 with the filter and the
// server in that of the test, dv1 with clients and attackers in another.
type wire struct {
	t       *testing.T
	outside string
	i       *scrub.Installation
	*scrub.Table
}

const (
	server4, server6 = "198.51.100.7", "2001:db8:7::1"
	client4, client6 = "198.51.100.1", "2001:db8:7::2"
)

func command(t *testing.T, line string) string {
	t.Helper()
	args := strings.Fields(line)
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

func newWire(t *testing.T, opt scrub.InstallOptions) *wire {
	t.Helper()
	w := &wire{t: t, outside: "dun-outside-" + strconv.Itoa(os.Getpid())}
	for _, line := range []string{
		"ip netns add " + w.outside,
		"ip link add dv0 address 02:00:00:00:00:07 type veth peer name dv1 address 02:00:00:00:00:01 netns " + w.outside,
		"ip addr add " + server4 + "/24 dev dv0", "ip -6 addr add " + server6 + "/64 dev dv0 nodad", "ip link set dv0 up",
		"ip netns exec " + w.outside + " ip addr add " + client4 + "/24 dev dv1", "ip netns exec " + w.outside + " ip -6 addr add " + client6 + "/64 dev dv1 nodad",
		"ip netns exec " + w.outside + " ip link set dv1 up", "ip netns exec " + w.outside + " ip link set lo up",
		"ip route add default via " + client4, "ip -6 route add default via " + client6,
		"ip neigh replace " + client4 + " lladdr 02:00:00:00:00:01 dev dv0", "ip neigh replace " + client6 + " lladdr 02:00:00:00:00:01 dev dv0",
		"ip netns exec " + w.outside + " ip neigh replace " + server4 + " lladdr 02:00:00:00:00:07 dev dv1",
		"ip netns exec " + w.outside + " ip neigh replace " + server6 + " lladdr 02:00:00:00:00:07 dev dv1",
	} {
		command(t, line)
		if strings.HasPrefix(line, "ip netns add") {
			t.Cleanup(func() { command(t, "ip netns del "+w.outside) })
		}
	}
	opt.Interfaces = []string{"dv0"}
	if opt.Slots == 0 {
		opt.Slots = 64
	}
	var err error
	if w.i, err = scrub.Install(opt); err != nil {
		t.Fatal(err)
	}
	w.i.InstallProxy()
	if w.Table, err = scrub.Take(w.i.Hand); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Table.Close(); err != nil {
			t.Error(err)
		}
		if err := w.i.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// out runs f on a thread in the namespace outside.
func (w *wire) out(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		h, err := netns.GetFromName(w.outside)
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

func (w *wire) publish(change func(p *scrub.Policy)) {
	w.t.Helper()
	p := scrub.Policy{Prefixes: []netip.Prefix{netip.MustParsePrefix(server4 + "/32"), netip.MustParsePrefix(server6 + "/128")}}
	if change != nil {
		change(&p)
	}
	if err := w.Publish([]scrub.Policy{p}, scrub.Options{Proxy: w.i.Proxied()}); err != nil {
		w.t.Fatal(err)
	}
	w.i.Attach()
	if s := w.i.State(); s.Interfaces[0].Mode == scrub.ModeOff || s.Proxy != "" {
		w.t.Fatal(s)
	}
}

// flood sends n packets of a vector at that rate.
func (w *wire) flood(ctx context.Context, vector, addr string, port uint16, n int, rate float64) (sent int) {
	w.t.Helper()
	err := w.out(func() error {
		g, err := flood.New("dv1")
		if err != nil {
			return err
		}
		defer g.Close()
		l, err := g.Receive()
		if err == nil {
			defer l.Close()
		} else if !strings.Contains(err.Error(), "busy") {
			return err
		}
		p, err := flood.For(vector, flood.Target{Addr: netip.MustParseAddr(addr), Port: port, From: net.HardwareAddr{2, 0, 0, 0, 0, 1}, To: net.HardwareAddr{2, 0, 0, 0, 0, 7}})
		if err != nil {
			return err
		}
		sent, err = g.Send(ctx, p, n, rate)
		return err
	})
	if err != nil {
		w.t.Error(err)
	}
	return sent
}

// serve echoes one line a connection.
func serve(t *testing.T, addr string) uint16 {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return uint16(ln.Addr().(*net.TCPAddr).Port)
}

// visit connects once, says something and hears it again.
func (w *wire) visit(addr string, port uint16, size int) error {
	return w.out(func() error {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(addr, fmt.Sprint(port)), 5*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		return echo(c, size)
	})
}

func echo(c net.Conn, size int) error {
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	said := make([]byte, size)
	for i := range said {
		said[i] = byte(i * 7)
	}
	go func() { _, _ = c.Write(said) }()
	heard := make([]byte, size)
	if _, err := io.ReadFull(c, heard); err != nil {
		return err
	}
	if string(heard) != string(said) {
		return fmt.Errorf("the answer is another")
	}
	return nil
}

func challenge(p *scrub.Policy) {
	for _, v := range []scrub.Vector{scrub.SYN, scrub.ACK, scrub.RST, scrub.SYNACK} {
		p.Action[v] = scrub.Challenge
	}
}

// TestHandshakeByCookie: an unmodified client connects through the filter's
// cookie and the kernel's SYN proxy, with its options, in both families.
func TestHandshakeByCookie(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	w := newWire(t, scrub.InstallOptions{Table: "dun_scrub_test"})
	for _, addr := range []string{server4, server6} {
		port := serve(t, addr)
		w.publish(challenge)
		_ = w.flood(t.Context(), "gre", addr, 0, 1, 0) // lets the far end take what the filter answers
		keep := w.keepReceiving()
		for range 20 {
			if err := w.visit(addr, port, 300_000); err != nil {
				t.Fatalf("%s: %v\n%v", addr, err, command(t, "ss -tin"))
			}
		}
		keep()
		c, err := w.Counts(0, false)
		if err != nil || c.Reason[scrub.CookieSent] == 0 || c.Reason[scrub.CookieGood] == 0 {
			t.Error(addr, c.Reason, err)
		}
	}
}

// TestHangingUpAtOnce: a client that closes before the server was asked resets
// nothing.
func TestHangingUpAtOnce(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	w := newWire(t, scrub.InstallOptions{Table: "dun_scrub_test"})
	w.publish(challenge)
	defer w.keepReceiving()()
	for _, addr := range []string{server4, server6} {
		port := serve(t, addr)
		for range 300 {
			if err := w.out(func() error {
				c, err := net.DialTimeout("tcp", net.JoinHostPort(addr, fmt.Sprint(port)), 5*time.Second)
				if err != nil {
					return err
				}
				return c.Close()
			}); err != nil {
				t.Fatal(addr, err)
			}
		}
	}
}

// TestAPortIsUsedAgain: a flow that was proven once is opened anew by a cookie
// like any other.
func TestAPortIsUsedAgain(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	w := newWire(t, scrub.InstallOptions{Table: "dun_scrub_test"})
	w.publish(challenge)
	defer w.keepReceiving()()
	port := serve(t, server4)
	for range 20 {
		if err := w.out(func() error {
			d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(client4), Port: 41234}}
			c, err := d.Dial("tcp", net.JoinHostPort(server4, fmt.Sprint(port)))
			if err != nil {
				return err
			}
			defer c.Close()
			if err := echo(c, 100); err != nil {
				return err
			}
			return c.(*net.TCPConn).SetLinger(0) // no waiting before the port is free
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTheLastAckIsLost: a client whose answer to the cookie does not arrive
// believes that it is connected, and asks for a window with a sequence number
// that it has used: it is let in by that, also where nothing else is lost.
func TestTheLastAckIsLost(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	w := newWire(t, scrub.InstallOptions{Table: "dun_scrub_test"})
	w.publish(challenge)
	defer w.keepReceiving()()
	cmd := exec.Command("ip", "netns", "exec", w.outside, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(`table inet lossy {
	set seen { type inet_service; flags dynamic,timeout; timeout 60s; size 4096; }
	chain out {
		type filter hook output priority 0; policy accept;
		tcp flags == ack tcp sport != @seen add @seen { tcp sport } counter drop
	}
}`)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	for _, addr := range []string{server4, server6} {
		port := serve(t, addr)
		for i := range 10 {
			// Segment sizes of a LAN, PPPoE, a tunnel, a small one. Of IPv4's four
			// places three are needed, so that one pair must be neighbours: there a
			// client of less than 1300 bytes stays out when its answer is lost.
			mtu := []int{1500, 1492, 1420, 1400, 1280}[i/2]
			if mtu == 1280 && addr == server4 {
				continue
			}
			command(t, fmt.Sprintf("ip netns exec %s ip link set dv1 mtu %d", w.outside, mtu))
			if err := w.visit(addr, port, 100_000); err != nil {
				t.Error(addr, mtu, err)
			}
		}
	}
}

// TestTheServerSpeaksFirst: the server takes the proxy's acknowledgement at once,
// with no word from the client, and nothing is sent twice.
func TestTheServerSpeaksFirst(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	w := newWire(t, scrub.InstallOptions{Table: "dun_scrub_test"})
	w.publish(challenge)
	defer w.keepReceiving()()
	for _, addr := range []string{server4, server6} {
		ln, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte("220 ready"))
				c.Close()
			}
		}()
		for range 50 {
			err := w.out(func() error {
				c, err := net.DialTimeout("tcp", ln.Addr().String(), 5*time.Second)
				if err != nil {
					return err
				}
				defer c.Close()
				if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
					return err
				}
				_, err = io.ReadFull(c, make([]byte, 9))
				return err
			})
			if err != nil {
				t.Error(addr, err)
			}
		}
	}
	for _, name := range []string{"TSEcrRejected", "TCPTimeouts"} {
		if n := extended(t, name); n > 0 {
			t.Errorf("%s: %d", name, n)
		}
	}
}

// TestThirdWay: where somebody else's XDP program is in the way it stays, and
// nftables does what it can until it is gone.
func TestThirdWay(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	w := newWire(t, scrub.InstallOptions{Table: "dun_scrub_test"})
	g, err := flood.New("dv0")
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	foreign, err := g.Receive()
	if err != nil {
		t.Fatal(err)
	}
	w.publish(nil)
	if s := w.i.State().Interfaces[0]; s.Mode != scrub.ModeNFT || !strings.Contains(s.Why, "another XDP program") {
		t.Fatalf("%+v", s)
	}
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(`table inet behind {
	counter flood { }
	chain in {
		type filter hook input priority 10; policy accept;
		ip saddr 64.0.0.0/4 counter name flood
		ip6 saddr 2a05::/16 counter name flood
	}
}`)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	arrived := func() (n int) {
		for line := range strings.Lines(command(t, "nft list counter inet behind flood")) {
			if _, err := fmt.Sscanf(strings.TrimSpace(line), "packets %d", &n); err == nil {
				return n
			}
		}
		return -1
	}
	ports := map[string]uint16{}
	for _, addr := range []string{server4, server6} {
		ports[addr] = serve(t, addr)
		if err := w.visit(addr, ports[addr], 100_000); err != nil {
			t.Error("quiet:", addr, err)
		}
	}
	w.publish(func(p *scrub.Policy) {
		challenge(p)
		for _, v := range []scrub.Vector{scrub.UDP, scrub.DNS, scrub.ICMP, scrub.Frag, scrub.Other} {
			p.Action[v], p.RatePerAddress[v] = scrub.Limit, 10
		}
		p.Action[scrub.Amp] = scrub.Drop
		p.StrictAfter = scrub.Monotonic() + time.Minute
		// The service itself is not strict: a flood may go to any port.
	})
	const n = 5000
	for _, addr := range []string{server4, server6} {
		for _, vector := range flood.Vectors {
			before := arrived()
			ctx, stop := context.WithCancel(t.Context())
			var run sync.WaitGroup
			run.Go(func() { w.flood(ctx, vector, addr, ports[addr], n, 20_000) })
			if err := w.visit(addr, ports[addr], 2000); err != nil {
				t.Error(vector, addr, err)
			}
			run.Wait()
			stop()
			if got := arrived() - before; got > 40 {
				t.Errorf("%s to %s: %d of %d arrived", vector, addr, got, n)
			}
		}
	}
	var c scrub.Counts
	until(t, func() bool {
		w.i.Attach()
		if c, err = w.Counts(0, false); err != nil {
			t.Fatal(err)
		}
		return c.Packets[scrub.SYN] >= 2*n*9/10
	})
	for _, v := range traffic.All() {
		if c.Packets[v] < 2*n*8/10 || c.Suspect[v] < 2*n*8/10 || c.Bytes[v] < c.Packets[v]*28 {
			t.Errorf("%s: %d packets, %d suspect, %d bytes", v, c.Packets[v], c.Suspect[v], c.Bytes[v])
		}
	}
	if c.Reason[scrub.CookieSent] < 2*n*8/10 || c.Reason[scrub.ByPolicy] < 2*n*8/10 || c.Reason[scrub.RatePerAddress] < 8*n {
		t.Errorf("%+v", c.Reason)
	}
	if out, err := w.Counts(0, true); err != nil || out.Reason[scrub.Proven] < 10 || out.Packets[scrub.ACK] < 10 {
		t.Error(err, out)
	}
	// The other program goes: XDP is in its place before long, and nftables gone.
	if err := foreign.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { w.i.Attach(); return w.i.State().Interfaces[0].Mode == scrub.ModeNative })
	if out := command(t, "nft list tables"); strings.Contains(out, "rung") {
		t.Error(out)
	}
	defer w.keepReceiving()()
	if err := w.visit(server4, ports[server4], 2000); err != nil {
		t.Error(err)
	}
}

func until(t *testing.T, good func() bool) {
	t.Helper()
	end := time.NewTimer(30 * time.Second)
	defer end.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !good() {
		select {
		case <-end.C:
			t.Fatal("it does not come to that")
		case <-tick.C:
		}
	}
}

// TestAnswersGoTheLongWay: where the other end of the link takes nothing that XDP
// sends, the filter finds that out and answers through the stack.
func TestAnswersGoTheLongWay(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	w := newWire(t, scrub.InstallOptions{Table: "dun_scrub_test"})
	w.publish(challenge)
	stop := make(chan struct{})
	var run sync.WaitGroup
	run.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				w.i.Attach()
			}
		}
	})
	defer run.Wait()
	defer close(stop)
	for _, addr := range []string{server4, server6} {
		port := serve(t, addr)
		for range 5 {
			if err := w.visit(addr, port, 100_000); err != nil {
				t.Error(addr, err)
			}
		}
	}
	c, err := w.Counts(0, true)
	if err != nil {
		t.Fatal(err)
	}
	if c.Packets[scrub.SYNACK] > 0 {
		t.Errorf("%d answers of the filter count as what hosts sent", c.Packets[scrub.SYNACK])
	}
}

// extended is a counter of the kernel's TCP in this network namespace; 0 where
// it has none of the name.
func extended(t *testing.T, name string) int {
	t.Helper()
	b, err := os.ReadFile("/proc/thread-self/net/netstat")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		for j := range names {
			if names[j] == name {
				n, err := strconv.Atoi(values[j])
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
	}
	return 0
}

// keepReceiving lets dv1 take frames that the filter sends by XDP_TX.
func (w *wire) keepReceiving() func() {
	stop, ready, ended := make(chan struct{}), make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		err := w.out(func() error {
			g, err := flood.New("dv1")
			if err != nil {
				return err
			}
			defer g.Close()
			l, err := g.Receive()
			if err != nil {
				return err
			}
			defer l.Close()
			ready <- nil
			<-stop
			return nil
		})
		if err != nil {
			ready <- err
		}
	}()
	if err := <-ready; err != nil {
		w.t.Fatal(err)
	}
	return func() { close(stop); <-ended }
}

// received counts what came through the filter from the flood's sources.
func (w *wire) received() int {
	w.t.Helper()
	n := 0
	for _, line := range strings.Split(command(w.t, "nft list counters"), "\n") {
		var packets, bytes int
		if _, err := fmt.Sscanf(strings.TrimSpace(line), "packets %d bytes %d", &packets, &bytes); err == nil {
			n += packets
		}
	}
	return n
}

// countArrivals counts, at the server's side of the filter, packets of the
// sources that floods use.
func countArrivals(t *testing.T) {
	t.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(`table inet arrivals {
	counter four { }
	counter six { }
	chain raw {
		type filter hook prerouting priority -400; policy accept;
		ip saddr 64.0.0.0/4 counter name four
		ip6 saddr 2a05::/16 counter name six
	}
}`)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
}

// TestFloods: after arming none of a flood reaches the server, and everybody
// who is honest connects; a connection that was there before goes on.
func TestFloods(t *testing.T) {
	if !lab.Alone(t) {
		return
	}
	w := newWire(t, scrub.InstallOptions{Table: "dun_scrub_test"})
	countArrivals(t)
	w.publish(nil) // nothing is dropped: the filter learns
	defer w.keepReceiving()()
	for _, addr := range []string{server4, server6} {
		port := serve(t, addr)
		var old net.Conn
		if err := w.out(func() (err error) {
			old, err = net.DialTimeout("tcp", net.JoinHostPort(addr, fmt.Sprint(port)), 5*time.Second)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer old.Close()
		if err := echo(old, 1000); err != nil {
			t.Fatal(err)
		}
		w.publish(func(p *scrub.Policy) {
			challenge(p)
			for _, v := range []scrub.Vector{scrub.UDP, scrub.Amp, scrub.Frag, scrub.Other} {
				p.Action[v] = scrub.Drop
			}
			p.Action[scrub.ICMP], p.Rate[scrub.ICMP] = scrub.Limit, 1
			p.Action[scrub.DNS] = scrub.Challenge
		})
		for _, vector := range []string{"syn", "ack", "rst", "synack", "udp", "amp", "frag", "icmp", "gre", "dns"} {
			before := w.received()
			sent := make(chan int, 1)
			go func() { sent <- w.flood(t.Context(), vector, addr, 0, 30_000, 100_000) }()
			visits, failed, n := 0, 0, 0
			for failed < 10 && (n == 0 || visits < 30) {
				visits++
				if err := w.visit(addr, port, 2000); err != nil {
					failed++
					t.Log(vector, err)
				}
				select {
				case n = <-sent:
				default:
				}
			}
			if n == 0 {
				n = <-sent
			}
			if err := echo(old, 200_000); err != nil {
				t.Errorf("%s to %s: the connection from before: %v", vector, addr, err)
			}
			leaked := w.received() - before
			t.Logf("%s to %s: %d sent, %d arrived, %d of %d visits failed", vector, addr, n, leaked, failed, visits)
			if n < 25_000 || leaked > 12 || failed > 0 {
				t.Errorf("%s to %s: of %d packets %d arrived; %d of %d visits failed", vector, addr, n, leaked, failed, visits)
			}
		}
	}
}
