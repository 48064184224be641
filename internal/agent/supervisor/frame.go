package supervisor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A frame is one packet of a SOCK_SEQPACKET pair, so that its length is the
// kernel's affair and none can run into the next.
//
//	ask    = u8 verb | name (1 to 64 bytes of a-z A-Z 0-9)
//	answer = u8 verb | u32 errno (0 = the descriptor comes with it)
const (
	maxFrame   = 1 + 64
	maxControl = 256 // room to see that there is more than one descriptor
	answerSize = 5
)

var errFrame = errors.New("not a frame of Dun's")

// ask is what the worker wants.
type ask struct {
	verb byte
	name string
}

func (a ask) encode() []byte { return append([]byte{a.verb}, a.name...) }

func decodeAsk(b []byte) (ask, error) {
	if len(b) < 2 || len(b) > maxFrame {
		return ask{}, fmt.Errorf("%w: %d bytes", errFrame, len(b))
	}
	for _, c := range b[1:] {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return ask{}, fmt.Errorf("%w: a name of other characters", errFrame)
		}
	}
	return ask{b[0], string(b[1:])}, nil
}

func encodeAnswer(verb byte, e syscall.Errno) []byte {
	return binary.BigEndian.AppendUint32([]byte{verb}, uint32(e))
}

func decodeAnswer(b []byte, verb byte) (syscall.Errno, error) {
	if len(b) != answerSize || b[0] != verb {
		return 0, errFrame
	}
	return syscall.Errno(binary.BigEndian.Uint32(b[1:])), nil
}

// pair makes the two ends.
func pair() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("connect supervisor and worker: %w", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "worker")
	ours, err = connOf(os.NewFile(uintptr(fds[0]), "supervisor"))
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// connOf takes the file over.
func connOf(f *os.File) (*net.UnixConn, error) {
	c, err := net.FileConn(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("take over a socket: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("take over a socket: not a local one"), c.Close())
	}
	return u, nil
}

// receive reads one packet and the descriptors that came with it. A packet
// that is cut, in bytes or in descriptors, is no frame.
func receive(c *net.UnixConn, b []byte) (n int, files []*os.File, err error) {
	control := make([]byte, maxControl)
	n, cn, flags, _, err := c.ReadMsgUnix(b, control)
	if err != nil {
		return 0, nil, err
	}
	messages, perr := unix.ParseSocketControlMessage(control[:cn])
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			perr = errors.Join(perr, err)
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "door"))
		}
	}
	if perr != nil || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return 0, nil, errors.Join(fmt.Errorf("%w: cut", errFrame), perr, closeAll(files))
	}
	return n, files, nil
}

func closeAll(files []*os.File) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
