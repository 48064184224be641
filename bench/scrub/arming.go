package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/kinds/shield"
	"github.com/dun-sec/dun/internal/plane/detect"
	"github.com/dun-sec/dun/internal/plane/scrub"
	"github.com/dun-sec/dun/internal/plane/scrub/flood"
)

const (
	server6, client6 = "2001:db8:7::7", "2001:db8:7::1"
	armingPort       = "8080"
	visitors         = 4
	armingVisits     = 600 // of each flood
	mostRate         = 200_000
	crowdUsual       = 100  // connects a second
	crowdLimit       = 1000 // what the detector takes for a threshold there: its floor
)

// armings floods a server that the centres guard, both families, and says what
// came through, before and after the filter was armed, and how honest clients
// fared.
func (l *link) armings() error {
	in := "ip netns exec " + l.outside + " "
	for _, line := range []string{
		"ip -6 addr add " + server6 + "/64 dev dv0 nodad", in + "ip -6 addr add " + client6 + "/64 dev dv1 nodad", "ip -6 route add default via " + client6,
		"ip -6 neigh replace " + client6 + " lladdr 02:00:00:00:00:01 dev dv0", in + "ip -6 neigh replace " + server6 + " lladdr 02:00:00:00:00:07 dev dv1",
		in + "ip neigh replace " + server + " lladdr 02:00:00:00:00:07 dev dv1",
	} {
		if err := sh(line); err != nil {
			return err
		}
	}
	// Not by a thread of its own: what the scheduler keeps waiting, the ring drops.
	if err := os.WriteFile("/sys/class/net/dv0/threaded", []byte("0"), 0); err != nil {
		return err
	}
	// What got through to the stack. Not of the generator: a client that is answered
	// is none.
	if err := nft("table inet arrivals {\n counter flood { }\n chain raw { type filter hook prerouting priority -400; policy accept\n ip saddr 64.0.0.0/4 counter name flood\n ip6 saddr 2a05::/16 counter name flood\n }\n}\n"); err != nil {
		return err
	}
	for _, addr := range []string{server, server6} {
		ln, err := net.Listen("tcp", net.JoinHostPort(addr, armingPort))
		if err != nil {
			return err
		}
		defer ln.Close()
		go serveEcho(ln)
	}
	g, err := l.guard()
	if err != nil {
		return err
	}
	defer g.close()
	rate, most, err := l.lossless(g)
	if err != nil {
		return err
	}
	fmt.Printf("%s, load %s; without loss the link carries %d packets a second and more, floods are of %d\n\n", kernel(), load(), most, rate)
	fmt.Printf("%-14s %9s %9s %8s %8s %9s %14s %11s %11s %9s\n", "flood", "sent", "link lost", "armed", "before", "after", "kept away", "connects", "p99 quiet", "p99")
	for _, addr := range []string{server, server6} {
		var quiet, flooded fare
		for _, vector := range []string{"syn", "ack", "udp", "synack", "icmp", "amp"} {
			if err := l.arming(g, addr, vector, float64(rate), &quiet, &flooded); err != nil {
				return fmt.Errorf("%s to %s: %w", vector, addr, err)
			}
		}
		fmt.Printf("%d of %d connects to %s under attack: p99 %s; quiet, in between: %s; %.2f times\n", flooded.made-flooded.failed, flooded.made, addr,
			flooded.p99().Round(10*time.Microsecond), quiet.p99().Round(10*time.Microsecond), float64(flooded.p99())/float64(quiet.p99()))
	}
	return l.crowd(g)
}

func serveEcho(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c) // until the client hangs up
		}()
	}
}

// guard is both centres on dv0.
type guard struct {
	i     *scrub.Installation
	t     *scrub.Table
	c     *scrub.Centre
	d     *detect.Detector
	armed atomic.Int64 // when, since the epoch; 0 = not
	told  atomic.Int64
	stop  func()
	feed  *records
}

