package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is something we started and that listens on addr.
type process struct {
	name, addr string
	cmd        *exec.Cmd
}

// end asks the process to stop and waits for it.
func (p *process) end() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	done := time.AfterFunc(10*time.Second, func() { p.cmd.Process.Kill() })
	defer done.Stop()
	p.cmd.Wait()
}

// ticks is USER_HZ, which Linux fixes at 100 for /proc (proc(5)).
const ticks = 100

// cpu is user and system time of the process and its children.
func (p *process) cpu() (time.Duration, error) {
	pids := []int{p.cmd.Process.Pid}
	kids, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pids[0], pids[0]))
	if err != nil {
		return 0, fmt.Errorf("list children: %w", err)
	}
	for _, f := range strings.Fields(string(kids)) {
		if n, err := strconv.Atoi(f); err == nil {
			pids = append(pids, n)
		}
	}
	var sum time.Duration
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, fmt.Errorf("read CPU time: %w", err)
		}
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if len(f) < 13 {
			return 0, errors.New("read CPU time: short line")
		}
		for _, v := range f[11:13] {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read CPU time: %w", err)
			}
			sum += time.Duration(n) * time.Second / ticks
		}
	}
	return sum, nil
}

// start starts the origin, then the proxies in the order of the table.
func start(ctx context.Context, nginx, dir string) ([]*process, error) {
	var all []*process
	if err := os.WriteFile(filepath.Join(dir, "big"), make([]byte, bigAnswer), 0o600); err != nil {
		return nil, fmt.Errorf("write the large answer: %w", err)
	}
	origin, err := startNginx(ctx, nginx, dir, "origin", `location = /big { root `+dir+`; } location / { default_type text/html; return 200 "<!doctype html><title>origin</title><p>an answer of a few words</p>"; }`)
	if err != nil {
		return all, err
	}
	all = append(all, origin)
	plain, err := startNginx(ctx, nginx, dir, "nginx", `location / { proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; }`, "upstream origin { server "+origin.addr+"; keepalive 64; }")
	if err != nil {
		return all, err
	}
	all = append(all, plain)
	for _, mode := range []string{"off", "block"} {
		p, err := startEdge(ctx, dir, mode, origin.addr)
		if err != nil {
			return all, err
		}
		all = append(all, p)
	}
	return all, nil
}

func startNginx(ctx context.Context, nginx, dir, name, location string, top ...string) (*process, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	home := filepath.Join(dir, name)
	if err := os.Mkdir(home, 0o700); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	user := ""
	if os.Getuid() == 0 {
		user = "user root;\n"
	}
	conf := fmt.Sprintf(`%sdaemon off; worker_processes %d; pid %s/pid; error_log %s/error.log;
events { worker_connections 1024; }
http { access_log off; keepalive_requests 100000000; client_body_temp_path %s/b; proxy_temp_path %s/p; fastcgi_temp_path %s/f; uwsgi_temp_path %s/u; scgi_temp_path %s/s;
%s
server { listen %s; %s } }
`, user, runtime.NumCPU(), home, home, home, home, home, home, home, strings.Join(top, "\n"), addr, location)
	file := filepath.Join(home, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	cmd := exec.CommandContext(ctx, nginx, "-p", home, "-c", file, "-e", filepath.Join(home, "error.log"))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start nginx: %w", err)
	}
	p := &process{name, addr, cmd}
	if err := awaitListener(ctx, addr); err != nil {
		p.end()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

func startEdge(ctx context.Context, dir, mode, origin string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, serveCommand, mode, origin, filepath.Join(dir, "edge-"+mode))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start edge: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start edge: %w", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	p := &process{"Dun edge, WAF " + mode, strings.TrimSpace(line), cmd}
	if mode == "block" {
		p.name = "Dun edge, WAF on"
	}
	if err != nil {
		p.end()
		return nil, fmt.Errorf("start edge: %w", err)
	}
	return p, nil
}

func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

func awaitListener(ctx context.Context, addr string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		if c, err := net.Dial("tcp", addr); err == nil {
			return c.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	return strings.Join(strings.Fields(string(b))[:3], " ")
}

func machine(nginx string) string {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	model := "unknown CPU"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	version, _ := exec.Command(nginx, "-v").CombinedOutput()
	return fmt.Sprintf("%d cores (%s), Linux %s, %s, %s.", runtime.NumCPU(), model, strings.TrimSpace(string(kernel)), runtime.Version(), strings.TrimPrefix(firstLine(string(version)), "nginx version: "))
}
