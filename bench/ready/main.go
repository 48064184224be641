// Command ready measures how long `dun up` takes to be ready on a new data
// directory, beside what loading the OWASP core rule set alone takes in the
// same run. The bar of the main job: at most twice as long.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"

	"github.com/dun-sec/dun/bench/internal/cell"
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
	bin, err := cell.Build(dir)
	if err != nil {
		return false, err
	}
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	var up, crs []time.Duration
	for i := range rounds {
		start := time.Now()
		if err := exec.Command(self, "crs").Run(); err != nil {
			return false, err
		}
		crs = append(crs, time.Since(start))
		c, err := cell.Up(context.Background(), bin, filepath.Join(dir, "d"+strconv.Itoa(i)))
		if err != nil {
			return false, err
		}
		c.Stop()
		up = append(up, c.Ready)
	}
	u, c := cell.Median(up), cell.Median(crs)
	ratio := float64(u) / float64(c)
	fmt.Printf("ready: dun up %.0f ms, core rule set alone %.0f ms, ratio %.2f (bar %.1f); median of %d alternating; %s\n",
		u.Seconds()*1000, c.Seconds()*1000, ratio, bar, rounds, cell.Machine())
	return ratio <= bar, nil
}
