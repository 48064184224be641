package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/dun-sec/dun/bench/internal/cell"
)

const (
	many       = 100_000
	lists      = 8
	listBar    = 32 << 20
	restarts   = 20
	restartBar = 3 * time.Second
)

// records fills a real cell, looks at it in the console, lists everything several times at once and starts
// it again and again.
func records(ctx context.Context, dir string) (bool, error) {
	bin, err := cell.Build(dir)
	if err != nil {
		return false, err
	}
	data := filepath.Join(dir, "records")
	c, err := cell.Up(ctx, bin, data)
	if err != nil {
		return false, err
	}
	if err := fill(ctx, c); err != nil {
		c.Stop()
		return false, err
	}
	c.Stop()
	var ready []time.Duration
	var grown, base []int64
	var bytes int64
	quick := false
	for i := range restarts {
		if c, err = cell.Up(ctx, bin, data); err != nil {
			return false, err
		}
		ready = append(ready, c.Ready)
		if i == 0 {
			if quick, err = firstRow(ctx, c); err != nil {
				c.Stop()
				return false, err
			}
		}
		if i < 3 {
			var b, g int64
			if b, g, bytes, err = listed(ctx, c); err != nil {
				c.Stop()
				return false, err
			}
			base, grown = append(base, b), append(grown, g)
		}
		c.Stop()
	}
	g, r := cell.Median(grown), cell.Median(ready)
	fmt.Printf("lists: %d records (%.0f MB as JSON) listed %d times at once add %.1f MB of peak memory to %.0f MB (bar %d MB); median of %d\n",
		many, float64(bytes)/1e6, lists, float64(g)/(1<<20), float64(cell.Median(base))/(1<<20), listBar>>20, len(grown))
	fmt.Printf("restart: ready with %d records in %.2f s, an empty one in the table of ready (bar %.0f s); median of %d\n", many, r.Seconds(), restartBar.Seconds(), restarts)
	return quick && g <= listBar && r <= restartBar, nil
}

func fill(ctx context.Context, c *cell.Cell) error {
	work := make(chan int)
	errs := make(chan error, 16)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for from := range work {
				var list []string
				for i := from; i < from+100; i++ {
					list = append(list, fmt.Sprintf(`{"op":"put","object":{"kind":"Exclusion","metadata":{"tenant":"platform","name":"e%06d","labels":{"team":"t%d"}},"spec":{"site":"shop","rule":%d,"route":"/path/%d/*","argument":"ARGS:field%d"}}}`, i, i%50, 900000+i%9000, i, i%20))
				}
				body, err := c.Do(ctx, "POST", "/api/v1/-/transaction", `{"changes":[`+strings.Join(list, ",")+`]}`)
				if err != nil {
					errs <- err
					return
				}
				body.Close()
			}
		})
	}
	body, err := c.Do(ctx, "PUT", "/api/v1/platform/sites/shop", `{"kind":"Site","metadata":{},"spec":{"hosts":["shop.test"],"origins":[{"url":"http://127.0.0.1:3000"}]}}`)
	if err != nil {
		return err
	}
	body.Close()
	for from := 0; from < many; from += 100 {
		select {
		case work <- from:
		case err := <-errs:
			return err
		}
	}
	close(work)
	all.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// listed reads everything several times at once and says what that added to
// the peak of memory.
func listed(ctx context.Context, c *cell.Cell) (base, grown, bytes int64, err error) {
	if base, _, err = c.Memory(); err != nil {
		return
	}
	if err = c.ResetPeak(); err != nil {
		return
	}
	var all sync.WaitGroup
	errs := make([]error, lists)
	sizes := make([]int64, lists)
	for i := range lists {
		all.Go(func() {
			body, err := c.Do(ctx, "GET", fmt.Sprintf("/api/v1/-/exclusions?limit=%d", 2*many), "")
			if err != nil {
				errs[i] = err
				return
			}
			defer body.Close()
			sizes[i], errs[i] = io.Copy(io.Discard, body)
		})
	}
	all.Wait()
	if err = errors.Join(errs...); err != nil {
		return
	}
	_, peak, err := c.Memory()
	return base, peak - base, sizes[0], err
}
