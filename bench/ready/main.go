// Command ready measures how long `dun up` takes to be ready on a new data
// directory, beside what loading the OWASP core rule set alone takes in the
// same run. The bar of the main job: at most twice as long.
package main

import (
	"context"
	"fmt"
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

	"encoding/json"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
)

const (
	rounds = 20
	bar    = 2.0
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "crs" {
		if err := loadCRS(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ok, err := measure()
	if err != nil {
		fmt.Fprintln(os.Stderr, "ready:", err)
		os.Exit(1)
	}
	if !ok {
		os.Exit(20)
	}
}

// loadCRS does what the reference does and nothing else.
func loadCRS() error {
	_, err := coraza.NewWAF(coraza.NewWAFConfig().WithRootFS(coreruleset.FS).
		WithDirectives("Include @coraza.conf-recommended\nInclude @crs-setup.conf.example\nInclude @owasp_crs/*.conf"))
	return err
}

func measure() (bool, error) {
	dir, err := os.MkdirTemp("", "dun-bench-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "dun")
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", bin, "./cmd/dun")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return false, fmt.Errorf("build: %w\n%s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	var up, crs []time.Duration
	for i := range rounds {
		d, err := timeCRS(self)
		if err != nil {
			return false, err
		}
		crs = append(crs, d)
		if d, err = timeUp(bin, filepath.Join(dir, "d"+strconv.Itoa(i))); err != nil {
			return false, err
		}
		up = append(up, d)
	}
	u, c := median(up), median(crs)
	ratio := float64(u) / float64(c)
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("ready: dun up %.0f ms, core rule set alone %.0f ms, ratio %.2f (bar %.1f); median of %d alternating; %d cores, %s, load %s\n",
		u.Seconds()*1000, c.Seconds()*1000, ratio, bar, rounds, runtime.NumCPU(), runtime.Version(), strings.TrimSpace(string(load)))
	return ratio <= bar, nil
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func timeCRS(self string) (time.Duration, error) {
	start := time.Now()
	err := exec.Command(self, "crs").Run()
	return time.Since(start), err
}

// timeUp starts a cell on a new directory and asks its socket until it says
// that it is ready.
func timeUp(bin, dir string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conf := dir + ".yaml"
	text := "listen: {console: \"127.0.0.1:0\", edgeHTTP: \"127.0.0.1:0\", edgeHTTPS: \"127.0.0.1:0\"}\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return 0, err
	}
	cmd := exec.Command(bin, "up", "--data", dir, "--config", conf)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	}()
	hc := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "run/dun.sock"))
	}}}
	defer hc.CloseIdleConnections()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
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
			return time.Since(start), nil
		}
	}
}
