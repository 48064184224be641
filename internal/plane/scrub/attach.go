package scrub

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// How an interface is filtered.
const (
	ModeNative  = "native"  // in the driver
	ModeGeneric = "generic" // before the stack, at about three times the cost
	ModeNFT     = "nft"     // by nftables behind connection tracking, at about ten times the cost
	ModeOff     = "off"
)

// Interface is the state of one that the configuration names.
type Interface struct {
	Name string `json:"name"`
	Mode string `json:"mode"`
	Why  string `json:"why,omitempty"` // why it is not native
}

// State is what the privileged half says about itself.
type State struct {
	Interfaces []Interface `json:"interfaces"`
	Failed     string      `json:"failed,omitempty"` // why there is no filter at all
	Pinned     string      `json:"pinned,omitempty"` // why nothing outlives the process; "" = it does
	Proxy      string      `json:"proxy,omitempty"`  // why SYNs get no cookie; "" = they do
}

// attachment is what hangs on one interface.
type attachment struct {
	index int
	mode  string
	why   string
	links []link.Link // xdp, mark, out
	sent  *sent       // answers, when it was looked last
	long  bool        // answers go through the stack
}

func (a *attachment) close() error {
	var errs []error
	for _, l := range a.links {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

var errForeign = errors.New("another XDP program is attached: take it off (ip link set dev NAME xdp off) or leave the interface out of scrub.interfaces")

// Attach brings every interface to what the configuration wants: once the maps
// are filled, and again whenever an interface has come back. It is called again
// and again.
func (i *Installation) Attach() {
	if !i.filled() {
		return
	}
	for _, name := range i.opt.Interfaces {
		a := i.attached[name]
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			i.lose(name, "there is no such interface")
			continue
		}
		if a != nil && a.index == ifi.Index && a.mode != ModeOff && !i.again(a) {
			i.heed(name, a)
			continue
		}
		if a != nil && a.index != ifi.Index {
			i.lose(name, "")
		}
		i.attached[name] = i.attach(ifi)
	}
	i.fallback()
	i.release()
}

// again says whether it is time to look for a better way.
func (i *Installation) again(a *attachment) bool {
	if a.mode != ModeNFT || i.refused != nil || Monotonic()-i.rung.tried < rungRetry {
		return false
	}
	i.rung.tried = Monotonic()
	return true
}

// lose forgets the links to an interface that went, or became another.
func (i *Installation) lose(name, why string) {
	if a := i.attached[name]; a != nil {
		if a.mode != ModeOff {
			i.unpin(name)
		}
		_ = a.close() // of an interface that is gone
	}
	i.attached[name] = &attachment{mode: ModeOff, why: why}
}

func (i *Installation) attach(ifi *net.Interface) *attachment {
	a := &attachment{index: ifi.Index, mode: ModeOff}
	fail := func(err error) *attachment {
		a.why = err.Error()
		_ = a.close()
		i.unpin(ifi.Name)
		a.links, a.mode = nil, ModeNFT
		if i.opt.Table == "" {
			a.mode = ModeOff
		}
		return a
	}
	if i.refused != nil {
		return fail(i.refused)
	}
	out, err := i.tcx(ifi, "out", filterProgScrubOut, ebpf.AttachTCXEgress)
	if err != nil {
		return fail(err)
	}
	a.links = append(a.links, out)
	mark, err := i.tcx(ifi, "mark", filterProgScrubMark, ebpf.AttachTCXIngress)
	if err != nil {
		return fail(err)
	}
	a.links = append(a.links, mark)
	xdp, mode, why, err := i.xdp(ifi)
	if err != nil {
		return fail(err)
	}
	a.links, a.mode, a.why = append(a.links, xdp), mode, why
	return a
}

// xdp takes over the pinned link of an earlier process, whose program is
// replaced in one step, or makes one: native, else generic.
func (i *Installation) xdp(ifi *net.Interface) (l link.Link, mode, why string, err error) {
	prog := i.c.Programs[filterProgScrubIn]
	for _, mode := range []string{ModeNative, ModeGeneric} {
		pin := i.pin(ifi.Name, mode)
		if l := i.takeOver(pin, ifi.Index, prog); l != nil {
			return l, mode, "", nil
		}
	}
	l, err = link.AttachXDP(link.XDPOptions{Program: prog, Interface: ifi.Index, Flags: link.XDPDriverMode})
	if foreign(err) {
		return nil, "", "", errForeign
	}
	mode = ModeNative
	if err != nil {
		why = "native XDP is refused: " + err.Error()
		mode = ModeGeneric
		l, err = link.AttachXDP(link.XDPOptions{Program: prog, Interface: ifi.Index, Flags: link.XDPGenericMode})
	}
	if foreign(err) {
		return nil, "", "", errForeign
	}
	if err != nil {
		return nil, "", "", fmt.Errorf("XDP is refused: %w", err)
	}
	if err := i.keep(l, i.pin(ifi.Name, mode)); err != nil {
		return nil, "", "", errors.Join(err, l.Close())
	}
	return l, mode, why, nil
}

func foreign(err error) bool { return errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) }

