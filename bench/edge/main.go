// Command edge measures what the front gate costs: CPU time for each request
// of nginx as a plain reverse proxy, of Dun's edge without and with its web
// application firewall, in front of the same nginx origin under the same load.
// It prints a Markdown table with the ratios to nginx, which is what counts;
// absolute figures belong to the machine that is named below the table.
//
// As "go run ./bench/edge sites" it compares the memory of an edge with one
// site and with a thousand instead, and exits with 1 when that is over the bar.
//
// As "go run ./bench/edge slow" it holds connections as slowhttptest does, on
// both, and counts what becomes of others' requests; it exits with 1 when one
// fails at the edge.
//
// It needs nginx and wrk (Debian: apt-get install nginx wrk) and exits with 2
// without them. It uses loopback and a temporary directory only, and ends what
// it started.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"time"
)

var errMissing = errors.New("not installed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) > 1 {
		var err error
		switch os.Args[1] {
		case serveCommand:
			err = serveEdge(ctx, os.Args[2:])
		case holdCommand:
			err = holdSites(ctx, os.Args[2:])
		case sitesCommand:
			err = compareSites(ctx)
		case slowCommand:
			err = attackSlowly(ctx)
		default:
			measureProxies(ctx)
			return
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "bench edge %s: %v\n", os.Args[1], err)
			os.Exit(1)
		}
		return
	}
	measureProxies(ctx)
}

func measureProxies(ctx context.Context) {
	rounds := flag.Int("rounds", 3, "alternating rounds, at least 3")
	span := flag.Duration("span", 4*time.Second, "length of one run")
	flag.Parse()
	if err := run(ctx, max(3, *rounds), *span); err != nil {
		fmt.Fprintln(os.Stderr, "bench edge:", err)
		if errors.Is(err, errMissing) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

func need(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	if path := "/usr/sbin/" + name; fileExists(path) {
		return path, nil
	}
	return "", fmt.Errorf("%s: %w (apt-get install %s)", name, errMissing, name)
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// sample is one run of one load against one proxy.
type sample struct{ cpu, rate float64 } // CPU-ms for each request, requests/s

func run(ctx context.Context, rounds int, span time.Duration) error {
	nginx, err := need("nginx")
	if err != nil {
		return err
	}
	wrk, err := need("wrk")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "dun-bench-edge-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer os.RemoveAll(dir)
	loads, err := writeLoads(dir)
	if err != nil {
		return err
	}
	proxies, err := start(ctx, nginx, dir)
	defer func() {
		for _, p := range slices.Backward(proxies) {
			p.end()
		}
	}()
	if err != nil {
		return err
	}
	before := loadAverage()
	samples := map[[2]string][]sample{}
	for range rounds {
		for _, l := range loads {
			for _, p := range proxies[1:] { // the first is the origin
				s, err := measure(ctx, wrk, p, l, span)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", p.name, l.name, err)
				}
				key := [2]string{l.name, p.name}
				samples[key] = append(samples[key], s)
			}
		}
	}
	report(loads, proxies[1:], samples)
	fmt.Printf("\nMedian of %d alternating rounds of %v, wrk with 4 connections, HTTP/1.1. %s Load average %s before, %s after.\n",
		rounds, span, machine(nginx), before, loadAverage())
	return nil
}

func report(loads []load, proxies []*process, samples map[[2]string][]sample) {
	fmt.Println("| request | proxy | CPU-ms/request | x nginx | requests/s |")
	fmt.Println("|---|---|---:|---:|---:|")
	for _, l := range loads {
		base := median(samples[[2]string{l.name, proxies[0].name}], func(s sample) float64 { return s.cpu })
		for _, p := range proxies {
			all := samples[[2]string{l.name, p.name}]
			cpu := median(all, func(s sample) float64 { return s.cpu })
			fmt.Printf("| %s | %s | %.3f | %.2f | %.0f |\n", l.name, p.name, cpu, cpu/base, median(all, func(s sample) float64 { return s.rate }))
		}
	}
}

func median(all []sample, of func(sample) float64) float64 {
	var v []float64
	for _, s := range all {
		v = append(v, of(s))
	}
	slices.Sort(v)
	if len(v) == 0 {
		return 0
	}
	return v[len(v)/2]
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
