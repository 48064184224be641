package supervisor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// verbHand gives a descriptor of a Part by name.
const verbHand = 2

// Part is something that stays privileged beside the doors: it is made before
// the worker starts, keeps the capabilities that it names, and hands the worker
// descriptors. The worker names what it wants and says nothing else.
type Part struct {
	Caps []uint                              // kept beside those of the doors
	Hand func(name string) (*os.File, error) // any number of times
	Keep func(ctx context.Context)           // goes on until ctx ends; nil = nothing
}

// Hand asks netd for a descriptor of its Part. The error is that of the system
// call there; unix.EACCES where there is no such thing.
func (c *Client) Hand(name string) (*os.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.call(ask{verbHand, name})
}

// Read is Hand of a file of JSON.
func (c *Client) Read(name string, v any) error {
	f, err := c.Hand(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, maxHandover)).Decode(v); err != nil {
		return fmt.Errorf("read %s of netd: %w", name, err)
	}
	return nil
}

// Memo is v as a file of JSON in memory.
func Memo(v any) (*os.File, error) { return sealed(v) }

func (n *netd) hand(name string) (*os.File, error) {
	if n.part == nil || n.part.Hand == nil {
		return nil, unix.EACCES
	}
	f, err := n.part.Hand(name)
	if err != nil {
		if _, ok := err.(syscall.Errno); !ok {
			return nil, unix.EIO
		}
	}
	return f, err
}
