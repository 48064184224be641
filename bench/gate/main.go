// Command gate measures what the gate promises: what a shared transaction
// saves, what a watcher who never reads costs the others, and what a hundred
// thousand records cost to list and to start with. Each figure has its peer
// in the same run.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/dun-sec/dun/bench/internal/cell"
)

func main() {
	ok, err := run(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, "gate:", err)
		os.Exit(1)
	}
	if !ok {
		os.Exit(20)
	}
}

func run(ctx context.Context) (bool, error) {
	dir, err := os.MkdirTemp("", "dun-bench-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	fmt.Println(cell.Machine())
	all := true
	var errs []error
	for _, part := range []struct {
		name string
		run  func(context.Context, string) (bool, error)
	}{{"groups", groups}, {"watchers", watchers}, {"records", records}} {
		if len(os.Args) > 1 && !slices.Contains(os.Args[1:], part.name) {
			continue
		}
		ok, err := part.run(ctx, dir)
		all = all && ok
		errs = append(errs, err)
	}
	return all, errors.Join(errs...)
}
