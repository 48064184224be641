// Package flood sends many copies of one frame, with fields of it random, out
// of an interface: the generator of drills and of the lab. It owns nothing of
// the network. It sends only from interfaces of type veth, in the network
// namespace of the thread that calls, and never more or longer than it was told.
package flood

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Bounds of one flood.
const (
	MaxFrame   = 1500 // bytes
	MaxSeconds = 600
	batch      = 64
)

// Field is a part of the frame that is random in each copy: so many 16-bit words at an even
// offset, as the mask says (network order, the first word in its upper half).
type Field struct {
	Offset int
	Words  int // 1 or 2
	Mask   uint32
	IP, L4 bool // which checksums cover it
}

// Plan is what is sent.
type Plan struct {
	Frame        []byte
	Fields       []Field // at most 8
	IPSum, L4Sum int     // offsets of the checksums; 0 = none
}

// Generator sends from one interface.
type Generator struct {
	objects programObjects
	index   int
}

// liveFrames: BPF_F_TEST_XDP_LIVE_FRAMES.
const liveFrames = 1 << 1

// New makes a generator for an interface of the calling thread's namespace.
func New(name string) (*Generator, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	if l.Type() != "veth" {
		return nil, fmt.Errorf("interface %s is of type %s: floods are sent from veth pairs alone", name, l.Type())
	}
	g := &Generator{index: l.Attrs().Index}
	if err := loadProgramObjects(&g.objects, nil); err != nil {
		return nil, fmt.Errorf("load the generator: %w", err)
	}
	return g, nil
}

// Close gives back what it holds.
func (g *Generator) Close() error { return g.objects.Close() }

// Receive makes the interface take frames that its peer sends by XDP; without
// it a veth forgets them after some hundred.
func (g *Generator) Receive() (link.Link, error) {
	return link.AttachXDP(link.XDPOptions{Program: g.objects.Pass, Interface: g.index, Flags: link.XDPDriverMode})
}

// Swallow makes an interface drop all at once: the cheapest that there is.
func (g *Generator) Swallow(index int) (link.Link, error) {
	return link.AttachXDP(link.XDPOptions{Program: g.objects.Drop, Interface: index, Flags: link.XDPDriverMode})
}

func (g *Generator) arm(p Plan) error {
	if len(p.Frame) < 60 || len(p.Frame) > MaxFrame || len(p.Fields) > 8 {
		return fmt.Errorf("a frame has 60 to %d bytes and at most 8 random fields", MaxFrame)
	}
	plan := programPlan{Length: uint32(len(p.Frame)), Fields: uint32(len(p.Fields)), IpSum: uint32(p.IPSum), L4Sum: uint32(p.L4Sum)}
	copy(plan.Frame[:], p.Frame)
	for i, f := range p.Fields {
		e := &plan.Field[i]
		if f.Offset%2 != 0 || f.Offset < 0 || f.Offset+4 > len(p.Frame) || f.Words < 1 || f.Words > 2 {
			return fmt.Errorf("field %d: an even offset within the frame, one or two words", i)
		}
		var mask [4]byte
		binary.BigEndian.PutUint32(mask[:], f.Mask)
		e.Offset, e.Words, e.Mask = uint16(f.Offset), uint8(f.Words), binary.NativeEndian.Uint32(mask[:])
		if f.IP {
			e.Sums |= 1
		}
		if f.L4 {
			e.Sums |= 2
		}
	}
	return g.objects.Plans.Put(uint32(0), &plan)
}

// Send sends n frames at that rate (packets a second; 0 = as fast as it goes),
// or until ctx ends, and returns how many went out.
func (g *Generator) Send(ctx context.Context, p Plan, n int, rate float64) (int, error) {
	if err := g.arm(p); err != nil {
		return 0, err
	}
	before, err := g.sent()
	if err != nil {
		return 0, err
	}
	if rate <= 0 {
		err = g.burst(ctx, p.Frame, n)
	} else {
		err = g.paced(ctx, p.Frame, n, rate)
	}
	if err != nil {
		return 0, err
	}
	after, err := g.sent()
	return int(after - before), err
}

// Each run of the program costs some 20 ms, whatever it sends, in which the
// kernel waits for itself. One that runs alone is read by the receiver after
// every batch, on the same processor; two at once overrun its ring of 256.
const (
	runCost    = 30 * time.Millisecond
	maxWorkers = 4
	atOnce     = 16_384
)

// burst sends as fast as it goes.
func (g *Generator) burst(ctx context.Context, frame []byte, n int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for start := time.Now(); n > 0 && ctx.Err() == nil && time.Since(start) < MaxSeconds*time.Second; n -= atOnce {
		if err := g.run(frame, min(n, atOnce)); err != nil {
			return err
		}
	}
	return nil
}

// paced sends at a rate, by workers that run the program in turn.
func (g *Generator) paced(ctx context.Context, frame []byte, n int, rate float64) error {
	each := rate * runCost.Seconds()
	workers := max(1, min(maxWorkers, int(each/atOnce)+1))
	size := max(1, int(each/float64(workers)))
	here, err := netns.Get()
	if err != nil {
		return fmt.Errorf("this network namespace: %w", err)
	}
	defer here.Close()
	ctx, stop := context.WithTimeout(ctx, MaxSeconds*time.Second)
	defer stop()
	var run sync.WaitGroup
	errs := make(chan error, workers)
	start := time.Now()
	var turn sync.Mutex
	given := 0
	// A run that took longer than it should is made up for by the next ones.
	next := func() (at, count int) {
		turn.Lock()
		defer turn.Unlock()
		at = given
		behind := int(time.Since(start).Seconds()*rate) - at
		given += min(max(size, behind), 4*size)
		return at, given - at
	}
	for range workers {
		run.Go(func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			if err := netns.Set(here); err != nil {
				errs <- err
				return
			}
			for ctx.Err() == nil {
				at, count := next()
				if at >= n {
					return
				}
				if ahead := time.Duration(float64(at)/rate*float64(time.Second)) - time.Since(start); ahead > 0 {
					wait(ctx, ahead)
				}
				if err := g.run(frame, min(count, n-at)); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	run.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (g *Generator) run(frame []byte, n int) error {
	md := programContext{DataEnd: uint32(len(frame)), IngressIfindex: uint32(g.index)}
	_, err := g.objects.Flood.Run(&ebpf.RunOptions{Data: frame, Repeat: uint32(n), Flags: liveFrames, BatchSize: batch, Context: md})
	if err != nil && !errors.Is(err, ebpf.ErrNotSupported) {
		return fmt.Errorf("send: %w", err)
	}
	return err
}

// programContext is struct xdp_md (include/uapi/linux/bpf.h).
type programContext struct {
	Data, DataEnd, DataMeta, IngressIfindex, RxQueueIndex, EgressIfindex uint32
}

func (g *Generator) sent() (sum uint64, err error) {
	var each []uint64
	if err := g.objects.Sent.Lookup(uint32(0), &each); err != nil {
		return 0, fmt.Errorf("count what was sent: %w", err)
	}
	for _, n := range each {
		sum += n
	}
	return sum, nil
}
