package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/plane/detect"
	"github.com/dun-sec/dun/internal/plane/scrub"
)

var (
	attacks  = flag.Int("attacks", 30_000, "of replay: attacks by counters, in simulated time")
	windows  = flag.Int("windows", 10_000, "of replay: honest windows of ten seconds, in simulated time")
	real     = flag.Int("real", 200, "of replay: attacks by packets")
	seed     = flag.Uint64("seed", rand.Uint64(), "of replay; default: another each time")
	captures = flag.String("captures", "../shared/data/pcaps", "of replay: folder of captures of real attacks")
)

// replays counts what the detection centre misses, and what it tells of that is
// none.
func (l *link) replays() error {
	fmt.Printf("%s, load %s; seed %d\n\n", kernel(), load(), *seed)
	if err := replayCounters(); err != nil {
		return err
	}
	replayWindows()
	return l.replayPackets()
}

// parts runs f for 0 to n-1 on every processor.
func parts(n int, f func(i int)) {
	var run sync.WaitGroup
	next := make(chan int)
	for range runtime.NumCPU() {
		run.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	run.Wait()
}

func replayCounters() error {
	var mu sync.Mutex
	var missed []string
	var strong []time.Duration
	parts(*attacks, func(i int) {
		v, strength, right, after := detect.NewReplay(*seed + uint64(i)).Attack()
		mu.Lock()
		defer mu.Unlock()
		if !right {
			missed = append(missed, fmt.Sprintf("seed %d: %s at %.1f times the threshold", *seed+uint64(i), v, strength))
		} else if strength >= 5 {
			strong = append(strong, after)
		}
	})
	slices.Sort(strong)
	fmt.Printf("%d attacks by counters, 1.2 to 50 times the threshold, a third of them ramps: %d missed or named wrong", *attacks, len(missed))
	if len(missed) == 0 {
		fmt.Printf(" (with 95 %% certainty fewer than %.3f %%)", 300/float64(*attacks))
	}
	if len(strong) > 0 {
		fmt.Printf("; at 5 times and more told after %s (median, ramps included)", strong[len(strong)/2].Round(time.Millisecond))
	}
	fmt.Println()
	for _, m := range missed[:min(len(missed), 10)] {
		fmt.Println("   ", m)
	}
	return nil
}

func replayWindows() {
	const each = 100
	var mu sync.Mutex
	alarms := 0
	parts(*windows/each, func(i int) {
		n := detect.NewReplay(^*seed - uint64(i)).Benign(each)
		mu.Lock()
		defer mu.Unlock()
		alarms += n
	})
	fmt.Printf("%d honest windows by counters (crowds ten times the usual, crawlers, backups, a network behind one address): %d false alarms\n", *windows/each*each, alarms)
}

// packetAttack is one that is sent for real.
type packetAttack struct {
	name     string
	vector   traffic.Vector
	strength float64
	rate     float64
	send     func(ctx context.Context, rate float64) error
}

// realThreshold is low enough that fifty times as much can be sent.
const realThreshold = 4000

func (l *link) replayPackets() error {
	// Not by a thread of its own: what the scheduler keeps waiting, the ring drops.
	if err := os.WriteFile("/sys/class/net/dv0/threaded", []byte("0"), 0); err != nil {
		return err
	}
	files, err := readCaptures(*captures)
	if err != nil {
		fmt.Println("captures are left out:", err)
	}
	i, err := scrub.Install(scrub.InstallOptions{Interfaces: []string{"dv0"}, Slots: 16})
	if err != nil {
		return err
	}
	defer i.Close()
	t, err := scrub.Take(i.Hand)
	if err != nil {
		return err
	}
	defer t.Close()
	r := rand.New(rand.NewPCG(*seed, 1))
	vectors := []string{"syn", "udp", "ack", "icmp", "amp", "dns", "frag", "rst", "synack"}
	var missed []string
	var after []time.Duration
	for n := range *real {
		a := packetAttack{strength: min(50, 1.2*pow(1.3, r.IntN(16)))}
		a.rate = a.strength * realThreshold
		if len(files) > 0 && n%3 == 0 {
			c := files[r.IntN(len(files))]
			a.name, a.vector = c.name, c.vector
			frames := c.mutate(r)
			a.send = func(ctx context.Context, rate float64) error { return l.play(ctx, frames, rate) }
		} else {
			a.name = vectors[r.IntN(len(vectors))]
			a.vector, _ = traffic.Parse(a.name)
			a.send = func(ctx context.Context, rate float64) error {
				_, _, err := l.sendAt(ctx, a.name, int(20*rate), rate)
				return err
			}
		}
		x, err := l.realAttack(i, t, a)
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		if !slices.Contains(strings.Split(x.vectors, ","), a.vector.String()) {
			missed = append(missed, fmt.Sprintf("%s at %.1f times the threshold: told %q", a.name, a.strength, x.vectors))
			continue
		}
		if a.strength >= 5 {
			after = append(after, x.after)
		}
	}
	slices.Sort(after)
	fmt.Printf("%d attacks by packets, a third of them from captures of real ones: %d missed or named wrong", *real, len(missed))
	if len(after) > 0 {
		fmt.Printf("; %d at 5 times the threshold and more: told after %s (median), %s (99th), %s (worst)", len(after),
			after[len(after)/2].Round(time.Millisecond), after[len(after)*99/100].Round(time.Millisecond), after[len(after)-1].Round(time.Millisecond))
	}
	fmt.Println()
	for _, m := range missed {
		fmt.Println("   ", m)
	}
	return nil
}

func pow(x float64, n int) float64 {
	out := 1.0
	for range n {
		out *= x
	}
	return out
}

// hearing waits for the first word of an attack.
type hearing struct {
	first chan events.Event
	once  sync.Once
}

func (h *hearing) Add(e events.Event) { h.once.Do(func() { h.first <- e }) }

// realAttack lets one begin and waits for the word, 15 s at most.
func (l *link) realAttack(i *scrub.Installation, t *scrub.Table, a packetAttack) (told, error) {
	heard := &hearing{first: make(chan events.Event, 1)}
	d := detect.New(detect.Options{Events: heard})
	c := scrub.NewCentre(scrub.CentreOptions{Name: "n1", Table: t, Readings: d.Count, Samples: d.Sample})
	ctx, stop := context.WithCancel(context.Background())
	var run sync.WaitGroup
	defer run.Wait()
	defer stop()
	run.Go(func() { _ = c.Run(ctx, &feed{each: realThreshold}) })
	run.Go(func() { _ = d.Run(ctx, &feed{each: realThreshold}) })
	if err := attached(ctx, i); err != nil {
		return told{}, err
	}
	pause(ctx, 500*time.Millisecond)
	start := time.Now()
	sent := make(chan error, 1)
	run.Go(func() { sent <- a.send(ctx, a.rate) })
	end := time.NewTimer(15 * time.Second)
	defer end.Stop()
	for {
		select {
		case e := <-heard.first:
			return told{after: time.Since(start), vectors: e.Attributes["vectors"]}, nil
		case <-end.C:
			return told{}, nil
		case err := <-sent:
			if err != nil && ctx.Err() == nil {
				return told{}, err
			}
			sent = nil
		}
	}
}

// capture is one of a real attack.
type capture struct {
	name   string
	vector traffic.Vector
	packet [][]byte // of IPv4, whole
}

// readCaptures reads what is called ….synflood… and amp.… in a folder.
func readCaptures(dir string) ([]capture, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.pcap*"))
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("%s holds none", dir)
	}
	var out []capture
	for _, name := range names {
		c := capture{name: filepath.Base(name), vector: traffic.Amp}
		if strings.Contains(name, "synflood") {
			c.vector = traffic.SYN
		}
		if c.packet, err = readCapture(name); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, c)
	}
	return out, nil
}

