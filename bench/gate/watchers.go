package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/dun-sec/dun/bench/internal/cell"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
)

const (
	watching    = 1000
	watchWrites = 300
	watchPairs  = 11
	watchBar    = 1.10
	watchMemory = 1 << 20
)

// watchers compares the time until 999 watchers have a burst of changes, with
// the thousandth reading too and with it never reading.
func watchers(ctx context.Context, dir string) (bool, error) {
	g, err := open(ctx, filepath.Join(dir, "watch"), 0)
	if err != nil {
		return false, err
	}
	defer g.Close()
	feeds := make([]resource.Feed, watching)
	for i := range feeds {
		if feeds[i], err = g.Watch(operator, []string{"Ban"}, nil); err != nil {
			return false, err
		}
		if _, err := feeds[i].Next(ctx); err != nil {
			return false, err
		}
	}
	stuck, err := g.Watch(operator, []string{"Ban"}, nil)
	if err != nil {
		return false, err
	}
	if _, err := stuck.Next(ctx); err != nil { // and never again
		return false, err
	}
	var with, without, ratio []float64
	for pair := range watchPairs {
		// 999 and a reader beside 999 and one who has stopped reading for good.
		x, err := burst(ctx, g, feeds[:watching-1], fmt.Sprint("s", pair))
		if err != nil {
			return false, err
		}
		if err := drain(ctx, g, feeds[watching-1]); err != nil {
			return false, err
		}
		y, err := burst(ctx, g, feeds, fmt.Sprint("r", pair))
		if err != nil {
			return false, err
		}
		with, without, ratio = append(with, x), append(without, y), append(ratio, x/y)
	}
	held := memory(func() { stuck = nil })
	r := cell.Median(ratio)
	fmt.Printf("stuck watcher: 1 of %d costs the others a factor of %.3f (bar %.2f; %.0f ms beside %.0f ms for %d changes, median of %d alternating) and holds %d KB (bar %d KB)\n",
		watching, r, watchBar, cell.Median(with), cell.Median(without), watchWrites, watchPairs, held>>10, watchMemory>>10)
	return r <= watchBar && held < watchMemory, nil
}

// burst writes and waits until every feed has got there; ms.
func burst(ctx context.Context, g *gate.Gate, feeds []resource.Feed, name string) (float64, error) {
	start, end := time.Now(), g.At().Revision+watchWrites
	var all sync.WaitGroup
	errs := make([]error, len(feeds)+1)
	for i, f := range feeds {
		all.Go(func() {
			for at := uint64(0); at < end && errs[i] == nil; {
				var b resource.Batch
				b, errs[i] = f.Next(ctx)
				at = b.At.Revision
			}
		})
	}
	for i := range watchWrites {
		if err := write(ctx, g, fmt.Sprintf("w-%s-%d", name, i)); err != nil {
			return 0, err // the feeds wait for ever; the program ends
		}
	}
	all.Wait()
	return float64(time.Since(start).Microseconds()) / 1000, errors.Join(errs...)
}

// drain lets a feed catch up without being measured.
func drain(ctx context.Context, g *gate.Gate, f resource.Feed) error {
	for {
		b, err := f.Next(ctx)
		if err != nil || b.At.Revision >= g.At().Revision {
			return err
		}
	}
}

// memory is how many bytes drop lets go.
func memory(drop func()) int64 {
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	drop()
	return before - heap()
}
