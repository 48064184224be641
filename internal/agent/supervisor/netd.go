package supervisor

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// verbListen opens a door by name.
const verbListen = 1

// netd carries out the verbs that need a privilege: a closed table. The worker
// names a door, never an address, and gets each door once.
type netd struct {
	doors map[string]Door
	part  *Part
	verbs map[byte]func(name string) (*os.File, error)
}

func newNetd(doors []Door, part *Part) *netd {
	n := &netd{doors: map[string]Door{}, part: part}
	for _, d := range doors {
		n.doors[d.Name] = d
	}
	n.verbs = map[byte]func(string) (*os.File, error){verbListen: n.listen, verbHand: n.hand}
	return n
}

// networks is how a door of each network is opened.
func networks() map[string]func(addr string) (*os.File, error) {
	return map[string]func(addr string) (*os.File, error){"tcp": listenTCP, "udp": listenUDP}
}

// serve answers until the worker's end is closed, which is no error.
func (n *netd) serve(c *net.UnixConn) error {
	defer c.Close()
	b := make([]byte, maxFrame)
	for {
		size, files, err := receive(c, b)
		if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, unix.ECONNRESET) {
			return nil
		}
		if err != nil {
			return err
		}
		if size == 0 && len(files) == 0 {
			return nil // a packet socket's end
		}
		if len(files) > 0 {
			return errors.Join(fmt.Errorf("%w: it brings descriptors", errFrame), closeAll(files))
		}
		a, err := decodeAsk(b[:size])
		if err != nil {
			return err
		}
		do, ok := n.verbs[a.verb]
		if !ok {
			return fmt.Errorf("%w: verb %d", errFrame, a.verb)
		}
		f, err := do(a.name)
		if err := answer(c, a.verb, f, err); err != nil {
			return err
		}
	}
}

// answer sends the descriptor, or the number of what went wrong.
func answer(c *net.UnixConn, verb byte, f *os.File, err error) error {
	if err != nil {
		e, ok := errors.AsType[syscall.Errno](err)
		if !ok || e == 0 {
			e = unix.EIO
		}
		_, err := c.Write(encodeAnswer(verb, e))
		return ended(err)
	}
	defer f.Close()
	_, _, err = c.WriteMsgUnix(encodeAnswer(verb, 0), unix.UnixRights(int(f.Fd())), nil)
	return ended(err)
}

// ended is no error: whoever asked has gone.
func ended(err error) error {
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (n *netd) listen(name string) (*os.File, error) {
	d, ok := n.doors[name]
	if !ok {
		return nil, unix.EACCES
	}
	open, ok := networks()[d.Network]
	if !ok {
		return nil, unix.EPROTONOSUPPORT
	}
	f, err := open(d.Addr)
	if err == nil {
		delete(n.doors, name) // with port 0 it could have any number of them
	}
	return f, err
}

func listenTCP(addr string) (*os.File, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	t, ok := ln.(*net.TCPListener)
	if !ok {
		return nil, errors.Join(unix.EPROTONOSUPPORT, ln.Close())
	}
	f, err := t.File()
	return f, errors.Join(err, ln.Close())
}

func listenUDP(addr string) (*os.File, error) {
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(unix.EPROTONOSUPPORT, c.Close())
	}
	f, err := u.File()
	return f, errors.Join(err, c.Close())
}
