package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// slowCommand puts the three attacks of slowhttptest that hold connections on
// nginx and on the edge, one after the other, while a second client goes on.
const slowCommand = "slow"

const (
	slowConnections = 1000
	slowRate        = 200 // connections a second
	slowSpan        = 20  // s
	secondEvery     = 50 * time.Millisecond
	secondWaits     = 5 * time.Second
	bigAnswer       = 1 << 20 // bytes, for the attack that reads slowly
)

var slowModes = []struct{ flag, name string }{{"-H", "headers"}, {"-B", "bodies"}, {"-X", "reads"}}

// attacked is what a second client saw while one attack went on.
type attacked struct {
	served, failed int
	waits          []time.Duration
	held           int // connections that the attacker had at once
}

// attackSlowly prints a table and fails when the edge fails a request of the
// second client.
func attackSlowly(ctx context.Context) error {
	nginx, err := need("nginx")
	if err != nil {
		return err
	}
	attacker, err := need("slowhttptest")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "dun-bench-slow-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer os.RemoveAll(dir)
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
	fmt.Println("| attack | proxy | connections held | requests of others | failed | median | 99th | worst |")
	fmt.Println("|---|---|---:|---:|---:|---:|---:|---:|")
	bad := 0
	for _, m := range slowModes {
		for _, p := range []*process{proxies[1], proxies[3]} { // nginx, and the edge with its firewall
			a, err := underAttack(ctx, attacker, dir, m.flag, p)
			if err != nil {
				return fmt.Errorf("%s on %s: %w", m.name, p.name, err)
			}
			fmt.Printf("| slow %s | %s | %d | %d | %d | %s | %s | %s |\n", m.name, p.name, a.held, a.served+a.failed, a.failed, a.at(0.5), a.at(0.99), a.at(1))
			if p == proxies[3] {
				bad += a.failed
			}
		}
	}
	fmt.Printf("\nslowhttptest -c %d -r %d for %d s each; the others ask every %s on a new connection and wait %s at most. nginx with its defaults and 1024 worker connections for each of its workers. %s Load average %s before, %s after.\n",
		slowConnections, slowRate, slowSpan, secondEvery, secondWaits, machine(nginx), before, loadAverage())
	if bad > 0 {
		return fmt.Errorf("%d requests of others failed at the edge", bad)
	}
	return nil
}

func (a *attacked) at(share float64) time.Duration {
	if len(a.waits) == 0 {
		return 0
	}
	slices.Sort(a.waits)
	return a.waits[min(len(a.waits)-1, int(share*float64(len(a.waits))))].Round(100 * time.Microsecond)
}

func underAttack(ctx context.Context, attacker, dir, mode string, p *process) (*attacked, error) {
	file := filepath.Join(dir, strings.ReplaceAll(p.name, " ", "")+mode)
	cmd := exec.CommandContext(ctx, attacker, mode, "-g", "-o", file, "-c", strconv.Itoa(slowConnections), "-r", strconv.Itoa(slowRate), "-l", strconv.Itoa(slowSpan),
		"-i", "2", "-p", "3", "-s", "8192", "-w", "10", "-y", "20", "-n", "1", "-z", "5", "-u", "http://"+p.addr+map[string]string{"-X": "/big"}[mode])
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the attacker: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	a := &attacked{}
	tick := time.NewTicker(secondEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
				return a, fmt.Errorf("the attacker: %w: %s", err, said.Bytes())
			}
			a.held, err = mostHeld(file + ".csv")
			return a, err
		case <-tick.C:
			start := time.Now()
			if second(ctx, p.addr) {
				a.served++
			} else {
				a.failed++
			}
			a.waits = append(a.waits, time.Since(start))
		}
	}
}

// second asks once on a connection of its own.
func second(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, secondWaits)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/", nil)
	if err != nil {
		return false
	}
	req.Host = benchHost
	req.Header = http.Header{"User-Agent": {"Mozilla/5.0"}, "Accept": {"*/*"}}
	tr := &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{}).DialContext}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK
}

// mostHeld reads how many connections the attacker had at once: the column
// "Connected" of its log.
func mostHeld(file string) (int, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, fmt.Errorf("read the attacker's log: %w", err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil || len(rows) < 2 {
		return 0, fmt.Errorf("read the attacker's log: %d rows: %w", len(rows), err)
	}
	at := slices.IndexFunc(rows[0], func(s string) bool { return strings.Contains(strings.ToLower(s), "connected") })
	if at < 0 {
		return 0, fmt.Errorf("read the attacker's log: columns %q", rows[0])
	}
	most := 0
	for _, r := range rows[1:] {
		if n, err := strconv.Atoi(strings.TrimSpace(r[at])); err == nil {
			most = max(most, n)
		}
	}
	return most, nil
}