func (i *Installation) tcx(ifi *net.Interface, what, program string, at ebpf.AttachType) (link.Link, error) {
	prog, pin := i.c.Programs[program], i.pin(ifi.Name, what)
	if l := i.takeOver(pin, ifi.Index, prog); l != nil {
		return l, nil
	}
	l, err := link.AttachTCX(link.TCXOptions{Program: prog, Interface: ifi.Index, Attach: at, Anchor: link.Head()})
	if err != nil {
		return nil, fmt.Errorf("tcx is refused: %w", err)
	}
	if err := i.keep(l, pin); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (i *Installation) pin(name, what string) string {
	return filepath.Join(i.opt.linkDir(), name+"@"+what)
}

func (i *Installation) keep(l link.Link, pin string) error {
	if i.opt.Pins == "" || i.pinned != nil {
		return nil
	}
	if err := l.Pin(pin); err != nil {
		return fmt.Errorf("keep the filter over a restart: %w", err)
	}
	return nil
}

// takeOver is the pinned link with this program, if it still hangs on that
// interface.
func (i *Installation) takeOver(pin string, index int, prog *ebpf.Program) link.Link {
	if i.opt.Pins == "" || i.pinned != nil {
		return nil
	}
	l, err := link.LoadPinnedLink(pin, nil)
	if err != nil {
		return nil
	}
	if linkIndex(l) == index && l.Update(prog) == nil {
		return l
	}
	_ = errors.Join(l.Unpin(), l.Close()) // of an interface that is gone
	return nil
}

func linkIndex(l link.Link) int {
	info, err := l.Info()
	if err != nil {
		return 0
	}
	if x := info.XDP(); x != nil {
		return int(x.Ifindex)
	}
	if x := info.TCX(); x != nil {
		return int(x.Ifindex)
	}
	return 0
}

func (i *Installation) unpin(name string) {
	if i.opt.Pins == "" {
		return
	}
	for _, what := range []string{ModeNative, ModeGeneric, "mark", "out"} {
		_ = os.Remove(i.pin(name, what)) // those that there are
	}
}

// release takes the filter off interfaces that the configuration no longer
// names.
func (i *Installation) release() {
	pins, err := os.ReadDir(i.opt.linkDir())
	if i.opt.Pins == "" || err != nil {
		return
	}
	older, err := filepath.Glob(filepath.Join(i.opt.Pins, "maps-*"))
	for _, dir := range older { // of another release: its programs are replaced
		if err == nil && dir != i.opt.mapDir() {
			_ = os.RemoveAll(dir)
		}
	}
	named := map[string]bool{}
	for _, name := range i.opt.Interfaces {
		named[name] = true
	}
	for _, p := range pins {
		name, _, _ := strings.Cut(p.Name(), "@")
		if !named[name] {
			_ = os.Remove(filepath.Join(i.opt.linkDir(), p.Name())) // the last hold of the link: it ends
		}
	}
}

// Remove takes everything away that outlives a process.
func Remove(pins string) error {
	if pins == "" {
		return nil
	}
	return os.RemoveAll(pins)
}

// State says how every interface is filtered.
func (i *Installation) State() State {
	s := State{Interfaces: []Interface{}}
	for _, name := range i.opt.Interfaces {
		x := Interface{Name: name, Mode: ModeOff, Why: "no policy was published yet"}
		if a := i.attached[name]; a != nil {
			x.Mode, x.Why = a.mode, a.why
			if a.mode == ModeNFT && i.rung.failed != nil {
				x.Mode, x.Why = ModeOff, a.why+"; "+i.rung.failed.Error()
			}
		}
		s.Interfaces = append(s.Interfaces, x)
	}
	if i.pinned != nil {
		s.Pinned = i.pinned.Error()
	}
	if i.proxy != nil {
		s.Proxy = i.proxy.Error()
	}
	return s
}
