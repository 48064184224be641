package scrub

import (
	"bytes"
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Some drivers send nothing that a filter answers: a veth whose other end has
// neither a program nor GRO, a card without queues for it. They say so in their
// counters. There answers go the long way, through the stack.

// answerSlots is ANSWERS of bpf/types.h.
const answerSlots = 64

// ETH_GSTRING_LEN and ETH_SS_STATS (include/uapi/linux/ethtool.h).
const nameLength, namesOfCounters = 32, 1

// sent is what a driver counted of answers.
type sent struct{ done, failed uint64 }

// heed looks at what became of answers on one interface, and sends them the
// long way from then on if none left and some could not.
func (i *Installation) heed(name string, a *attachment) {
	if a.mode != ModeNative || a.long {
		return
	}
	now, err := answered(name)
	if err != nil {
		return // it does not count them: nothing can be told
	}
	old := a.sent
	a.sent = now
	if old == nil || now.failed == old.failed || now.done != old.done {
		return
	}
	yes := uint32(1)
	a.long = i.c.Maps[filterMapLongway].Put(uint32(a.index%answerSlots), &yes) == nil
}

// answered reads a driver's counters by ethtool's ioctl.
func answered(name string) (*sent, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("ask the driver: %w", err)
	}
	defer unix.Close(fd)
	d, err := unix.IoctlGetEthtoolDrvinfo(fd, name)
	if err != nil {
		return nil, fmt.Errorf("ask the driver of %s: %w", name, err)
	}
	n := d.N_stats
	if n == 0 || n > 4096 {
		return nil, fmt.Errorf("the driver of %s counts nothing", name)
	}
	// struct ethtool_gstrings and struct ethtool_stats (include/uapi/linux/ethtool.h).
	names := make([]uint32, 3+n*nameLength/4)
	names[0], names[1], names[2] = unix.ETHTOOL_GSTRINGS, namesOfCounters, n
	values := make([]uint64, 1+n)
	*(*[2]uint32)(unsafe.Pointer(&values[0])) = [2]uint32{unix.ETHTOOL_GSTATS, n}
	for _, p := range []unsafe.Pointer{unsafe.Pointer(&names[0]), unsafe.Pointer(&values[0])} {
		if err := ethtool(fd, name, p); err != nil {
			return nil, fmt.Errorf("counters of %s: %w", name, err)
		}
	}
	text := unsafe.Slice((*byte)(unsafe.Pointer(&names[3])), n*nameLength)
	var out sent
	known := false
	for i := range n {
		word, _, _ := bytes.Cut(text[i*nameLength:(i+1)*nameLength], []byte{0})
		switch {
		case strings.HasSuffix(string(word), "_xdp_tx"):
			out.done += values[1+i]
		case strings.HasSuffix(string(word), "_xdp_tx_errors"):
			out.failed, known = out.failed+values[1+i], true
		}
	}
	if !known {
		return nil, fmt.Errorf("the driver of %s does not count answers", name)
	}
	return &out, nil
}

// ifreqData is struct ifreq with a pointer.
type ifreqData struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

func ethtool(fd int, name string, data unsafe.Pointer) error {
	r := ifreqData{data: data}
	copy(r.name[:unix.IFNAMSIZ-1], name)
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r))); e != 0 {
		return e
	}
	return nil
}
