// Package script runs the command line as people type it, against real cells:
// each file of testdata is one story.
package script

import (
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	_ "modernc.org/sqlite"

	"github.com/dun-sec/dun/internal/lab"
)

// story is what the commands of one file share.
type story struct {
	cell   *lab.Cell
	unlock func()
}

// TestScripts gives each story these commands beside testscript's own:
//
//	up DIR             start a cell on DIR and wait until it is ready; sets
//	                   DUN_PROFILE, HTTP_PORT, HTTPS_PORT, API, TELEMETRY
//	                   and TOKEN
//	stop               end it as Ctrl-C does; it must exit with 0
//	killcell           kill -9
//	exit N PROG ARGS   run a program and expect the exit code N
//	origin NAME        start an HTTP origin that answers NAME and the path; sets NAME
//	fill FILE N UNIT   write N times UNIT to a file
//	busy               take a port; sets BUSY
//	subst FILES        put variables of the environment into files
//	requestid FILE     set REQUEST from the header of a reply
//	flip FILE FILE2    copy a file with one byte in its middle flipped
func TestScripts(t *testing.T) {
	bin := lab.Build(t, "github.com/dun-sec/dun/cmd/dun")
	verify := lab.Build(t, "github.com/dun-sec/dun/cmd/dun-verify")
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", filepath.Dir(bin)+":"+filepath.Dir(verify)+":"+os.Getenv("PATH"))
			e.Values["story"] = &story{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"updown":   func(ts *testscript.TestScript, _ bool, args []string) { upDown(ts, t, bin, args) },
			"up":       func(ts *testscript.TestScript, _ bool, args []string) { up(ts, t, bin, args) },
			"down":     func(ts *testscript.TestScript, _ bool, _ []string) { stop(ts) },
			"killcell": func(ts *testscript.TestScript, _ bool, _ []string) { cellOf(ts).Kill() },
			"exit":     expectExit,
			"origin":   origin,
			"fill":     fill,
			"busy":     busy,
			"flip":     flip,
			"lock":     lock,
			"unlock":   func(ts *testscript.TestScript, _ bool, _ []string) { ts.Value("story").(*story).unlock() },
			"subst":    subst,

			"requestid": requestID,
		},
	})
}

func cellOf(ts *testscript.TestScript) *lab.Cell {
	s, _ := ts.Value("story").(*story)
	if s == nil || s.cell == nil {
		ts.Fatalf("no cell is up")
	}
	return s.cell
}

func up(ts *testscript.TestScript, t *testing.T, bin string, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: up DIR")
	}
	c, err := lab.TryUp(t, bin, ts.MkAbs(args[0]))
	ts.Check(err)
	running(ts, c)
}

// upDown starts a cell whose record store does not open.
func upDown(ts *testscript.TestScript, t *testing.T, bin string, args []string) {
	c, err := lab.Launch(t, bin, ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(c.Served())
	running(ts, c)
}

func running(ts *testscript.TestScript, c *lab.Cell) {
	ts.Defer(c.Kill)
	ts.Value("story").(*story).cell = c
	ts.Setenv("DUN_PROFILE", c.ProfileFile())
	ts.Setenv("HTTP_PORT", c.Port("edgeHTTP"))
	ts.Setenv("HTTPS_PORT", c.Port("edgeHTTPS"))
	ts.Setenv("API", c.Profile.Server)
	ts.Setenv("TELEMETRY", c.Status.Endpoints["telemetry"])
	ts.Setenv("TOKEN", c.Profile.Session.Token)
}

func stop(ts *testscript.TestScript) {
	c := cellOf(ts)
	if code := c.Stop(); code != 0 {
		ts.Fatalf("stop: exit code %d\n%s", code, c.Output())
	}
	ts.Logf("%s", c.Output())
}

func expectExit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exit N PROG ARGS")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		ee, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = ee.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func origin(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: origin NAME")
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s\n", args[0], r.Method, r.URL.Path)
	}))
	ts.Defer(srv.Close)
	ts.Setenv(args[0], srv.URL)
}

func fill(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: fill FILE N UNIT")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Repeat(args[2], n)), 0o600))
}

func busy(ts *testscript.TestScript, _ bool, _ []string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { ln.Close() })
	ts.Setenv("BUSY", ln.Addr().String())
}

// lock holds a database as another program would that has it for itself alone.
func lock(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: lock FILE")
	}
	d, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	d.SetMaxOpenConns(1)
	for _, q := range []string{"PRAGMA locking_mode=EXCLUSIVE", "BEGIN EXCLUSIVE", "SELECT count(*) FROM head"} {
		_, err = d.Exec(q)
		ts.Check(err)
	}
	s := ts.Value("story").(*story)
	s.unlock = sync.OnceFunc(func() { d.Close() })
	ts.Defer(s.unlock)
}

func flip(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: flip FILE FILE2")
	}
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	b[len(b)/2] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b, 0o600))
}

func subst(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		b, err := os.ReadFile(ts.MkAbs(name))
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(os.Expand(string(b), ts.Getenv)), 0o600))
	}
}

func requestID(ts *testscript.TestScript, _ bool, args []string) {
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	for line := range strings.Lines(string(b)) {
		if name, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, "Dun-Request-Id") {
			ts.Setenv("REQUEST", strings.TrimSpace(v))
			return
		}
	}
	ts.Fatalf("no Dun-Request-Id in %s", args[0])
}

// A story is told to its end: testscript's own stop would pass it half told.
func TestNoStoryStopsEarly(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) > 0 && (f[0] == "stop" || f[0] == "skip") {
				t.Errorf("%s: %q ends the story here; a cell ends with down", name, strings.TrimSpace(line))
			}
		}
	}
}
