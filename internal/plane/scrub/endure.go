package scrub

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/dun-sec/dun/internal/plane/scrub/flood"
)

// Endurance is what a twin of the filter bore: an upgrade under attack, a load
// that doubles, many sources, and how much a core looks through (controls 8.1-19
// and 8.1-22). Counts are packets.
type Endurance struct {
	Upgrade Trial  `json:"upgrade"` // SYNs, half of them before an upgrade and half after
	Honest  Trial  `json:"honest"`  // segments of connections that were proven before it
	Load    [2]int `json:"load"`    // what passed of one load, and of twice that; of each as much is sent as Burst says
	Burst   int    `json:"burst"`
	Sources int    `json:"sources"` // that sent, each once
	Entries int    `json:"entries"` // that they left in tables
	Grown   int64  `json:"grown"`   // bytes of kernel memory that all maps grew by
	Pace    []Pace `json:"pace"`
}

// Pace is the time of a core for a packet of 64 bytes, of so many cores at once.
type Pace struct {
	Cores int     `json:"cores"`
	Each  float64 `json:"each"` // ns
}

const (
	endureSources = 50_000
	paceFrames    = 64
	paceRepeat    = 2000
)

// Endure tries it. change breaks the policy on purpose; nil = as it is.
func (w *Twin) Endure(change func(*Policy)) (e Endurance, err error) {
	policy := armed()
	open := Policy{Prefixes: policy.Prefixes}
	if change != nil {
		change(&policy)
	}
	publish := func(p Policy) error { return w.t.Publish([]Policy{p}, Options{Proxy: true}) }

	if err = publish(open); err != nil {
		return e, err
	}
	var seen Trial
	if err = w.syns(0, trialPackets, &seen); err != nil {
		return e, err
	}
	if err = publish(policy); err != nil {
		return e, err
	}
	if err = w.syns(0, trialPackets/2, &e.Upgrade); err != nil {
		return e, err
	}
	if err = w.prove(); err != nil {
		return e, err
	}
	w.upgrade()
	if err = w.syns(trialPackets/2, trialPackets, &e.Upgrade); err != nil {
		return e, err
	}
	if err = w.goOn(&e.Honest); err != nil {
		return e, err
	}
	e.Upgrade.What, e.Upgrade.Twin = "upgrade", seen.Passed
	e.Honest.What = "honest"

	e.Burst = trialPackets
	for i := range e.Load {
		if err = publish(policy); err != nil { // the buckets go on
			return e, err
		}
		var t Trial
		for range i + 1 {
			if err = w.try("icmp", twin4, &t); err != nil {
				return e, err
			}
		}
		e.Load[i] = t.Passed
	}
	if err = w.many(&e); err != nil {
		return e, err
	}
	e.Pace, err = w.pace()
	return e, err
}

