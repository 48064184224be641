// Package privilege starts the program as root, as an operator does in his home
// directory, and looks at what the kernel says of its processes.
package privilege

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/lab"
)

// process is what /proc/PID/status tells.
type process map[string]string

func look(pid int) process {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil
	}
	p := process{}
	for line := range strings.Lines(string(b)) {
		if name, v, ok := strings.Cut(line, ":"); ok {
			p[name] = strings.Join(strings.Fields(v), " ")
		}
	}
	return p
}

// children are all processes below pid.
func children(pid int) (out []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, name := range tasks {
		b, _ := os.ReadFile(name)
		for _, f := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(f); err == nil {
				out = append(append(out, n), children(n)...)
			}
		}
	}
	return out
}

func root(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("what root may give up needs root to be seen")
	}
}

func TestNothingButTheSupervisorIsRoot(t *testing.T) {
	root(t)
	bin := lab.Build(t, "../../cmd/dun")
	for name, mode := range map[string]os.FileMode{"below a closed home": 0o700, "below an open folder": 0o755} {
		t.Run(name, func(t *testing.T) {
			home := filepath.Join(t.TempDir(), "home")
			if err := os.Mkdir(home, mode); err != nil {
				t.Fatal(err)
			}
			c := lab.Up(t, bin, filepath.Join(home, "dun-data"))
			top := c.Process().Pid
			below := children(top)
			if len(below) != 1 {
				t.Fatalf("processes below the supervisor: %v", below)
			}
			w := look(below[0])
			for field, want := range map[string]string{
				"Uid": "61999 61999 61999 61999", "Gid": "61999 61999 61999 61999", "Groups": "", "NoNewPrivs": "1",
				"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000", "CapBnd": "0000000000000000", "CapAmb": "0000000000000000",
			} {
				if w[field] != want {
					t.Errorf("worker: %s is %q, want %q", field, w[field], want)
				}
			}
			s := look(top)
			if caps, err := strconv.ParseUint(s["CapEff"], 16, 64); err != nil || caps&^(1<<10|1<<5) != 0 || s["NoNewPrivs"] != "1" {
				t.Errorf("the supervisor keeps %s, no-new-privs %s", s["CapEff"], s["NoNewPrivs"])
			}
			env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", below[0]))
			if err != nil || strings.Contains(string(env), "PATH=") {
				t.Errorf("the worker has root's environment: %q %v", env, err)
			}
			if out, exit := c.Dun("audit", "verify"); exit != 0 {
				t.Errorf("%d %s", exit, out)
			}
			st, err := os.Stat(c.Dir)
			if err != nil || st.Sys().(*syscall.Stat_t).Uid != 61999 || st.Mode().Perm() != 0o700 {
				t.Errorf("%v %v", st, err)
			}
			if exit := c.Stop(); exit != 0 {
				t.Errorf("exit %d\n%s", exit, c.Output())
			}
			gone(t, below[0])
		})
	}
}

// gone waits until the process has ended.
func gone(t *testing.T, pid int) {
	t.Helper()
	for range 1000 {
		if p := look(pid); p == nil || strings.HasPrefix(p["State"], "Z") {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Errorf("process %d lives on", pid)
}

func TestNoHalfOutlivesTheOther(t *testing.T) {
	root(t)
	bin := lab.Build(t, "../../cmd/dun")
	dir := filepath.Join(t.TempDir(), "d")
	c := lab.Up(t, bin, dir)
	worker := children(c.Process().Pid)[0]
	c.Kill()
	gone(t, worker)

	c = lab.Up(t, bin, dir)
	top := c.Process().Pid
	if err := syscall.Kill(children(top)[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(t, top)
	if out := c.Output(); !strings.Contains(out, "ended by a signal") {
		t.Error(out)
	}
	c = lab.Up(t, bin, dir) // and the next start finds all in order
	if out, exit := c.Dun("audit", "verify"); exit != 0 {
		t.Errorf("%d %s", exit, out)
	}
}

func TestAnOrdinaryUserNeedsNoSplit(t *testing.T) {
	root(t)
	bin := lab.Build(t, "../../cmd/dun")
	home := t.TempDir()
	for p := home; p != "/" && p != os.TempDir(); p = filepath.Dir(p) {
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(home, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(home, "dun")
	b, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(open, b, 0o755); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(home, "dun.yaml")
	if err := os.WriteFile(conf, []byte("listen: {console: \"127.0.0.1:0\", edgeHTTP: \"127.0.0.1:0\", edgeHTTPS: \"127.0.0.1:0\", nodes: \"127.0.0.1:0\", telemetry: \"\"}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(open, "up", "--data", filepath.Join(home, "d"), "--config", conf)
	cmd.Dir, cmd.Env = home, []string{"HOME=" + home, "TMPDIR=" + home}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, Pdeathsig: syscall.SIGKILL}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	profile := filepath.Join(home, "d/bootstrap/operator.yaml")
	status := exec.Command(open, "status", "--wait", "60s")
	status.Env = []string{"DUN_PROFILE=" + profile}
	if b, err := status.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, b)
	}
	told := exec.Command(open, "status", "-o", "json")
	told.Env = status.Env
	if b, err := told.Output(); err != nil || !strings.Contains(string(b), `"name": "netd"`) || strings.Count(string(b), "only root can ask for it") != 4 {
		t.Errorf("status tells no ordinary user what he lacks: %v\n%s", err, b)
	}
	if p := look(cmd.Process.Pid); !strings.HasPrefix(p["Uid"], "65534 ") || len(children(cmd.Process.Pid)) != 0 {
		t.Errorf("%s, children %v", p["Uid"], children(cmd.Process.Pid))
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// What is not Dun's to give away is refused before anything changes hands.
func TestNothingForeignIsGivenAway(t *testing.T) {
	root(t)
	bin := lab.Build(t, "../../cmd/dun")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, plant := range map[string]func(dir string) error{
		"a symbolic link": func(dir string) error { return os.Symlink(secret, filepath.Join(dir, "keys", "log2")) },
		"a hard link":     func(dir string) error { return os.Link(secret, filepath.Join(dir, "keys", "log2")) },
		"somebody's file": func(dir string) error { return os.Chown(filepath.Join(dir, "ca.pem"), 12345, 12345) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "d")
			c := lab.Up(t, bin, dir)
			if exit := c.Stop(); exit != 0 {
				t.Fatal(exit)
			}
			if err := plant(dir); err != nil {
				t.Fatal(err)
			}
			again, err := lab.Launch(t, bin, dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := again.Ready(); err == nil {
				t.Fatal("it started")
			}
			st, err := os.Stat(secret)
			if err != nil || st.Sys().(*syscall.Stat_t).Uid != 0 {
				t.Errorf("the file was given away: %v", err)
			}
			t.Log(strings.TrimSpace(again.Output()))
		})
	}
}