func (g *guard) Add(e events.Event) {
	if e.Attributes["phase"] == detect.PhaseStart {
		g.told.Add(1)
	}
}

// records is the feed of one ProtectedAddress of each family.
type records struct{ limit chan int }

func (r *records) Next(ctx context.Context) (resource.Batch, error) {
	select {
	case <-ctx.Done():
		return resource.Batch{}, ctx.Err()
	case n := <-r.limit:
		b := resource.Batch{Reset: true, Synced: true}
		for name, prefix := range map[string]string{"four": server, "six": server6} {
			spec := &shield.ProtectedAddressSpec{Prefix: prefix, Services: []shield.Service{{Protocol: "tcp", Ports: armingPort}}}
			for _, v := range traffic.All() {
				spec.Thresholds = append(spec.Thresholds, shield.Threshold{Vector: v.String(), Packets: n})
			}
			o := &resource.Object{Kind: "ProtectedAddress", Metadata: resource.Metadata{Tenant: "platform", Name: name, UID: "u" + name}, Spec: spec}
			b.Changes = append(b.Changes, resource.Change{Ref: o.Ref(), Object: o})
		}
		return b, nil
	}
}

func (l *link) guard() (*guard, error) {
	i, err := scrub.Install(scrub.InstallOptions{Interfaces: []string{"dv0"}, Table: "dun_scrub_bench", Slots: 16})
	if err != nil {
		return nil, err
	}
	i.InstallProxy()
	t, err := scrub.Take(i.Hand)
	if err != nil {
		return nil, errors.Join(err, i.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	g := &guard{i: i, t: t}
	g.d = detect.New(detect.Options{Events: g, Obey: func(o traffic.Order) bool {
		done := g.c.Obey(o)
		if o.For > 0 {
			g.armed.CompareAndSwap(0, time.Now().UnixNano())
		}
		return done
	}})
	g.c = scrub.NewCentre(scrub.CentreOptions{Name: "n1", Table: t, Proxied: i.Proxied, Readings: g.d.Count, Samples: g.d.Sample})
	centre, detector := &records{make(chan int, 1)}, &records{make(chan int, 1)}
	var run sync.WaitGroup
	run.Go(func() { _ = g.c.Run(ctx, centre) })
	run.Go(func() { _ = g.d.Run(ctx, detector) })
	g.stop = func() { stop(); run.Wait() }
	centre.limit <- realThreshold
	detector.limit <- realThreshold
	g.feed = detector
	if err := attached(ctx, i); err != nil {
		return nil, errors.Join(err, g.close())
	}
	if !i.Proxied() {
		return nil, errors.Join(fmt.Errorf("no SYN proxy: %s", i.State().Proxy), g.close())
	}
	return g, nil
}

func (g *guard) close() error {
	g.stop()
	return errors.Join(g.t.Close(), g.i.Close(), scrub.RemoveProxy("dun_scrub_bench"))
}

// settle waits until no attack is under way and nothing is armed.
func (g *guard) settle(ctx context.Context) {
	for end := time.Now().Add(time.Minute); time.Now().Before(end) && len(g.d.Attacks()) > 0; {
		pause(ctx, 100*time.Millisecond)
	}
	pause(ctx, 500*time.Millisecond)
	g.armed.Store(0)
}

// lossless finds the most that the link carries with nothing lost while clients
// visit, by doubling, and half of that, within reason: what the link's ring
// loses, no filter has seen.
func (l *link) lossless(g *guard) (rate, most int, err error) {
	for r := 25_000; r <= 1_600_000; r *= 2 {
		ctx, stop := context.WithCancel(context.Background())
		var run sync.WaitGroup
		run.Go(func() { l.visits(ctx, server, 1_000_000) })
		before := l.arrived()
		n, err := l.flood(ctx, server, "syn", float64(r), 3*r)
		pause(ctx, 50*time.Millisecond)
		got := l.arrived() - before
		stop()
		run.Wait()
		if err != nil {
			return 0, 0, err
		}
		if got < 0.9999*float64(n) {
			break
		}
		most = r
	}
	g.settle(context.Background())
	if most == 0 {
		return 0, 0, errors.New("the link loses packets of 25 000 a second: too busy a machine")
	}
	return min(most/2, mostRate), most, nil
}

func arrivals() (n float64) {
	out, err := exec.Command("nft", "list", "counters").Output()
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(out)) {
		if _, err := fmt.Sscanf(strings.TrimSpace(line), "packets %f", &n); err == nil {
			return n
		}
	}
	return 0
}

// fare is how visitors fared.
type fare struct {
	made, failed int
	took         []time.Duration
	why          string
}

func (f *fare) add(x fare) {
	f.made, f.failed, f.took = f.made+x.made, f.failed+x.failed, append(f.took, x.took...)
}

func (f *fare) p99() time.Duration {
	if len(f.took) == 0 {
		return 0
	}
	slices.Sort(f.took)
	return f.took[len(f.took)*99/100]
}

// visits connects so many times, or as long as ctx lasts, from a few clients at
// once: a handshake, a question, its answer, the end.
func (l *link) visits(ctx context.Context, addr string, n int) fare {
	var mu sync.Mutex
	var f fare
	var left atomic.Int64
	left.Store(int64(n))
	var run sync.WaitGroup
	for range visitors {
		run.Go(func() {
			_ = l.out(func() error {
				for left.Add(-1) >= 0 && ctx.Err() == nil {
					start := time.Now()
					err := ask(net.JoinHostPort(addr, armingPort))
					mu.Lock()
					f.made++
					if err != nil {
						f.failed++
						f.why = err.Error()
					}
					f.took = append(f.took, time.Since(start))
					mu.Unlock()
					pause(ctx, 5*time.Millisecond)
				}
				return nil
			})
		})
	}
	run.Wait()
	return f
}

func ask(to string) error {
	c, err := net.DialTimeout("tcp", to, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("ask")); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 3))
	return err
}

