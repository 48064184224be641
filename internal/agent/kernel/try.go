package kernel

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// loopback is the one interface of a new network namespace.
const loopback = 1

// Verdicts that let every packet pass.
const (
	xdpPass = 2  // XDP_PASS
	tcxNext = -1 // TCX_NEXT
)

// pass loads the smallest program of a type: it lets everything through.
func pass(t ebpf.ProgramType, verdict int32) (*ebpf.Program, error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: t, License: "Apache-2.0",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, verdict), asm.Return()},
	})
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	return p, nil
}

// tryXDP attaches in generic mode, which every kernel with XDP has; whether an
// interface takes a native program is known only of that interface.
func tryXDP() error {
	p, err := pass(ebpf.XDP, xdpPass)
	if err != nil {
		return err
	}
	defer p.Close()
	l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: loopback, Flags: link.XDPGenericMode})
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	return l.Close()
}

func tryTCX() error {
	p, err := pass(ebpf.SchedCLS, tcxNext)
	if err != nil {
		return err
	}
	defer p.Close()
	l, err := link.AttachTCX(link.TCXOptions{Program: p, Interface: loopback, Attach: ebpf.AttachTCXEgress})
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	return l.Close()
}

// tryNftables makes a table with a base chain in each family that Dun uses and
// reads it back.
func tryNftables() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	families := []nftables.TableFamily{nftables.TableFamilyINet, nftables.TableFamilyNetdev, nftables.TableFamilyBridge}
	for _, f := range families {
		t := c.AddTable(&nftables.Table{Name: "dun-probe", Family: f})
		if f == nftables.TableFamilyINet {
			c.AddChain(&nftables.Chain{Name: "in", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter})
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("make a table: %w", err)
	}
	tables, err := c.ListTables()
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	if len(tables) != len(families) {
		return fmt.Errorf("%d of %d tables were kept", len(tables), len(families))
	}
	return nil
}

// tryFanotify asks for permission events, by which an open can be refused.
func tryFanotify() error {
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return fmt.Errorf("fanotify: %w", err)
	}
	mark := unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN_PERM, unix.AT_FDCWD, "/proc/self/exe")
	if mark != nil {
		mark = fmt.Errorf("permission events: %w", mark)
	}
	return errors.Join(mark, unix.Close(fd))
}
