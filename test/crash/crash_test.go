// Package crash kills real cells while they write, and counts what they had
// acknowledged.
package crash

import (
	"encoding/json"
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
	acked := map[string]uint64{} // name -> newest acknowledged revision
	total := 0
	for round := range n {
		cell := lab.Up(t, bin, dir)
		check(t, cell, acked)
		var mu sync.Mutex
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for w := range writers {
			wg.Go(func() { write(cell, round, w, stop, &mu, acked, &total) })
		}
		delay := time.NewTimer(time.Duration(20+rand.IntN(180)) * time.Millisecond)
		<-delay.C
		cell.Kill()
		close(stop)
		wg.Wait()
	}
	cell := lab.Up(t, bin, dir)
	check(t, cell, acked)
	if out, exit := cell.Dun("audit", "verify"); exit != 0 {
		t.Fatalf("audit verify: exit %d\n%s", exit, out)
	}
	if code := cell.Stop(); code != 0 {
		t.Errorf("a clean stop ends with %d\n%s", code, cell.Output())
	}
	if total < n {
		t.Fatalf("only %d writes were acknowledged in %d rounds: the test proves nothing", total, n)
	}
	t.Logf("%d kills, %d acknowledged writes, none lost", n, total)
}

type put struct {
	Metadata struct {
		Revision uint64 `json:"revision"`
	} `json:"metadata"`
}

// write creates a record and replaces it again and again.
func write(cell *lab.Cell, round, w int, stop chan struct{}, mu *sync.Mutex, acked map[string]uint64, total *int) {
	for i := 0; ; i++ {
		name := fmt.Sprintf("b-%d-%d-%d", round, w, i/3)
		var rev uint64
		if i%3 > 0 {
			mu.Lock()
			rev = acked[name]
			mu.Unlock()
		}
		select {
		case <-stop:
			return
		default:
		}
		body := fmt.Sprintf(`{"kind":"Ban","metadata":{"tenant":"platform","name":%q,"revision":%d},"spec":{"action":"ban","sources":["203.0.113.%d"]}}`, name, rev, i%250)
		status, reply, err := cell.Call("PUT", "/api/v1/platform/bans/"+name, "application/json", body)
		if err != nil {
			return // killed: the outcome is unknown, and that is allowed
		}
		var p put
		if status > 201 || json.Unmarshal(reply, &p) != nil || p.Metadata.Revision == 0 {
			return
		}
		mu.Lock()
		acked[name] = p.Metadata.Revision
		*total++
		mu.Unlock()
	}
}

// check reads back everything that was ever acknowledged.
func check(t *testing.T, cell *lab.Cell, acked map[string]uint64) {
	t.Helper()
	have := map[string]uint64{}
	after := ""
	for {
		status, reply, err := cell.Call("GET", "/api/v1/platform/bans?limit=1000&after="+after, "", "")
		if err != nil || status != 200 {
			t.Fatalf("list: %d %v %s", status, err, reply)
		}
		var page struct {
			Items []struct {
				Metadata struct {
					Name     string `json:"name"`
					Revision uint64 `json:"revision"`
				} `json:"metadata"`
			} `json:"items"`
			Next string `json:"next"`
		}
		if err := json.Unmarshal(reply, &page); err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Items {
			have[o.Metadata.Name] = o.Metadata.Revision
		}
		if after = page.Next; after == "" {
			break
		}
	}
	for name, rev := range acked {
		if have[name] < rev {
			t.Errorf("%s: acknowledged at revision %d, now at %d", name, rev, have[name])
		}
	}
	status, reply, err := cell.Call("GET", "/api/v1/-/audit/check", "", "")
	if err != nil || status != 200 {
		t.Fatalf("audit check: %d %v %s", status, err, reply)
	}
}
