package flood

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Drill is a flood to one address over a veth pair, with a client beside it.
type Drill struct {
	Vector    string
	Addr      netip.Addr
	Port      int           // of the client's connections; 0 = no client
	Rate      float64       // packets a second
	For       time.Duration // at most MaxSeconds
	Interface string        // the filtered end
	Namespace string        // where the other end is
	peer      string
	from, to  net.HardwareAddr
}

// Result is what a drill saw from outside.
type Result struct {
	Vector    string   `json:"vector"`
	Target    string   `json:"target"`
	Interface string   `json:"interface"`
	Namespace string   `json:"namespace"`
	Seconds   float64  `json:"seconds"`
	Sent      int      `json:"sent"`
	Rate      float64  `json:"rate"` // packets a second
	Visits    int      `json:"visits"`
	Failed    int      `json:"failed"`
	SlowestMs int64    `json:"slowestMs"`         // of the visits
	Failure   string   `json:"failure,omitempty"` // of the last visit that failed
	Attack    string   `json:"attack"`            // that was told of it; "" = none
	Armed     []string `json:"armed"`
}

const namespaces = "/run/netns"

// Find fills in the link: the interface must be one end of a veth pair whose
// other end is in a named network namespace, and the address must be reached
// over it.
func (d *Drill) Find(name string, addr netip.Addr) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	if l.Type() != "veth" {
		return fmt.Errorf("interface %s is of type %s: drills go over veth pairs alone", name, l.Type())
	}
	entries, err := os.ReadDir(namespaces)
	if err != nil {
		return fmt.Errorf("there is no named network namespace: %w", err)
	}
	for _, e := range entries {
		peer, err := peerIn(e.Name(), l)
		if err != nil || peer == nil {
			continue
		}
		d.Interface, d.Namespace, d.peer, d.Addr = name, e.Name(), peer.Attrs().Name, addr
		d.from, d.to = peer.Attrs().HardwareAddr, l.Attrs().HardwareAddr
		return d.inside(func() error { return reaches(d.peer, addr) })
	}
	return fmt.Errorf("the other end of %s is in no named network namespace", name)
}

func peerIn(namespace string, l netlink.Link) (netlink.Link, error) {
	h, err := netns.GetFromName(namespace)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	// Indexes alone are no proof: another namespace may have the same.
	if id, err := netlink.GetNetNsIdByFd(int(h)); err != nil || id < 0 || id != l.Attrs().NetNsID {
		return nil, err
	}
	n, err := netlink.NewHandleAt(h)
	if err != nil {
		return nil, err
	}
	defer n.Close()
	peer, err := n.LinkByIndex(l.Attrs().ParentIndex)
	if err != nil || peer.Type() != "veth" || peer.Attrs().ParentIndex != l.Attrs().Index {
		return nil, err
	}
	return peer, nil
}

func reaches(name string, addr netip.Addr) error {
	routes, err := netlink.RouteGet(addr.AsSlice())
	if err != nil || len(routes) == 0 {
		return fmt.Errorf("no way to %s: %w", addr, err)
	}
	l, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return err
	}
	if l.Attrs().Name != name {
		return fmt.Errorf("%s is reached over %s", addr, l.Attrs().Name)
	}
	return nil
}

// inside runs f on a thread of the namespace, which ends with it.
func (d *Drill) inside(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		h, err := netns.GetFromName(d.Namespace)
		if err == nil {
			err = errors.Join(netns.Set(h), h.Close())
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// Run sends, and connects meanwhile.
func (d *Drill) Run(ctx context.Context) (*Result, error) {
	d.For = min(d.For, MaxSeconds*time.Second)
	plan, err := For(d.Vector, Target{Addr: d.Addr, From: d.from, To: d.to})
	if err != nil {
		return nil, err
	}
	r := &Result{Vector: d.Vector, Target: d.Addr.String(), Interface: d.Interface, Namespace: d.Namespace, Armed: []string{}}
	ctx, stop := context.WithTimeout(ctx, d.For)
	defer stop()
	ready := make(chan error, 1)
	var run sync.WaitGroup
	run.Go(func() {
		if <-ready == nil {
			d.visit(ctx, r)
		}
	})
	start := time.Now()
	err = d.inside(func() error {
		g, err := New(d.peer)
		if err != nil {
			ready <- err
			return err
		}
		defer g.Close()
		l, err := g.Receive()
		if err != nil && !strings.Contains(err.Error(), "busy") {
			ready <- err
			return err
		}
		if err == nil {
			defer l.Close()
		}
		ready <- nil
		r.Sent, err = g.Send(ctx, plan, int(d.Rate*d.For.Seconds()), d.Rate)
		run.Wait() // answers need the interface as it is
		return err
	})
	run.Wait()
	r.Seconds = time.Since(start).Seconds()
	r.Rate = float64(r.Sent) / r.Seconds
	return r, err
}

// visit connects again and again, as somebody honest would.
func (d *Drill) visit(ctx context.Context, r *Result) {
	if d.Port == 0 {
		return
	}
	to := net.JoinHostPort(d.Addr.String(), strconv.Itoa(d.Port))
	for ctx.Err() == nil {
		start := time.Now()
		err := d.inside(func() error {
			c, err := net.DialTimeout("tcp", to, 5*time.Second)
			if err != nil {
				return err
			}
			return c.Close()
		})
		r.Visits++
		if err != nil {
			r.Failed++
			r.Failure = err.Error()
		}
		r.SlowestMs = max(r.SlowestMs, time.Since(start).Milliseconds())
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}
