package supervisor

import (
	"errors"
	"fmt"
	"math"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// prepareProcess sets what worker and supervisor share: files for their owner
// alone, no core file (it would hold the cell's keys), and no descriptor that
// whoever started Dun forgot to close.
func prepareProcess() error {
	unix.Umask(0o077)
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core files: %w", err)
	}
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("close descriptors: %w", err)
	}
	return nil
}

// prepareThread takes from the calling thread, for all that it starts, every
// way back to a privilege. The thread itself stays root until it has forked:
// the fork changes the user, by which the kernel empties the permitted and
// effective sets.
func prepareThread() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("ambient set: %w", err)
	}
	for c := uintptr(0); c < 64; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); errors.Is(err, unix.EINVAL) {
			break // one above the last that this kernel has
		} else if err != nil {
			return fmt.Errorf("bounding set: %w", err)
		}
	}
	var have [2]unix.CapUserData
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&head, &have[0]); err != nil {
		return fmt.Errorf("inheritable set: %w", err)
	}
	have[0].Inheritable, have[1].Inheritable = 0, 0
	if err := unix.Capset(&head, &have[0]); err != nil {
		return fmt.Errorf("inheritable set: %w", err)
	}
	return nil
}

// kept is what the supervisor needs once the worker runs: doors below 1024,
// and signals to a process of another user. It starts nobody again, so that it
// keeps neither CAP_SETUID nor CAP_SETGID.
var kept = []uint{unix.CAP_NET_BIND_SERVICE, unix.CAP_KILL}

// keepLittle drops all else, on every thread. A build with cgo cannot (its
// threads are not all Go's), and says so.
func keepLittle(part *Part) error {
	var mask uint64
	for _, c := range kept {
		mask |= 1 << c
	}
	if part != nil {
		for _, c := range part.Caps {
			mask |= 1 << c
		}
	}
	var have [2]unix.CapUserData
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&head, &have[0]); err != nil {
		return err
	}
	for i := range have {
		part := uint32(mask >> (32 * i))
		have[i] = unix.CapUserData{Effective: have[i].Permitted & part, Permitted: have[i].Permitted & part}
	}
	if _, _, e := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); e != 0 {
		return e
	}
	if _, _, e := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&have[0])), 0); e != 0 {
		return e
	}
	return nil
}

// Harden is what the worker does first, about itself: nobody of the same user
// may trace it or read its memory, in which the cell's keys lie. An exec makes
// a process dumpable again, so that the supervisor cannot do it. /proc/self
// keeps working, since a process may always look at itself; profiles are read
// over the process's own doors and are not touched.
func Harden() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("not dumpable: %w", err)
	}
	if os.Getuid() == 0 || os.Geteuid() == 0 {
		return errors.New("the worker is root")
	}
	return nil
}
