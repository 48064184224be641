// Package kernel asks the running kernel what it can do for the enforcement
// points: XDP, tcx, nftables, fanotify. It tries each for real, in a network
// namespace of its own that ends with the probe, so that no interface and no
// firewall of the machine is touched. It decides nothing: whoever needs a
// feature takes the next-best way that is named here, and `dun status` says so.
package kernel

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/dun-sec/dun/internal/core/telemetry"
)

// Feature is something that a part of Dun wants of the kernel.
type Feature struct {
	Name    string `json:"name"`
	Err     string `json:"err"`     // why it cannot be had; "" = it works
	Instead string `json:"instead"` // what is used then
}

// probe is how one feature is tried; it runs on a thread in an empty network
// namespace.
type probe struct {
	name, instead string
	try           func() error
}

func probes() []probe {
	return []probe{
		{"xdp", "packets are scrubbed by nftables, at more than twice the cost", tryXDP},
		{"tcx", "outgoing packets are counted and cut by nftables", tryTCX},
		{"nftables", "no filter behind XDP, no SYN proxy and no security groups on this machine", tryNftables},
		{"fanotify", "changed files are found by scans, not refused as they are opened", tryFanotify},
	}
}

// Probe tries every feature. It needs root and a few milliseconds; an ordinary
// user is told so for each feature.
func Probe() []Feature {
	list := probes()
	out := make([]Feature, len(list))
	for i, p := range list {
		out[i] = Feature{Name: p.name, Instead: p.instead}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The namespace hangs on this thread, which is never unlocked: it ends
		// with the goroutine, and the namespace with it.
		runtime.LockOSThread()
		err := enter()
		for i, p := range list {
			if e := errors.Join(err, attempt(p, err)); e != nil {
				out[i].Err = e.Error()
			}
		}
	}()
	<-done
	return out
}

func attempt(p probe, before error) (err error) {
	if before != nil {
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return p.try()
}

func enter() error {
	if os.Geteuid() != 0 {
		return errors.New("only root can ask for it; Dun was started by an ordinary user")
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	return nil
}

// Missing lists what cannot be had, as a role's status says it.
func Missing(features []Feature) []telemetry.Missing {
	out := []telemetry.Missing{}
	for _, f := range features {
		if f.Err != "" {
			out = append(out, telemetry.Missing{Need: f.Name, Why: f.Err, Instead: f.Instead})
		}
	}
	return out
}
