package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/dun-sec/dun/internal/core/resource"
	kind "github.com/dun-sec/dun/internal/kinds/edge"
	"github.com/dun-sec/dun/internal/plane/edge"
)

// serveCommand is how this program runs the edge under test in a process of
// its own, so that its CPU time is its own.
const serveCommand = "serve-edge"

// oneBatch is a feed that delivers its batch and then nothing.
type oneBatch struct {
	batch chan resource.Batch
	taken chan struct{} // nil, or told when the batch is in force
}

// Next implements resource.Feed.
func (f oneBatch) Next(ctx context.Context) (resource.Batch, error) {
	select {
	case b := <-f.batch:
		return b, nil
	default:
	}
	if f.taken != nil {
		f.taken <- struct{}{}
	}
	<-ctx.Done()
	return resource.Batch{}, ctx.Err()
}

// serveEdge takes mode, origin and a directory, and prints its address.
func serveEdge(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("want mode, origin and directory")
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	e, err := edge.New(ctx, edge.Options{Node: "bench", TempDir: args[2], Dial: func(string) edge.DialFunc { return (&net.Dialer{}).DialContext }})
	if err != nil {
		return err
	}
	site := &resource.Object{
		Kind: "Site", Metadata: resource.Metadata{Tenant: resource.Platform, Name: "bench"},
		Spec: &kind.SiteSpec{Hosts: []string{benchHost, "127.0.0.1"}, Origins: []kind.Origin{{URL: "http://" + args[1]}}, WAF: &kind.WAF{Mode: args[0]}},
	}
	feed := oneBatch{batch: make(chan resource.Batch, 1)}
	feed.batch <- resource.Batch{Changes: []resource.Change{{Ref: site.Ref(), Object: site}}, Synced: true, At: resource.Position{Epoch: "e", Revision: 1}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	ran := make(chan error, 1)
	go func() { ran <- e.Run(ctx, feed) }()
	fmt.Fprintln(os.Stdout, ln.Addr())
	return errors.Join(e.Serve(ctx, ln, nil), <-ran)
}
