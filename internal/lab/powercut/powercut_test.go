package powercut

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/db"
)

// role makes this test binary a program of its own, on the path that follows.
const role, where = "DUN_TEST_POWER_ROLE", "DUN_TEST_POWER_PATH"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(role) {
	case "":
		os.Exit(m.Run())
	case "sqlite":
		err = playDatabase(os.Getenv(where))
	case "sync":
		err = playSync(os.Getenv(where))
	case "owner":
		err = playOwner(strings.Split(os.Getenv(where), ":"))
	}
	fmt.Fprintln(os.Stderr, "ended:", err)
	os.Exit(1)
}

// playDatabase commits row after row and says so.
func playDatabase(path string) error {
	d, err := db.OpenSQLite(context.Background(), path)
	if err != nil {
		return err
	}
	if _, err := d.Writer.Exec("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, v BLOB)"); err != nil {
		return err
	}
	for {
		r, err := d.Writer.Exec("INSERT INTO t (v) VALUES (randomblob(3000))")
		if err != nil {
			return err
		}
		n, err := r.LastInsertId()
		if err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// playSync writes and syncs one file for ever.
func playSync(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		if _, err := f.WriteAt([]byte(strconv.Itoa(i)), 0); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		fmt.Println(i)
	}
}

// playOwner starts a server and does nothing more.
func playOwner(args []string) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	to, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	defer to.Close()
	return cmd.Run()
}

// play starts this binary in a role and returns what it prints.
func play(t *testing.T, as, path string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), role+"="+as, where+"="+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
	return cmd, bufio.NewReader(out)
}

// mounted says whether a path is a mount point now.
func mounted(t *testing.T, path string) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(b, []byte(" "+path+" "))
}

// TestACommitOfSQLiteSurvives cuts under a database in WAL mode, again and
// again on the same disk.
func TestACommitOfSQLiteSurvives(t *testing.T) {
	server, path := Build(t), t.TempDir()
	var acknowledged, lost int
	for seed := range uint64(12) {
		m := Start(t, server, path, Options{})
		cmd, out := play(t, "sqlite", filepath.Join(m.Dir(), "d.db"))
		for range 1 + seed*7 {
			n := readInt(t, out)
			if n <= acknowledged && lost == 0 {
				t.Errorf("row %d is written again: it was acknowledged and lost", n)
				lost++
			}
			acknowledged = n
		}
		m.Cut(seed, cmd.Process)
		for { // what it said before its end counts
			line, err := out.ReadString('\n')
			if err != nil {
				break
			}
			acknowledged, _ = strconv.Atoi(strings.TrimSpace(line))
		}
		d, err := db.OpenSQLite(context.Background(), filepath.Join(path, "d.db"))
		if err != nil {
			t.Fatal(err)
		}
		var n int
		var healthy string
		if err := errors.Join(d.Reader.QueryRow("SELECT count(*) FROM t").Scan(&n), d.Reader.QueryRow("PRAGMA integrity_check").Scan(&healthy), d.Close()); err != nil {
			t.Fatal(err)
		}
		if n < acknowledged || healthy != "ok" {
			t.Fatalf("seed %d: %d rows, %d were acknowledged; integrity %s", seed, n, acknowledged, healthy)
		}
	}
}