func readCapture(name string) ([][]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var next interface {
		ReadPacketData() ([]byte, gopacket.CaptureInfo, error)
	}
	// By what it is: their names do not say.
	if next, err = pcapgo.NewReader(f); err != nil {
		if _, err = f.Seek(0, io.SeekStart); err == nil {
			next, err = pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions)
		}
	}
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for {
		b, _, err := next.ReadPacketData()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		// Behind Ethernet, perhaps with a tag.
		for _, at := range []int{14, 18} {
			if len(b) >= at+28 && b[at-2] == 8 && b[at-1] == 0 && b[at]>>4 == 4 && len(b) <= 1514 {
				out = append(out, b[at:])
				break
			}
		}
	}
}

// mutate makes frames to the server of a capture's packets: another part of it,
// other sources, other distances.
func (c *capture) mutate(r *rand.Rand) [][]byte {
	var out [][]byte
	flip, far := r.Uint32()&0x00ffffff, byte(r.IntN(20))
	at := r.IntN(len(c.packet))
	to := netip.MustParseAddr(server).As4()
	for n := range min(len(c.packet), 5000) {
		ip := slices.Clone(c.packet[(at+n)%len(c.packet)])
		head := int(ip[0]&15) * 4
		if head < 20 || len(ip) < head+8 {
			continue
		}
		before := slices.Clone(ip[12:20])
		binary.BigEndian.PutUint32(ip[12:], binary.BigEndian.Uint32(ip[12:])^flip)
		copy(ip[16:], to[:])
		ip[8] = max(2, ip[8]-far)
		binary.BigEndian.PutUint16(ip[10:], 0)
		binary.BigEndian.PutUint16(ip[10:], ^sum16(0, ip[:head]))
		sum := head + 16
		if ip[9] == 17 {
			sum = head + 6
		}
		if (ip[9] == 6 || ip[9] == 17) && len(ip) >= sum+2 && binary.BigEndian.Uint16(ip[6:])&0x1fff == 0 {
			old := binary.BigEndian.Uint16(ip[sum:])
			s := uint32(^old)
			for i := 0; i < 8; i += 2 { // RFC 1624
				s += uint32(^binary.BigEndian.Uint16(before[i:])) + uint32(binary.BigEndian.Uint16(ip[12+i:]))
			}
			binary.BigEndian.PutUint16(ip[sum:], ^sum16(s, nil))
		}
		frame := append([]byte{2, 0, 0, 0, 0, 7, 2, 0, 0, 0, 0, 1, 8, 0}, ip...)
		for len(frame) < 60 {
			frame = append(frame, 0)
		}
		out = append(out, frame)
	}
	return out
}

func sum16(s uint32, b []byte) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// play sends frames again and again at a rate, until ctx ends.
func (l *link) play(ctx context.Context, frames [][]byte, rate float64) error {
	return l.out(func() error {
		ifi, err := net.InterfaceByName("dv1")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		to := &unix.SockaddrLinklayer{Ifindex: ifi.Index, Halen: 6}
		start := time.Now()
		for n := 0; ctx.Err() == nil; {
			due := int(time.Since(start).Seconds() * rate)
			for ; n < due && ctx.Err() == nil; n++ {
				if err := unix.Sendto(fd, frames[n%len(frames)], 0, to); err != nil && !errors.Is(err, syscall.ENOBUFS) {
					return err
				}
			}
			pause(ctx, 2*time.Millisecond)
		}
		return nil
	})
}
