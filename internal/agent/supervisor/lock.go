package supervisor

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// waitForLock gives the worker of a supervisor that was just killed the moment
// that the kernel needs to end it and to free DIR/lock. Who really holds the
// directory holds it longer; then the new worker says so.
func waitForLock(ctx context.Context, dir string) {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if err != nil {
		return // a first start
	}
	defer f.Close() // and the lock with it
	end := time.NewTimer(time.Second)
	defer end.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil {
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			return
		case <-tick.C:
		}
	}
}