func readInt(t *testing.T, r *bufio.Reader) int {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestSyncReachesTheDiskAndNothingElseDoes looks at files after cuts.
func TestSyncReachesTheDiskAndNothingElseDoes(t *testing.T) {
	server := Build(t)
	kept := map[string]int{}
	const cuts = 24
	for seed := range uint64(cuts) {
		path := t.TempDir()
		m := Start(t, server, path, Options{})
		write := func(name string, flag int, sync bool) {
			t.Helper()
			f, err := os.OpenFile(filepath.Join(m.Dir(), name), os.O_CREATE|os.O_WRONLY|flag, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteString(name)
			if sync {
				err = errors.Join(err, f.Sync())
			}
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}
		write("synced", 0, true)
		write("o_sync", os.O_SYNC, false)
		write("unsynced", 0, false)
		dir, err := os.Open(m.Dir())
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
			t.Fatal(err)
		}
		write("nameless", 0, true)
		m.Cut(seed)
		if mounted(t, m.Dir()) {
			t.Fatal("still mounted")
		}
		for _, name := range []string{"synced", "o_sync", "unsynced", "nameless"} {
			b, err := os.ReadFile(filepath.Join(path, name))
			switch {
			case string(b) == name:
				kept[name]++
			case name == "nameless" && errors.Is(err, fs.ErrNotExist), name == "unsynced" && err == nil:
			default:
				t.Errorf("seed %d: %s holds %q (%v)", seed, name, b, err)
			}
		}
	}
	for _, name := range []string{"unsynced", "nameless"} {
		if kept[name] == 0 || kept[name] == cuts {
			t.Errorf("%s was kept in %d of %d cuts", name, kept[name], cuts)
		}
	}
	if kept["synced"] != cuts || kept["o_sync"] != cuts {
		t.Errorf("%v", kept)
	}
}

// TestADiskThatLiesIsSeen: the same with syncs that do nothing.
func TestADiskThatLiesIsSeen(t *testing.T) {
	server := Build(t)
	for seed := range uint64(20) {
		path := t.TempDir()
		if err := os.WriteFile(path+"/f", []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		m := Start(t, server, path, Options{IgnoreSync: true})
		cmd, out := play(t, "sync", m.Dir()+"/f")
		acknowledged := readInt(t, out)
		for range 5 {
			acknowledged = readInt(t, out)
		}
		m.Cut(seed, cmd.Process)
		b, _ := os.ReadFile(path + "/f")
		if n, err := strconv.Atoi(string(b)); err != nil || n < acknowledged {
			return
		}
	}
	t.Error("syncs were ignored and yet nothing was lost")
}

// TestThePowerGoesAtAGivenChange: the first changes are to truncate, write "0",
// sync, write "1", sync.
func TestThePowerGoesAtAGivenChange(t *testing.T) {
	server := Build(t)
	for after, want := range map[int]string{1: "", 4: "0", 6: "1"} {
		path := t.TempDir()
		if err := os.WriteFile(path+"/f", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		m := Start(t, server, path, Options{After: after})
		cmd, _ := play(t, "sync", m.Dir()+"/f")
		seen := 0 // in a row: each call waits for a moment
		until(t, "the program hangs", func() bool {
			if seen++; !waitsForFUSE(cmd.Process.Pid) {
				seen = 0
			}
			return seen == 100
		})
		m.Cut(1, cmd.Process)
		if b, err := os.ReadFile(path + "/f"); err != nil || string(b) != want {
			t.Errorf("after %d changes the file holds %q (%v), not %q", after, b, err, want)
		}
	}
}

// TestAProgramThatCannotBeKilledEnds freezes a program in a call that no
// signal ends, and ends it.
func TestAProgramThatCannotBeKilledEnds(t *testing.T) {
	m := Start(t, Build(t), t.TempDir(), Options{})
	cmd, out := play(t, "sync", filepath.Join(m.Dir(), "f"))
	readInt(t, out)
	m.freeze(1)
	until(t, "the program hangs", func() bool { return waitsForFUSE(cmd.Process.Pid) })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	until(t, "all that can end ends", func() bool { return strings.Trim(states(cmd.Process.Pid), "ZX") == "D" })
	m.unplug()
	if !ended(cmd.Process.Pid) {
		t.Error("the program still hangs")
	}
	if mounted(t, m.Dir()) {
		t.Error("still mounted")
	}
}

// TestTheMountGoesWithItsOwner kills the process that started a server, as the
// timeout of a test does.
func TestTheMountGoesWithItsOwner(t *testing.T) {
	mount := t.TempDir()
	owner, out := play(t, "owner", strings.Join([]string{Build(t), t.TempDir(), mount, "false", "0"}, ":"))
	if line, err := out.ReadString('\n'); line != "ready\n" {
		t.Fatal(line, err)
	}
	prog, lines := play(t, "sync", mount+"/f")
	readInt(t, lines)
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	until(t, "the mount goes", func() bool { return !mounted(t, mount) })
	if !ended(prog.Process.Pid) {
		t.Error("a program still uses it")
	}
}

// waitsForFUSE says whether a thread waits for the server's answer. Until a
// signal comes its letter is that of any wait.
func waitsForFUSE(pid int) bool {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/wchan", pid))
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && string(b) == "request_wait_answer" {
			return true
		}
	}
	return false
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.After(limit); !holds(); {
		select {
		case <-end:
			t.Fatalf("not within %s: %s", limit, what)
		case <-tick.C:
		}
	}
}
