// Command dun is the whole of Dun: every role, and the command line that
// speaks to a running cell. Here the parts are wired by plain constructors,
// and nothing else happens.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/dun-sec/dun/internal/agent/supervisor"
	"github.com/dun-sec/dun/internal/cli"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds"
)

// version is the release; the Makefile sets it by -ldflags.
var version = "0.1.0-dev"

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	reg, err := resource.NewRegistry(kinds.All()...)
	if err != nil {
		os.Stderr.WriteString("dun: " + err.Error() + "\n")
		return 1
	}
	up := &upper{worker: os.Args[0] == supervisor.WorkerName}
	node := &upper{worker: up.worker, member: true}
	code := cli.Run(ctx, cli.Options{Registry: reg, Version: version, In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Up: up.command, Run: node.command}, os.Args[1:])
	return max(code, up.exit, node.exit) // a worker that failed has said why
}
