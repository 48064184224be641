package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// backlog is how many connections wait for a door that was opened again; the
// kernel bounds it.
const backlog = 4096

// heldDoor is a listener that can be closed to the outside and opened again at
// the same address. The socket stays bound, so that nobody takes the address;
// while it is closed the kernel refuses connections.
type heldDoor struct {
	file *os.File
	at   unix.Sockaddr
}

// hold keeps a door beside its listener; nil for one that is off.
func hold(ln net.Listener) (*heldDoor, error) {
	t, ok := ln.(*net.TCPListener)
	if !ok {
		return nil, nil
	}
	f, err := t.File()
	if err != nil {
		return nil, fmt.Errorf("hold a door: %w", err)
	}
	d := &heldDoor{file: f}
	err = d.with(func(fd int) (err error) { d.at, err = unix.Getsockname(fd); return err })
	return d, err
}

func (d *heldDoor) shut() error {
	if d == nil {
		return nil
	}
	err := d.with(func(fd int) error { return unix.Shutdown(fd, unix.SHUT_RD) })
	if errors.Is(err, unix.ENOTCONN) {
		return nil // shut already
	}
	return err
}

// with leaves the descriptor as it is: File.Fd would make the listener, which
// shares it, block.
func (d *heldDoor) with(f func(fd int) error) error {
	raw, err := d.file.SyscallConn()
	if err != nil {
		return err
	}
	var out error
	err = raw.Control(func(fd uintptr) { out = f(int(fd)) })
	return errors.Join(err, out)
}

func (d *heldDoor) open() (net.Listener, error) {
	if d == nil {
		return nil, nil
	}
	err := d.with(func(fd int) error {
		// The kernel takes a port back that it chose itself.
		if err := unix.Bind(fd, d.at); err != nil && !errors.Is(err, unix.EINVAL) {
			return err
		}
		return unix.Listen(fd, backlog)
	})
	if err != nil {
		return nil, fmt.Errorf("open a door again: %w", err)
	}
	return net.FileListener(d.file)
}

// close ends it for good.
func (d *heldDoor) close() error {
	if d == nil {
		return nil
	}
	return errors.Join(d.shut(), d.file.Close())
}

// drain says whether the public doors are closed, and tells of changes.
type drain struct {
	mu      sync.Mutex
	closed  bool
	changed chan struct{}
}

func newDrain() *drain { return &drain{changed: make(chan struct{})} }

func (d *drain) set(closed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed == closed {
		return
	}
	d.closed = closed
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *drain) now() (closed bool, changed <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed, d.changed
}

// serve runs the edge's doors until ctx ends. While the node is drained they
// take no new connections; what runs ends in its time (edge.Serve).
func (d *drain) serve(ctx context.Context, clear, secure net.Listener, run func(ctx context.Context, clear, secure net.Listener) error) (err error) {
	doors := [2]*heldDoor{}
	for i, ln := range []net.Listener{clear, secure} {
		if doors[i], err = hold(ln); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, doors[0].close(), doors[1].close()) }()
	for {
		closed, changed := d.now()
		if closed {
			if err := errors.Join(doors[0].shut(), doors[1].shut()); err != nil {
				return err
			}
			clear, secure = nil, nil
			select {
			case <-ctx.Done():
				return nil
			case <-changed:
			}
			continue
		}
		if clear == nil && secure == nil {
			if clear, err = doors[0].open(); err != nil {
				return err
			}
			if secure, err = doors[1].open(); err != nil {
				return err
			}
		}
		if err := d.until(ctx, changed, doors, func(ctx context.Context) error { return run(ctx, clear, secure) }); err != nil || ctx.Err() != nil {
			return err
		}
		clear, secure = nil, nil
	}
}

// until runs the doors until ctx ends or the node is drained. Then the kernel
// refuses at once who comes: nobody waits for what runs to end.
func (d *drain) until(ctx context.Context, changed <-chan struct{}, doors [2]*heldDoor, run func(context.Context) error) error {
	serving, end := context.WithCancel(ctx)
	defer end()
	done, shut := make(chan struct{}), make(chan error, 1)
	go func() {
		select {
		case <-changed:
			end() // before the doors: that they fail then is no failure
			shut <- errors.Join(doors[0].shut(), doors[1].shut())
		case <-done:
			shut <- nil
		}
	}()
	err := run(serving)
	close(done)
	if serving.Err() != nil && ctx.Err() == nil {
		err = nil
	}
	return errors.Join(err, <-shut)
}
