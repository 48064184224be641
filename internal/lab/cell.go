// Package lab is the test kit: real cells as processes of their own, origins,
// and clients that see what a user sees. It owns what it starts and ends only
// that, by process id. No program imports it.
package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/telemetry"
)

// Wait is how long a cell may take to become ready or to stop. It is no bar:
// test machines are shared and slow.
const Wait = 60 * time.Second

// Build compiles a program of this module into a temporary folder.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-o", bin, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return bin
}

// Cell is one running `dun up` on free ports.
type Cell struct {
	Bin, Dir string
	Profile  *identity.Profile
	Status   telemetry.Status // at the time when it became ready
	API      *http.Client     // trusts the cell's authority

	node bool
	t    testing.TB
	cmd  *exec.Cmd
	out  *lockedBuffer
	done chan error
}

// Up starts a cell on dir and waits until it is ready. more are lines of its
// configuration, as in "user: root".
func Up(t testing.TB, bin, dir string, more ...string) *Cell {
	t.Helper()
	c, err := TryUp(t, bin, dir, more...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TryUp is Up for a start that may fail.
func TryUp(t testing.TB, bin, dir string, more ...string) (*Cell, error) {
	t.Helper()
	c, err := Launch(t, bin, dir, more...)
	if err != nil {
		return nil, err
	}
	return c, c.Ready()
}

// Launch starts a cell on dir and waits for nothing.
func Launch(t testing.TB, bin, dir string, more ...string) (*Cell, error) {
	t.Helper()
	return launch(t, bin, dir, []string{"up"}, more)
}

// Join starts a node on dir, by the file of a token, and waits for
// nothing. Without a token it is a node already.
func Join(t testing.TB, bin, dir, token string, more ...string) (*Cell, error) {
	t.Helper()
	args := []string{"run"}
	if token != "" {
		args = append(args, "--token-file", token)
	}
	return launch(t, bin, dir, args, more)
}

func launch(t testing.TB, bin, dir string, args, more []string) (*Cell, error) {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "dun.yaml")
	listen := "listen: {console: \"127.0.0.1:0\", edgeHTTP: \"127.0.0.1:0\", edgeHTTPS: \"127.0.0.1:0\", nodes: \"127.0.0.1:0\", telemetry: \"127.0.0.1:0\"}\n"
	if slices.ContainsFunc(more, func(s string) bool { return strings.HasPrefix(s, "listen:") }) {
		listen = ""
	}
	text := listen + strings.Join(more, "\n") + "\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write the configuration: %w", err)
	}
	c := &Cell{Bin: bin, Dir: dir, node: args[0] == "run", t: t, out: &lockedBuffer{}, done: make(chan error, 1)}
	c.cmd = exec.Command(bin, append(args, "--data", dir, "--config", conf)...)
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.out
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start dun: %w", err)
	}
	go func() { c.done <- c.cmd.Wait() }()
	t.Cleanup(c.Kill)
	return c, nil
}

// Running is a node on dir that the test runs in its own process.
func Running(t testing.TB, dir string) *Cell {
	return &Cell{Dir: dir, node: true, t: t, out: &lockedBuffer{}, done: make(chan error, 1)}
}

// Process is the process of the cell, for what Stop and Kill do not do: they
// wait for its end.
func (c *Cell) Process() *os.Process { return c.cmd.Process }

// Ready waits for the socket to say so, then reads the profile.
func (c *Cell) Ready() error {
	return c.Until(func(s *telemetry.Status) bool { return s.Ready })
}

// Served waits until the edge serves at all, from records or from
// last-known-good.
func (c *Cell) Served() error {
	return c.Until(func(s *telemetry.Status) bool {
		return s.Ready || slices.ContainsFunc(s.Roles, func(r telemetry.Role) bool { return r.State == telemetry.LastKnownGood })
	})
}

// Until is Ready for another state than ready.
func (c *Cell) Until(good func(*telemetry.Status) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), Wait)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-c.done:
			c.done <- err
			return fmt.Errorf("dun ended: %v\n%s", err, c.Output())
		case <-ctx.Done():
			return fmt.Errorf("dun is not ready after %s\n%s", Wait, c.Output())
		case <-tick.C:
		}
		if err := c.socketStatus(ctx); err == nil && good(&c.Status) {
			if _, err := os.Stat(c.ProfileFile()); err != nil && (c.node || !c.Status.Ready) {
				return nil // without records nobody makes one
			}
			return c.readProfile()
		}
	}
}

func (c *Cell) socketStatus(ctx context.Context) error {
	d, err := os.Open(filepath.Join(c.Dir, "run"))
	if err != nil {
		return err
	}
	defer d.Close()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/dun.sock", d.Fd()))
	}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://dun/status", nil)
	if err != nil {
		return err
	}
	res, err := (&http.Client{Transport: tr, Timeout: 5 * time.Second}).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return json.NewDecoder(res.Body).Decode(&c.Status)
}

func (c *Cell) readProfile() error {
	file := c.ProfileFile()
	p, err := identity.ReadProfile(file)
	if err != nil {
		return err
	}
	c.Profile = p
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(p.CAPEM))
	c.API = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 64}, Timeout: Wait}
	c.t.Cleanup(c.API.CloseIdleConnections)
	return nil
}

// ProfileFile is the operator's profile.
func (c *Cell) ProfileFile() string { return filepath.Join(c.Dir, "bootstrap/operator.yaml") }

// Port of a door, as in "edgeHTTPS".
func (c *Cell) Port(door string) string {
	_, port, err := net.SplitHostPort(strings.SplitN(c.Status.Endpoints[door], "://", 2)[1])
	if err != nil {
		c.t.Fatal(err)
	}
	return port
}

// Call speaks to the API as the operator.
func (c *Cell) Call(method, path, contentType, body string) (status int, reply []byte, err error) {
	req, err := http.NewRequest(method, c.Profile.Server+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.Profile.Session.Token)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := c.API.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, b, err
}

// Dun runs the command line against the cell.
func (c *Cell) Dun(args ...string) (out string, exit int) {
	cmd := exec.Command(c.Bin, args...)
	cmd.Env = append(os.Environ(), "DUN_PROFILE="+c.ProfileFile())
	b, err := cmd.CombinedOutput()
	if ee, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(b), ee.ExitCode()
	}
	if err != nil {
		c.t.Fatalf("run dun %v: %v", args, err)
	}
	return string(b), 0
}

// Output is what the cell has printed so far.
func (c *Cell) Output() string { return c.out.String() }

// Stop ends the cell as Ctrl-C does and returns its exit code.
func (c *Cell) Stop() int {
	c.t.Helper()
	if err := c.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.t.Fatal(err)
	}
	select {
	case err := <-c.done:
		c.done <- err
	case <-time.After(Wait):
		c.t.Fatalf("dun does not stop\n%s", c.Output())
	}
	return c.cmd.ProcessState.ExitCode()
}

// Kill is kill -9.
func (c *Cell) Kill() {
	if c.cmd.Process.Kill() == nil {
		err := <-c.done
		c.done <- err
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is everything written so far.
func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
