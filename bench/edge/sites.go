package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/dun-sec/dun/internal/core/resource"
	kind "github.com/dun-sec/dun/internal/kinds/edge"
	"github.com/dun-sec/dun/internal/plane/edge"
)

// sitesCommand compares the memory of an edge with one site and with many;
// holdCommand is the process that holds them.
const (
	sitesCommand = "sites"
	holdCommand  = "hold-sites"
)

const (
	manySites   = 1000
	sitesRounds = 3
	warmUp      = 500 // requests, through the rule set
	perSiteBar  = 50  // KiB
)

// compareSites prints a table and fails when the bar is missed: many sites may
// take twice the memory of one and 50 KiB each.
func compareSites(ctx context.Context) error {
	before := loadAverage()
	var rss [2]int
	for i, n := range []int{1, manySites} {
		var all []int
		for range sitesRounds {
			kib, err := holdInProcess(ctx, n)
			if err != nil {
				return fmt.Errorf("%d sites: %w", n, err)
			}
			all = append(all, kib)
		}
		slices.Sort(all)
		rss[i] = all[len(all)/2]
	}
	each := float64(rss[1]-rss[0]) / (manySites - 1)
	fmt.Println("| sites | RSS after GC, MiB | x one | KiB for each further site |")
	fmt.Println("|---:|---:|---:|---:|")
	fmt.Printf("| 1 | %.1f | 1.00 | |\n", float64(rss[0])/1024)
	fmt.Printf("| %d | %.1f | %.2f | %.1f |\n", manySites, float64(rss[1])/1024, float64(rss[1])/float64(rss[0]), each)
	bar := 2*rss[0] + perSiteBar*manySites
	fmt.Printf("\nMedian of %d processes. Half of the sites have two exclusions, paranoia levels 1 to 4 and a health check. Bar: %.1f MiB. Load average %s before, %s after.\n",
		sitesRounds, float64(bar)/1024, before, loadAverage())
	if rss[1] > bar {
		return errors.New("over the bar")
	}
	return nil
}

func holdInProcess(ctx context.Context, n int) (kib int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("find own program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, holdCommand, strconv.Itoa(n))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("hold sites: %w", err)
	}
	return strconv.Atoi(strings.TrimSpace(string(out)))
}

// holdSites takes a number of sites, puts requests through some of them and
// prints the memory in KiB that is held then.
func holdSites(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("want the number of sites")
	}
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 1 {
		return fmt.Errorf("%q is no number of sites", args[0])
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	dir, err := os.MkdirTemp("", "dun-bench-edge-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer os.RemoveAll(dir)
	refuse := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no origin here") }
	e, err := edge.New(ctx, edge.Options{Node: "bench", TempDir: dir, Dial: func(string) edge.DialFunc { return refuse }})
	if err != nil {
		return err
	}
	feed := oneBatch{make(chan resource.Batch, 1), make(chan struct{}, 1)}
	feed.batch <- resource.Batch{Changes: manyRecords(n), Synced: true, At: resource.Position{Epoch: "e", Revision: 1}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	ran, served := make(chan error, 1), make(chan error, 1)
	go func() { ran <- e.Run(ctx, feed) }()
	go func() { served <- e.Serve(ctx, ln, nil) }()
	<-feed.taken
	if err := visit(ctx, ln.Addr().String(), n); err != nil {
		return err
	}
	kib, err := residentKiB()
	stop()
	fmt.Println(kib)
	return errors.Join(err, <-ran, <-served)
}

// manyRecords makes n sites. The even ones have settings of their own.
func manyRecords(n int) []resource.Change {
	var out []resource.Change
	add := func(o *resource.Object) { out = append(out, resource.Change{Ref: o.Ref(), Object: o}) }
	for i := range n {
		name := "s" + strconv.Itoa(i)
		meta := resource.Metadata{Tenant: "t" + strconv.Itoa(i%50), Name: name}
		s := &kind.SiteSpec{
			Hosts:   []string{name + ".example", "www." + name + ".example"},
			Origins: []kind.Origin{{URL: "http://10.0.0.1:" + strconv.Itoa(10000+i)}, {URL: "http://10.0.0.2:" + strconv.Itoa(10000+i)}},
		}
		if i%2 == 0 && n > 1 {
			s.WAF = &kind.WAF{Paranoia: 1 + i/2%4}
			s.Health = &kind.Health{Path: "/healthz"}
			for j, x := range []*kind.ExclusionSpec{{Site: name, Rule: 942100, Argument: "ARGS:text", Route: "/posts"}, {Site: name, Tag: "attack-sqli", Route: "/admin"}} {
				add(&resource.Object{Kind: "Exclusion", Metadata: resource.Metadata{Tenant: meta.Tenant, Name: name + "-" + strconv.Itoa(j)}, Spec: x})
			}
		}
		add(&resource.Object{Kind: "Site", Metadata: meta, Spec: s})
	}
	return out
}

// visit puts the same number of requests through however many sites there are.
func visit(ctx context.Context, addr string, n int) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer c.Close()
	answers := bufio.NewReader(c)
	for i := range warmUp {
		fmt.Fprintf(c, "GET /shop?q=blue+shoes&page=%d HTTP/1.1\r\nHost: s%d.example\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n", i, i%n)
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadGateway && resp.StatusCode != http.StatusForbidden { // no origin, or paranoia
			return fmt.Errorf("request %d was answered with %s", i, resp.Status)
		}
	}
	return nil
}

// residentKiB is VmRSS (proc(5)) after everything that can be freed was.
func residentKiB() (int, error) {
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(v), " kB"))
		}
	}
	return 0, errors.New("read memory: no VmRSS")
}
