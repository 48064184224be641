package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// load is a wrk script.
type load struct{ name, script string }

const (
	benchHost = "bench.example"
	common    = `wrk.headers["Host"] = "` + benchHost + `"
wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
wrk.headers["Accept"] = "text/html,application/xhtml+xml,*/*;q=0.8"
wrk.headers["Cookie"] = "session=4f1c2a9be07d4e55; theme=dark; lang=en-GB"
`
)

// writeLoads writes the two requests: GET with 3 cookies and 4 arguments, and
// POST of about 3.8 KiB of JSON in 4 fields.
func writeLoads(dir string) ([]load, error) {
	words := strings.Repeat("the quick brown fox jumps over a lazy dog while it rains in Harbin ", 14)
	body := fmt.Sprintf(`{"title":"%s","summary":"%s","text":"%s","author":"%s"}`, words[:900], words[:930], words[:930], words[:930])
	loads := map[string]string{
		"GET 3 cookies, 4 args":       common + `wrk.path = "/shop/items?category=shoes&colour=dark+blue&page=3&sort=price"` + "\n",
		"POST JSON 3.8 KiB, 4 fields": common + `wrk.method = "POST"` + "\n" + `wrk.path = "/api/items"` + "\n" + `wrk.headers["Content-Type"] = "application/json"` + "\n" + "wrk.body = [==[" + body + "]==]\n",
	}
	var out []load
	for i, name := range []string{"GET 3 cookies, 4 args", "POST JSON 3.8 KiB, 4 fields"} {
		file := filepath.Join(dir, fmt.Sprintf("load%d.lua", i))
		if err := os.WriteFile(file, []byte(loads[name]), 0o600); err != nil {
			return nil, fmt.Errorf("write load: %w", err)
		}
		out = append(out, load{name, file})
	}
	return out, nil
}

var (
	requestsLine = regexp.MustCompile(`(\d+) requests in`)
	rateLine     = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
)

// measure puts the load on p and divides the CPU time that p took by the
// requests that it answered. A run with a single refusal is no measurement.
func measure(ctx context.Context, wrk string, p *process, l load, span time.Duration) (sample, error) {
	if out, err := drive(ctx, wrk, p, l, time.Second); err != nil { // warm up
		return sample{}, fmt.Errorf("warm up: %w: %s", err, out)
	}
	before, err := p.cpu()
	if err != nil {
		return sample{}, err
	}
	out, err := drive(ctx, wrk, p, l, span)
	if err != nil {
		return sample{}, fmt.Errorf("run wrk: %w: %s", err, out)
	}
	after, err := p.cpu()
	if err != nil {
		return sample{}, err
	}
	n, r := requestsLine.FindStringSubmatch(out), rateLine.FindStringSubmatch(out)
	if n == nil || r == nil || strings.Contains(out, "Non-2xx") || strings.Contains(out, "Socket errors") {
		return sample{}, fmt.Errorf("not every request was answered well:\n%s", out)
	}
	count, _ := strconv.ParseFloat(n[1], 64)
	rate, _ := strconv.ParseFloat(r[1], 64)
	return sample{cpu: (after - before).Seconds() * 1000 / count, rate: rate}, nil
}

func drive(ctx context.Context, wrk string, p *process, l load, span time.Duration) (string, error) {
	out, err := exec.CommandContext(ctx, wrk, "-t1", "-c4", fmt.Sprintf("-d%ds", max(1, int(span.Seconds()))), "-s", l.script, "http://"+p.addr+"/").CombinedOutput()
	return string(out), err
}
