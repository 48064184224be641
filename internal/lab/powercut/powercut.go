// Package powercut is a power cut for tests. kill -9 keeps the page cache and
// so cannot show what a program forgot to sync; here the program's files lie on
// a FUSE mount that another process serves from memory, and a cut loses what
// was not synced, by the rules of powercut/disk, at random and repeatably.
//
// It owns the mount and the server, and ends both in bounded time whatever
// happens: the test fails, panics, runs into its timeout, or the programs hang
// in a call that can no longer return. It needs root and /dev/fuse. sync(2) and
// syncfs(2) do not reach the server (Linux sends them to few FUSE servers only)
// and make nothing durable; fsync, fdatasync, msync and O_SYNC do. What mmap
// wrote counts from when the kernel wrote it back.
package powercut

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dun-sec/dun/internal/lab"
	"github.com/dun-sec/dun/internal/lab/powercut/disk"
)

// limit is how long each step may take before the test fails.
const limit = 30 * time.Second

// Options of one machine.
type Options struct {
	IgnoreSync bool // acknowledge every sync and do nothing: a disk that lies
	After      int  // the power goes by itself before this change or sync, counted from 1; 0 = not by itself; Cut is called all the same
}

// Machine is a disk under power.
type Machine struct {
	t     testing.TB
	mount string
	cmd   *exec.Cmd
	to    io.WriteCloser
	lines chan string // what the server says; closed when it ended
}

// Build compiles the server; the path is for Start.
func Build(t testing.TB) string {
	t.Helper()
	return lab.Build(t, "github.com/dun-sec/dun/internal/lab/powercut/powerfs")
}

// Start gives power to the disk in the plain folder path. Until the cut the
// folder stays as it is.
func Start(t testing.TB, server, path string, opt Options) *Machine {
	t.Helper()
	m := &Machine{t: t, mount: filepath.Join(t.TempDir(), "mnt"), lines: make(chan string, 1)}
	if err := os.Mkdir(m.mount, 0o700); err != nil {
		t.Fatal(err)
	}
	m.cmd = exec.Command(server, path, m.mount, strconv.FormatBool(opt.IgnoreSync), strconv.Itoa(opt.After))
	m.cmd.Stderr = os.Stderr
	// No death signal: at the end of this process the server reads an end of
	// file, and detaches the mount before it ends too.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	to, err := m.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	from, err := m.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m.to = to
	go func() {
		defer close(m.lines)
		for s := bufio.NewScanner(from); s.Scan(); {
			m.lines <- s.Text()
		}
	}()
	t.Cleanup(m.end)
	if line, err := m.hear(); line != "ready" {
		t.Fatalf("the server does not start (power cuts need root and /dev/fuse): %q (%v)", line, err)
	}
	return m
}

// Dir is where the disk is mounted. This process may look into it until the
// cut, not during it.
func (m *Machine) Dir() string { return m.mount }

// Cut takes the power away at this very moment: no call on the mount returns
// any more. Then the programs are killed (kill -9), the connection is aborted,
// the mount removed, and the folder given to Start holds what the platter held.
// Cut returns when the programs have ended; their parent asks how, as ever.
func (m *Machine) Cut(seed uint64, programs ...*os.Process) disk.Lost {
	m.t.Helper()
	lost := m.freeze(seed)
	for _, p := range programs {
		if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			m.t.Fatalf("kill %d: %v", p.Pid, err)
		}
	}
	m.unplug()
	for _, p := range programs {
		if !ended(p.Pid) {
			m.t.Fatalf("process %d outlives the power by %s", p.Pid, limit)
		}
	}
	return lost
}

func (m *Machine) freeze(seed uint64) disk.Lost {
	m.t.Helper()
	line, err := m.ask(fmt.Sprintf("cut %d", seed))
	var lost disk.Lost
	if err == nil {
		err = json.Unmarshal([]byte(line), &lost)
	}
	if err != nil {
		m.t.Fatalf("cut the power: %v", err)
	}
	return lost
}

func (m *Machine) unplug() {
	m.t.Helper()
	if line, err := m.ask("off"); line != "off" {
		m.t.Fatalf("after the cut the server said %q (%v)", line, err)
	}
	m.end()
}

func (m *Machine) ask(what string) (string, error) {
	if _, err := fmt.Fprintln(m.to, what); err != nil {
		return "", err
	}
	return m.hear()
}

func (m *Machine) hear() (string, error) {
	select {
	case line, ok := <-m.lines:
		if !ok {
			return "", io.ErrUnexpectedEOF
		}
		return line, nil
	case <-time.After(limit):
		return "", fmt.Errorf("nothing for %s", limit)
	}
}

// end ends the server, by asking or by force; with its last descriptor the
// kernel aborts the connection. It does so once.
func (m *Machine) end() {
	if m.cmd == nil {
		return
	}
	m.to.Close()
	for said := true; said; { // until the server has closed its side
		if _, err := m.hear(); err != nil {
			said = false
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				m.t.Errorf("the server does not end: %v", err)
				m.cmd.Process.Kill()
			}
		}
	}
	if err := m.cmd.Wait(); err != nil {
		m.t.Errorf("the server ended with %v", err)
		// It may have died before it could detach; not mounted is as good.
		if err := unix.Unmount(m.mount, unix.MNT_FORCE|unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			m.t.Errorf("detach %s: %v", m.mount, err)
		}
	}
	m.cmd = nil
}

// ended waits until a process is gone, or is only there for its parent to ask
// how it ended.
func ended(pid int) bool {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.After(limit); ; {
		if strings.Trim(states(pid), "ZX") == "" {
			return true
		}
		select {
		case <-end:
			return false
		case <-tick.C:
		}
	}
}

// states has the letter of ps(1) for each thread of a process: one that hangs
// outlives the first, which is a zombie by then.
func states(pid int) string {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid)) // the pattern is well formed
	var out []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if i := bytes.LastIndexByte(b, ')'); err == nil && i >= 0 && i+2 < len(b) { // the name before may hold anything
			out = append(out, b[i+2])
		}
	}
	return string(out)
}
