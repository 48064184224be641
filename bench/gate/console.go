package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/dun-sec/dun/bench/internal/cell"
)

const (
	pageLooks = 20
	pageBar   = 300 * time.Millisecond
)

// firstRow measures how long a person waits for the first row of the console's
// list of all records, from the request on a connection that stands.
func firstRow(ctx context.Context, c *cell.Cell) (bool, error) {
	var waits []time.Duration
	for range pageLooks {
		start := time.Now()
		body, err := c.Page(ctx, "/records/exclusions")
		if err != nil {
			return false, err
		}
		wait, err := until(body, "e000000", start)
		body.Close()
		if err != nil {
			return false, err
		}
		waits = append(waits, wait)
	}
	m := cell.Median(waits)
	fmt.Printf("console: first row of a list of %d records after %.0f ms (bar %d ms); median of %d; %s\n",
		many, float64(m.Microseconds())/1e3, pageBar.Milliseconds(), pageLooks, cell.Machine())
	return m <= pageBar, nil
}

// until reads to the end and says when the words had come.
func until(r io.Reader, words string, start time.Time) (time.Duration, error) {
	var seen []byte
	var at time.Duration
	chunk := make([]byte, 4<<10)
	for {
		n, err := r.Read(chunk)
		if at == 0 {
			if seen = append(seen, chunk[:n]...); bytes.Contains(seen, []byte(words)) {
				at = time.Since(start)
			}
		}
		if err == io.EOF && at > 0 {
			return at, nil
		}
		if err == io.EOF {
			return 0, fmt.Errorf("the list has no row %q", words)
		}
		if err != nil {
			return 0, err
		}
	}
}
