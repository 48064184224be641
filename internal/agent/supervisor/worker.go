package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// WorkerName is what the worker is called, in ps and as its first argument:
// by it the program knows which half it is.
const WorkerName = "dun: worker"

const (
	fdSocket   = 3
	fdHandover = 4
	// maxHandover bounds what the worker reads of its own supervisor.
	maxHandover = 16 << 20
)

// Client is the worker's end: what it may ask of netd.
type Client struct {
	mu   sync.Mutex
	conn *net.UnixConn
}

// Inherit hardens the worker, reads what the supervisor handed over into v and
// returns the way to netd. It fails in a process that no supervisor started.
func Inherit(v any) (*Client, error) {
	unix.CloseOnExec(fdSocket)
	unix.CloseOnExec(fdHandover)
	conn, err := connOf(os.NewFile(fdSocket, "netd"))
	if err != nil {
		return nil, fmt.Errorf("this is no worker of a supervisor: %w", err)
	}
	c := &Client{conn: conn}
	// The kernel calls it "exe"; what this is for is ps alone.
	if err := os.WriteFile("/proc/self/comm", []byte("dun"), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("name the worker: %w", err), c.Close())
	}
	f := os.NewFile(fdHandover, "handover")
	defer f.Close()
	if err := Harden(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if err := json.NewDecoder(io.LimitReader(f, maxHandover)).Decode(v); err != nil {
		return nil, errors.Join(fmt.Errorf("read what the supervisor handed over: %w", err), c.Close())
	}
	return c, nil
}

// Listen asks for a door of the configuration by its name; the address is the
// supervisor's. The error is that of the system call there.
func (c *Client) Listen(door string) (net.Listener, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, err := c.call(ask{verbListen, door})
	if err != nil {
		return nil, err
	}
	ln, err := net.FileListener(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("take over a door: %w", err)
	}
	return ln, nil
}

// ListenUDP is Listen of a door for datagrams.
func (c *Client) ListenUDP(door string) (*net.UDPConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, err := c.call(ask{verbListen, door})
	if err != nil {
		return nil, err
	}
	p, err := net.FilePacketConn(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("take over a door: %w", err)
	}
	u, ok := p.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(errors.New("take over a door: not of datagrams"), p.Close())
	}
	return u, nil
}

func (c *Client) call(a ask) (*os.File, error) {
	if _, err := c.conn.Write(a.encode()); err != nil {
		return nil, fmt.Errorf("ask netd: %w", err)
	}
	b := make([]byte, answerSize+1)
	n, files, err := receive(c.conn, b)
	if err != nil {
		return nil, fmt.Errorf("ask netd: %w", err)
	}
	e, err := decodeAnswer(b[:n], a.verb)
	if err == nil && e != 0 {
		err = e
	}
	if err == nil && len(files) != 1 {
		err = errFrame
	}
	if err != nil {
		return nil, errors.Join(err, closeAll(files))
	}
	return files[0], nil
}

// Close ends the way to netd; the doors stay open.
func (c *Client) Close() error { return c.conn.Close() }

const handedPrefix = "/proc/self/fd/"

// Memory puts what was handed over into memory that has a name for this process
// alone.
func Memory(b []byte) (path string, err error) {
	fd, err := unix.MemfdCreate("dun", unix.MFD_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("keep what was handed over: %w", err)
	}
	f := os.NewFile(uintptr(fd), "handed") // open for as long as the process lives
	_, werr := f.Write(b)
	clear(b)
	if err := errors.Join(werr, f.Chmod(0o600)); err != nil {
		return "", errors.Join(fmt.Errorf("keep what was handed over: %w", err), f.Close())
	}
	keep, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 10) // of which no finalizer knows
	if err != nil {
		return "", errors.Join(fmt.Errorf("keep what was handed over: %w", err), f.Close())
	}
	return handedPrefix + strconv.Itoa(keep), f.Close()
}

// Handed reports whether a path is one of Memory.
func Handed(path string) bool { return strings.HasPrefix(path, handedPrefix) }
