// Package cell starts the real program for benches: build, `dun up` on free
// ports, wait until it is ready, speak to its API, read its memory. It owns
// what it starts and ends only that.
package cell

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dun-sec/dun/internal/core/identity"
)

// Build compiles the program into dir.
func Build(dir string) (string, error) {
	bin := filepath.Join(dir, "dun")
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", bin, "./cmd/dun")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return bin, nil
}

// Cell is one running program.
type Cell struct {
	Server  string
	Ready   time.Duration // from the start to ready
	Client  *http.Client
	dir     string
	cmd     *exec.Cmd
	profile *identity.Profile
}

// Up starts the program on a data directory and waits until it is ready.
func Up(ctx context.Context, bin, dir string) (*Cell, error) {
	conf := dir + ".yaml"
	text := "listen: {console: \"127.0.0.1:0\", edgeHTTP: \"127.0.0.1:0\", edgeHTTPS: \"127.0.0.1:0\", nodes: \"127.0.0.1:0\", telemetry: \"127.0.0.1:0\"}\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	c := &Cell{dir: dir, cmd: exec.Command(bin, "up", "--data", dir, "--config", conf)}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	start := time.Now()
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	if err := c.wait(ctx, start); err != nil {
		c.Stop()
		return nil, fmt.Errorf("start the program: %w", err)
	}
	return c, nil
}

func (c *Cell) wait(ctx context.Context, start time.Time) error {
	hc := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(c.dir, "run/dun.sock"))
	}}}
	defer hc.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		var s struct {
			Ready bool `json:"ready"`
		}
		res, err := hc.Get("http://dun/status")
		if err != nil {
			continue
		}
		err = json.NewDecoder(res.Body).Decode(&s)
		res.Body.Close()
		if err == nil && s.Ready {
			c.Ready = time.Since(start)
			return c.open()
		}
	}
}

func (c *Cell) open() (err error) {
	if c.profile, err = identity.ReadProfile(filepath.Join(c.dir, "bootstrap/operator.yaml")); err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(c.profile.CAPEM))
	c.Server = c.profile.Server
	c.Client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 64}}
	return nil
}

// Do calls the API and gives the reply's body to read, which the caller closes.
func (c *Cell) Do(ctx context.Context, method, path, body string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.Server+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.profile.Session.Token)
	req.Header.Set("Content-Type", "application/json")
	res, err := c.Client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 300 {
		defer res.Body.Close()
		b, _ := io.ReadAll(io.LimitReader(res.Body, 4096))
		return nil, fmt.Errorf("%s %s: %s %s", method, path, res.Status, b)
	}
	return res.Body, nil
}

// Page asks for a page of the console as a browser that is signed in does.
func (c *Cell) Page(ctx context.Context, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Server+path, nil)
	if err != nil {
		return nil, err
	}
	req.AddCookie(&http.Cookie{Name: "__Host-dun", Value: c.profile.Session.Token})
	res, err := c.Client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		res.Body.Close()
		return nil, fmt.Errorf("GET %s: %s", path, res.Status)
	}
	return res.Body, nil
}

// ResetPeak forgets the highest resident memory (proc(5), clear_refs) of every
// process of the cell.
func (c *Cell) ResetPeak() error {
	for _, pid := range c.processes() {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
			return err
		}
	}
	return nil
}

// Memory is the resident memory now and the highest since ResetPeak, in bytes.
func (c *Cell) Memory() (now, peak int64, err error) {
	for _, pid := range c.processes() {
		f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, 0, err
		}
		for sc := bufio.NewScanner(f); sc.Scan(); {
			for name, to := range map[string]*int64{"VmRSS:": &now, "VmHWM:": &peak} {
				if v, ok := strings.CutPrefix(sc.Text(), name); ok {
					kb, _ := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
					*to += kb << 10
				}
			}
		}
		f.Close()
	}
	return now, peak, nil
}

func (c *Cell) processes() []int {
	pids := []int{c.cmd.Process.Pid}
	for i := 0; i < len(pids); i++ {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[i]))
		for _, t := range tasks {
			kids, _ := os.ReadFile(t)
			for _, f := range strings.Fields(string(kids)) {
				if n, err := strconv.Atoi(f); err == nil && !slices.Contains(pids, n) {
					pids = append(pids, n)
				}
			}
		}
	}
	return pids
}

// Stop ends the program as Ctrl-C does.
func (c *Cell) Stop() {
	c.cmd.Process.Signal(os.Interrupt)
	late := time.AfterFunc(20*time.Second, func() { c.cmd.Process.Kill() })
	defer late.Stop()
	c.cmd.Wait()
}

// Median sorts d.
func Median[T int | int64 | float64 | time.Duration](d []T) T {
	slices.Sort(d)
	return d[len(d)/2]
}

// Machine describes what the figures were taken on.
func Machine() string {
	load, _ := os.ReadFile("/proc/loadavg")
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	f := strings.Fields(string(load))
	return fmt.Sprintf("%d cores, Linux %s, %s, load %s", runtime.NumCPU(), strings.TrimSpace(string(kernel)), runtime.Version(), strings.Join(f[:min(3, len(f))], " "))
}