// transfer is a connection that is older than the flood: bytes go to and fro
// until ctx ends.
func (l *link) transfer(ctx context.Context, addr string) (bytes int, err error) {
	err = l.out(func() error {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(addr, armingPort), 5*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		block, back := make([]byte, 16<<10), make([]byte, 16<<10)
		for ctx.Err() == nil {
			if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				return err
			}
			if _, err := c.Write(block); err != nil {
				return err
			}
			if _, err := io.ReadFull(c, back); err != nil {
				return err
			}
			bytes += len(block)
			pause(ctx, 10*time.Millisecond)
		}
		return nil
	})
	return bytes, err
}

// arming is one flood.
func (l *link) arming(g *guard, addr, vector string, rate float64, quiet, flooded *fare) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	g.settle(ctx)
	var run sync.WaitGroup
	var moved int
	var cut error
	run.Go(func() { moved, cut = l.transfer(ctx, addr) })
	pause(ctx, 300*time.Millisecond)
	still := l.visits(ctx, addr, armingVisits)
	quiet.add(still)
	at0, rx0, start := arrivals(), l.arrived(), time.Now()
	flooding, enough := context.WithCancel(ctx)
	defer enough()
	sent := make(chan error, 1)
	total := 0
	go func() {
		var err error
		total, err = l.flood(flooding, addr, vector, rate, int(60*rate))
		sent <- err
	}()
	for end := time.Now().Add(15 * time.Second); g.armed.Load() == 0 && time.Now().Before(end); {
		pause(ctx, 2*time.Millisecond)
	}
	if g.armed.Load() == 0 {
		return errors.New("nothing was armed")
	}
	after := time.Unix(0, g.armed.Load()).Sub(start)
	pause(ctx, 50*time.Millisecond) // what is in the rings
	at1 := arrivals()
	f := l.visits(ctx, addr, armingVisits)
	flooded.add(f)
	at2, rx2 := arrivals(), 0.0
	enough()
	if err := <-sent; err != nil {
		return err
	}
	pause(ctx, 50*time.Millisecond)
	rx2 = l.arrived()
	stop()
	run.Wait()
	lost := 1 - (rx2-rx0)/float64(total)
	name := vector
	if addr == server6 {
		name += ", IPv6"
	}
	share := 1 - (at2-at1)/max(1, float64(total)-(at1-at0))
	fmt.Printf("%-14s %9d %8.3f%% %8s %8.0f %9.0f %13.4f%% %5d/%-5d %11s %9s\n", name, total, 100*max(0, lost), after.Round(time.Millisecond), at1-at0, at2-at1, 100*share, f.made-f.failed, f.made, still.p99().Round(10*time.Microsecond), f.p99().Round(10*time.Microsecond))
	if f.failed > 0 {
		fmt.Println("    failed:", f.why)
	}
	if cut != nil || moved == 0 {
		fmt.Printf("    the transfer that was older than the flood: %d bytes, %v\n", moved, cut)
	}
	return nil
}

