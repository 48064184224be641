// Command policy measures decisions over an index beside cedar-go alone, which
// evaluates every policy, and the compilation of one change beside that of
// everything. Bars: a decision over 1 000 policies costs at most a tenth of the
// naive one in the same run, and from 10 to 10 000 policies at most twice as much.
package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds"
)

const (
	pairs     = 101 // alternating measurements of each peer
	batch     = 512 // decisions in one measurement
	barNaive  = 0.1
	barGrowth = 2.0
	users     = 10_000
)

func main() {
	ok, err := measure()
	if err != nil {
		fmt.Fprintln(os.Stderr, "policy:", err)
		os.Exit(1)
	}
	if !ok {
		os.Exit(20)
	}
}

func measure() (bool, error) {
	before := load()
	reg, err := resource.NewRegistry(kinds.All()...)
	if err != nil {
		return false, err
	}
	c, err := policy.NewCompiler(reg)
	if err != nil {
		return false, err
	}
	fmt.Println("| policies | mix | index, µs | cedar-go alone, µs | ratio |")
	fmt.Println("|---:|---|---:|---:|---:|")
	var cells []*pair // of the mix, by size
	var atThousand float64
	for _, row := range []struct {
		n    int
		mix  string
		make func(int) []*resource.Object
	}{{10, "mixed", mixed}, {100, "mixed", mixed}, {1000, "mixed", mixed}, {10_000, "mixed", mixed}, {1000, "one kind and action", oneAction}, {1000, "forbids in front of a value", valued}, {1000, "forbids that cannot be filed", unfiled}} {
		p, err := newPair(c, row.make(row.n))
		if err != nil {
			return false, err
		}
		index, naive := p.compare()
		ratio := float64(index) / float64(naive)
		fmt.Printf("| %d | %s | %s | %s | %.4f |\n", row.n, row.mix, micros(index), micros(naive), ratio)
		if row.mix == "mixed" {
			cells = append(cells, p)
		}
		if row.mix == "mixed" && row.n == 1000 {
			atThousand = ratio
		}
	}
	growth := grows(cells)
	fmt.Printf("\nFrom 10 to 10 000 policies, measured in turn, a decision takes %.2f times as long (bar %.1f); over 1 000 it takes %.4f of cedar-go alone (bar %.1f).\n", growth, barGrowth, atThousand, barNaive)
	if err := compileTable(c); err != nil {
		return false, err
	}
	fmt.Printf("\nMedian of %d alternating measurements, %d decisions each. %d cores, %s. Load average %s before, %s after.\n", pairs, batch, runtime.NumCPU(), runtime.Version(), before, load())
	return growth <= barGrowth && atThousand <= barNaive, nil
}

func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(b))[:3], " ")
}

func micros(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/float64(time.Microsecond)) }

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// compileTable prints what one change costs in a cell of many users.
func compileTable(c *policy.Compiler) error {
	all := mixed(1000)
	for i := range users {
		all = append(all, user(fmt.Sprintf("u%d", i), ""))
	}
	snap, err := c.Compile(slices.Values(all))
	if err != nil {
		return err
	}
	fmt.Printf("\n| change in a cell of 1 000 policies and %d users | Update, µs | Compile of all, ms |\n|---|---:|---:|\n", users)
	var whole []time.Duration
	for range 3 {
		begin := time.Now()
		if _, err := c.Compile(slices.Values(all)); err != nil {
			return err
		}
		whole = append(whole, time.Since(begin))
	}
	entire := median(whole)
	for _, row := range []struct {
		name string
		next func(int) *resource.Object
	}{
		{"one User", func(i int) *resource.Object { return user("u77", fmt.Sprint("name ", i)) }},
		{"one RoleBinding", func(i int) *resource.Object { return binding("b", fmt.Sprintf("r%d", i%10), "u77") }},
		{"one Policy", func(i int) *resource.Object { return all[500+i%100] }},
		{"one Policy, new text", func(i int) *resource.Object {
			return policyRecord("platform", "p500", fmt.Sprintf(`permit (principal in Role::"platform/r%d", action == Action::"site.read", resource);`, i))
		}},
	} {
		var each []time.Duration
		for i := range pairs {
			o := row.next(i)
			begin := time.Now()
			next, err := c.Update(snap, resource.Change{Ref: o.Ref(), Object: o})
			if err != nil {
				return err
			}
			each = append(each, time.Since(begin))
			snap = next
		}
		fmt.Printf("| %s | %s | %.1f |\n", row.name, micros(median(each)), entire.Seconds()*1000)
	}
	return nil
}
