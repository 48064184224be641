package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/dun-sec/dun/bench/internal/cell"
	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/kinds"
)

const (
	writers   = 64
	groupTime = 1500 * time.Millisecond
	groupRuns = 7
	groupBar  = 5.0
)

var operator = identity.Actor{Principal: dayzero.Operator, Door: "bench"}

// open makes a gate on a new store; group is how many members a transaction
// takes, 0 = as in the program.
func open(ctx context.Context, dir string, group int) (*gate.Gate, error) {
	reg, err := resource.NewRegistry(kinds.All()...)
	if err != nil {
		return nil, err
	}
	skey, vkey, err := audit.GenerateKey(audit.Origin("benchxyz"))
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		return nil, err
	}
	g, err := gate.Open(ctx, gate.Options{
		Path: dir + ".db", CheckpointFile: dir + ".checkpoint", Cell: "benchxyz", Node: "n1", Registry: reg, Signer: signer, VKey: vkey, Group: group,
	})
	if err != nil {
		return nil, err
	}
	return g, dayzero.Run(ctx, g, "bench")
}

// ban is a change as it comes in over HTTP.
func ban(name string) (gate.Change, error) {
	n, err := resource.ParseJSON([]byte(`{"kind":"Ban","metadata":{"tenant":"platform","name":"` + name + `"},"spec":{"action":"ban","sources":["192.0.2.1"]}}`))
	return gate.Change{Op: gate.Put, Ref: resource.Ref{Kind: "Ban", Tenant: "platform", Name: name}, Document: n}, err
}

func write(ctx context.Context, g *gate.Gate, name string) error {
	c, err := ban(name)
	if err == nil {
		_, err = g.Apply(ctx, gate.Request{Actor: operator, Changes: []gate.Change{c}})
	}
	return err
}

// groups compares writers that share transactions with writers of whom each
// has one of his own; both wait for the disk.
func groups(ctx context.Context, dir string) (bool, error) {
	shared, err := open(ctx, filepath.Join(dir, "shared"), 0)
	if err != nil {
		return false, err
	}
	defer shared.Close()
	single, err := open(ctx, filepath.Join(dir, "single"), 1)
	if err != nil {
		return false, err
	}
	defer single.Close()
	var a, b, ratio []float64
	for i := range groupRuns {
		x, err := rate(ctx, shared, i)
		if err != nil {
			return false, err
		}
		y, err := rate(ctx, single, i)
		if err != nil {
			return false, err
		}
		a, b, ratio = append(a, x), append(b, y), append(ratio, x/y)
	}
	r := cell.Median(ratio)
	fmt.Printf("group commit: %d writers, %.0f writes/s in shared transactions, %.0f in one each, ratio %.1f (bar %.0f); median of %d alternating, full fsync\n",
		writers, cell.Median(a), cell.Median(b), r, groupBar, groupRuns)
	return r >= groupBar, nil
}

// rate is acknowledged writes a second.
func rate(ctx context.Context, g *gate.Gate, run int) (float64, error) {
	var mu sync.Mutex
	var failed error
	total := 0
	var all sync.WaitGroup
	start := time.Now()
	for w := range writers {
		all.Go(func() {
			n := 0
			for ; time.Since(start) < groupTime; n++ {
				if err := write(ctx, g, fmt.Sprintf("b-%d-%d-%d", run, w, n)); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
			}
			mu.Lock()
			total += n
			mu.Unlock()
		})
	}
	all.Wait()
	return float64(total) / time.Since(start).Seconds(), failed
}
