// Package crash kills real cells while they write, and counts what they had
// acknowledged.
package crash

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/lab"
)

const writers = 8

// kills is the bar of the main job: 30 random points, no acknowledged write
// lost. make soak asks for more.
var kills = flag.Int("kills", 30, "how often the cell is killed")

// TestKillLosesNoAcknowledgedWrite kills the cell (kill -9) at random points
// while eight clients write. What a client saw acknowledged must be there after
// the restart, at least at its revision, and the whole audit log must verify.
func TestKillLosesNoAcknowledgedWrite(t *testing.T) {
	bin := lab.Build(t, "github.com/dun-sec/dun/cmd/dun")
	dir := t.TempDir() + "/d"
	n := *kills
	if testing.Short() {
		n = 5
	}
	ledger := lab.NewLedger()
	for round := range n {
		cell := lab.Up(t, bin, dir)
		check(t, cell, ledger)
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for w := range writers {
			wg.Go(func() { ledger.Write(cell, fmt.Sprintf("b-%d-%d", round, w), stop) })
		}
		delay := time.NewTimer(time.Duration(20+rand.IntN(180)) * time.Millisecond)
		<-delay.C
		cell.Kill()
		close(stop)
		wg.Wait()
	}
	cell := lab.Up(t, bin, dir)
	check(t, cell, ledger)
	if out, exit := cell.Dun("audit", "verify"); exit != 0 {
		t.Fatalf("audit verify: exit %d\n%s", exit, out)
	}
	if code := cell.Stop(); code != 0 {
		t.Errorf("a clean stop ends with %d\n%s", code, cell.Output())
	}
	total := ledger.Total()
	if total < n {
		t.Fatalf("only %d writes were acknowledged in %d rounds: the test proves nothing", total, n)
	}
	t.Logf("%d kills, %d acknowledged writes, none lost", n, total)
}

// check reads back everything that was ever acknowledged.
func check(t *testing.T, cell *lab.Cell, ledger *lab.Ledger) {
	t.Helper()
	lost, err := ledger.Lost(cell)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lost {
		t.Error(l)
	}
}