func (l *link) flood(ctx context.Context, addr, vector string, rate float64, packets int) (n int, err error) {
	err = l.out(func() error {
		g, err := flood.New("dv1")
		if err != nil {
			return err
		}
		defer g.Close()
		back, err := g.Receive()
		if err != nil {
			return err
		}
		defer back.Close()
		p, err := flood.For(vector, flood.Target{Addr: netip.MustParseAddr(addr), From: net.HardwareAddr{2, 0, 0, 0, 0, 1}, To: net.HardwareAddr{2, 0, 0, 0, 0, 7}})
		if err != nil {
			return err
		}
		n, err = g.Send(ctx, p, packets, rate)
		return err
	})
	return n, err
}

// receive makes dv1 take what the filter answers.
func (l *link) receive() (free func(), err error) {
	err = l.out(func() error {
		g, err := flood.New("dv1")
		if err != nil {
			return err
		}
		back, err := g.Receive()
		if err != nil {
			return errors.Join(err, g.Close())
		}
		free = func() { _ = errors.Join(back.Close(), g.Close()) }
		return nil
	})
	return free, err
}

// crowd lets ten times as many connect as is usual.
func (l *link) crowd(g *guard) error {
	ctx := context.Background()
	g.settle(ctx)
	g.feed.limit <- crowdLimit
	pause(ctx, time.Second)
	told := g.told.Load()
	free, err := l.receive() // what the filter may answer
	if err != nil {
		return err
	}
	defer free()
	ctx, stop := context.WithTimeout(ctx, 12*time.Second)
	defer stop()
	tick := time.NewTicker(time.Second / (10 * crowdUsual))
	defer tick.Stop()
	var made, failed atomic.Int64
	var mu sync.Mutex
	reasons := map[string]int{} // of failures
	var run sync.WaitGroup
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			continue
		case <-tick.C:
		}
		run.Go(func() {
			made.Add(1)
			if err := l.out(func() error { return ask(net.JoinHostPort(server, armingPort)) }); err != nil {
				failed.Add(1)
				why := err.Error()
				if i := strings.LastIndex(why, ": "); i >= 0 {
					why = why[i+2:]
				}
				mu.Lock()
				reasons[why]++
				mu.Unlock()
			}
		})
	}
	run.Wait()
	c := g.c.Live()
	dropped := 0.0
	for _, x := range c {
		for _, n := range x.Dropped {
			dropped += n
		}
	}
	fmt.Printf("\na crowd ten times the usual, at the threshold: %d connects in 12 s, %d failed; %d attacks told of, %.0f packets dropped\n", made.Load(), failed.Load(), g.told.Load()-told, dropped)
	for why, n := range reasons {
		fmt.Printf("    failed: %s: %d\n", why, n)
	}
	return nil
}