// syns sends those from n to m of a flood of SYNs, in both families.
func (w *Twin) syns(n, m int, t *Trial) error {
	for _, dst := range []netip.Addr{twin4, twin6} {
		f, err := flood.For("syn", flood.Target{Addr: dst, Port: 443, From: twinMAC, To: twinMAC})
		if err != nil {
			return err
		}
		for i := n; i < m; i++ {
			vary(f.Frame, dst, uint32(i))
			if err := w.in(f.Frame, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// prove opens connections.
func (w *Twin) prove() error {
	for _, dst := range []netip.Addr{twin4, twin6} {
		var t Trial
		if err := w.connect(dst, &t); err != nil {
			return err
		}
	}
	return nil
}

// goOn sends one segment of each connection that prove opened.
func (w *Twin) goOn(t *Trial) error {
	for _, dst := range []netip.Addr{twin4, twin6} {
		f, err := flood.For("ack", flood.Target{Addr: dst, Port: 443, From: twinMAC, To: twinMAC})
		if err != nil {
			return err
		}
		l4 := 34
		if dst.Is6() {
			l4 = 54
		}
		for n := range uint32(20) {
			vary(f.Frame, dst, 1_000_000+n)
			binary.BigEndian.PutUint16(f.Frame[l4:], uint16(20_000+n))
			binary.BigEndian.PutUint32(f.Frame[l4+8:], 4711) // no cookie
			if err := w.in(f.Frame, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// upgrade does what a new process does: other programs over the same maps.
func (w *Twin) upgrade() { w.i.c, w.heir = w.heir, w.i.c }

// inherit loads the programs a second time, over the maps that are there. That
// needs more privileges than are kept, so it is done at the start.
func (w *Twin) inherit() (err error) {
	spec, err := loadFilter()
	if err != nil {
		return err
	}
	for name, m := range w.i.c.Maps { // else the replacement is refused as another shape
		if s := spec.Maps[name]; s != nil {
			s.MaxEntries, s.ValueSize = m.MaxEntries(), m.ValueSize()
		}
	}
	if w.heir, err = ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: w.i.c.Maps}); err != nil {
		return fmt.Errorf("load the filter's twin again: %w", err)
	}
	return nil
}

// many lets many sources send a SYN each, and looks at what they left.
func (w *Twin) many(e *Endurance) error {
	tables := []string{filterMapProven, filterMapAsked, filterMapKnown, filterMapDeny}
	entries, memory, err := w.held(tables)
	if err != nil {
		return err
	}
	var t Trial
	if err := w.syns(trialPackets, trialPackets+endureSources/2, &t); err != nil {
		return err
	}
	e.Sources = t.Sent
	after, grown, err := w.held(tables)
	e.Entries, e.Grown = after-entries, grown-memory
	return err
}

func (w *Twin) held(tables []string) (entries int, memory int64, err error) {
	for name, m := range w.i.c.Maps {
		info, err := m.Info()
		if err != nil {
			return 0, 0, fmt.Errorf("size of %s: %w", name, err)
		}
		if n, ok := info.Memlock(); ok {
			memory += int64(n)
		}
		if !slices.Contains(tables, name) {
			continue
		}
		it, key, value := m.Iterate(), make([]byte, m.KeySize()), make([]byte, m.ValueSize())
		for it.Next(&key, &value) {
			entries++
		}
		if err := it.Err(); err != nil {
			return 0, 0, fmt.Errorf("entries of %s: %w", name, err)
		}
	}
	return entries, memory, nil
}

// pace lets one core, and then two at once, look through a flood.
func (w *Twin) pace() ([]Pace, error) {
	var out []Pace
	var cpus unix.CPUSet
	if err := unix.SchedGetaffinity(0, &cpus); err != nil {
		return nil, fmt.Errorf("processors: %w", err)
	}
	var list []int
	for i := 0; len(list) < 2 && i < 1024; i++ {
		if cpus.IsSet(i) {
			list = append(list, i)
		}
	}
	for n := 1; n <= len(list); n++ {
		var run sync.WaitGroup
		each, errs := make([]time.Duration, n), make([]error, n)
		for i, cpu := range list[:n] {
			run.Go(func() { each[i], errs[i] = w.spend(cpu) })
		}
		run.Wait()
		for _, err := range errs {
			if err != nil {
				return nil, err
			}
		}
		out = append(out, Pace{Cores: n, Each: float64(slices.Max(each))})
	}
	return out, nil
}

// spend is the time of one core for a packet of a flood: the median of the frames,
// since a machine that is taken away for a moment says nothing of the filter. Its
// thread ends with it.
func (w *Twin) spend(cpu int) (time.Duration, error) {
	type spent struct {
		time time.Duration
		err  error
	}
	done := make(chan spent, 1)
	go func() {
		runtime.LockOSThread()
		var s spent
		s.time, s.err = w.flooded(cpu)
		done <- s
	}()
	s := <-done
	return s.time, s.err
}

func (w *Twin) flooded(cpu int) (time.Duration, error) {
	var one unix.CPUSet
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return 0, fmt.Errorf("processor %d: %w", cpu, err)
	}
	f, err := flood.For("udp", flood.Target{Addr: twin4, Port: 443, From: twinMAC, To: twinMAC})
	if err != nil {
		return 0, err
	}
	frame := append(slices.Clone(f.Frame), make([]byte, max(0, 60-len(f.Frame)))...) // 64 with the checksum
	var each []time.Duration
	for n := range uint32(paceFrames) {
		vary(frame, twin4, n)
		// The kernel's own clock: what it takes to begin is not in it, nor when it
		// gives the processor to others.
		_, took, err := w.i.c.Programs[filterProgScrubIn].Benchmark(frame, paceRepeat, nil)
		if err != nil {
			return 0, fmt.Errorf("hand packets to the twin: %w", err)
		}
		each = append(each, took)
	}
	slices.Sort(each)
	return each[len(each)/2], nil
}
