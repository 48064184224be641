package gate_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds"
)

// The child's cell travels in the environment of the test binary.
const crashDir, crashKey, crashVKey = "DUN_TEST_CRASH_DIR", "DUN_TEST_CRASH_SKEY", "DUN_TEST_CRASH_VKEY"

// TestCrashChild is no test by itself: it writes until it is killed and prints
// each write that was acknowledged.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("run by TestWhatWasAcknowledgedSurvivesAKill")
	}
	reg, err := resource.NewRegistry(kinds.All()...)
	if err != nil {
		t.Fatal(err)
	}
	c := &cell{t: t, dir: dir, skey: os.Getenv(crashKey), vkey: os.Getenv(crashVKey), reg: reg, clock: &clock{}}
	c.open()
	var out sync.Mutex
	say := func(format string, args ...any) {
		out.Lock()
		defer out.Unlock()
		fmt.Printf(format, args...)
	}
	round := c.At().Revision
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			for i := 0; i < 10_000; i++ {
				name := fmt.Sprintf("s%d-%d-%d", round, w, i)
				r, err := c.put(operator, site("platform", name, "", name+".test"))
				if err != nil {
					say("error %v\n", err)
					return
				}
				say("put %s %d\n", name, r.Revision)
				if i%3 != 0 {
					continue
				}
				if err := c.remove(operator, r); err != nil {
					say("error %v\n", err)
					return
				}
				say("gone %s %d\n", name, r.Revision)
			}
		})
	}
	all.Wait()
}

func TestWhatWasAcknowledgedSurvivesAKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := newCell(t)
	put, gone := map[string]uint64{}, map[string]bool{}
	for round := range 5 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		lines := 20 + rand.IntN(150)
		acknowledged := c.killed(self, lines)
		if len(acknowledged) < lines {
			t.Fatalf("round %d: %d lines", round, len(acknowledged))
		}
		for _, line := range acknowledged {
			var what, name string
			var rev uint64
			if n, err := fmt.Sscan(line, &what, &name, &rev); n != 3 || err != nil {
				t.Fatalf("the child says %q", line)
			}
			put[name] = rev
			gone[name] = gone[name] || what == "gone"
		}
		c.open()
		for name, rev := range put {
			o, err := c.Get(context.Background(), operator, resource.Ref{Kind: "Site", Tenant: "platform", Name: name})
			switch {
			case gone[name] && err == nil:
				t.Errorf("%s is back", name)
			case !gone[name] && err == nil && o.Metadata.Revision != rev:
				t.Errorf("%s is at %d, acknowledged was %d", name, o.Metadata.Revision, rev)
			case !gone[name] && err != nil:
				// Its deletion may have been committed and not acknowledged.
				v, err := c.History(context.Background(), operator, resource.Ref{Kind: "Site", Tenant: "platform", Name: name}, 0, 10)
				if err != nil || len(v) != 2 || v[0].Action != "delete" || v[1].Revision != rev {
					t.Errorf("%s is lost: %+v %v", name, v, err)
				}
			}
		}
		c.check()
	}
	t.Logf("%d acknowledged writes", len(put))
}

// killed runs the child, kills it after so many lines and returns whatever
// whole lines came out of the pipe.
func (c *cell) killed(self string, lines int) (out []string) {
	c.t.Helper()
	cmd := exec.Command(self, "-test.run=^TestCrashChild$")
	cmd.Env = append(os.Environ(), crashDir+"="+c.dir, crashKey+"="+c.skey, crashVKey+"="+c.vkey)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	in := bufio.NewReader(pipe)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			break // what was cut off was not acknowledged
		}
		if out = append(out, strings.TrimSpace(line)); len(out) == lines {
			if err := cmd.Process.Kill(); err != nil {
				c.t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil {
		c.t.Error("the child ended by itself")
	}
	return out
}
