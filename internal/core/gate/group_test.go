package gate_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
)

func TestTwoWritesToOneRecordInOneGroup(t *testing.T) {
	c := newCell(t)
	r := c.must(shop)
	hosts := func(h string) map[string]any {
		return map[string]any{"spec": map[string]any{"hosts": []any{h}}}
	}
	var first, second, third error
	var a, b gate.Result
	c.Together(
		func() { a, first = c.patch(operator, r, hosts("a.test")) },
		func() { _, second = c.patch(operator, r, hosts("b.test")) },
		func() {
			next := r
			next.Revision++
			b, third = c.patch(operator, next, hosts("c.test"))
		},
	)
	if first != nil {
		t.Fatal(first)
	}
	wantCode(t, second, fault.Conflict)
	wantCode(t, third, fault.Conflict) // refused beside the writer: that revision is not yet there
	if b, third = c.patch(operator, a, hosts("c.test")); third != nil || b.Revision != a.Revision+1 {
		t.Errorf("%+v %v", b, third)
	}
	c.check()
}

func TestARefusedMemberLeavesNoTrace(t *testing.T) {
	c := newCell(t)
	before, size := c.At().Revision, c.LogSize()
	const members = 50
	results, errs := make([]gate.Result, members), make([]error, members)
	var calls []func()
	for i := range members {
		calls = append(calls, func() {
			host := fmt.Sprintf("h%d.test", i)
			if i == 20 {
				host = "h3.test" // taken by the fourth member, which only the writer knows
			}
			results[i], errs[i] = c.put(operator, site("platform", fmt.Sprintf("s%d", i), "", host))
		})
	}
	c.Together(calls...)
	want := before
	for i := range members {
		if i == 20 {
			wantCode(t, errs[i], fault.Conflict)
			continue
		}
		want++
		if errs[i] != nil || results[i].Revision != want {
			t.Fatalf("member %d: revision %d, want %d, %v", i, results[i].Revision, want, errs[i])
		}
	}
	if c.At().Revision != want || c.LogSize() != size+members-1 {
		t.Errorf("revision %d, want %d; %d leaves, want %d", c.At().Revision, want, c.LogSize(), size+members-1)
	}
	c.check()
	c.reopen()
	if rep := c.check(); rep.Leaves != size+members-1 {
		t.Errorf("%+v", rep)
	}
}

func TestARequestIsAllOrNothing(t *testing.T) {
	c := newCell(t)
	r := c.must(shop)
	before, size := c.At(), c.LogSize()
	for name, last := range map[string]gate.Change{
		"conflict": c.change(site("platform", "n2", "", "n1.test")),
		"stale":    {Op: gate.Delete, Ref: r.Ref, Revision: 1},
		"invalid":  c.change(site("platform", "x", "", "a.test, a.test")),
		"hidden":   {Op: gate.Delete, Ref: c.object(site("none", "x", "", "x.test")).Ref(), Revision: 1},
	} {
		_, err := c.do(operator, c.change(site("platform", "n1", "", "n1.test")), gate.Change{Op: gate.Delete, Ref: r.Ref, Revision: r.Revision}, last)
		if err == nil {
			t.Errorf("%s: not refused", name)
		}
		if c.At() != before || c.LogSize() != size {
			t.Errorf("%s: left something", name)
		}
	}
	out, err := c.do(operator, c.change(site("platform", "n1", "", "n1.test")), gate.Change{Op: gate.Delete, Ref: r.Ref, Revision: r.Revision}, c.change(shop))
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range out {
		if x.Revision != before.Revision+uint64(i)+1 {
			t.Errorf("change %d got revision %d", i, x.Revision)
		}
	}
	if out[1].Object != nil || !out[2].Created || !out[2].Object.Metadata.Updated.After(out[0].Object.Metadata.Updated) {
		t.Errorf("%+v", out)
	}
	c.check()
}

func TestOneRecordTwiceInOneRequest(t *testing.T) {
	c := newCell(t)
	next := c.At().Revision + 1
	patch := func(rev uint64, host string) gate.Change {
		return gate.Change{Op: gate.Patch, Ref: c.object(shop).Ref(), Revision: rev, Patch: map[string]any{"spec": map[string]any{"hosts": []any{host}}}}
	}
	out, err := c.do(operator, c.change(shop), patch(next, "b.test"), patch(next+1, "b.test"))
	if err != nil || out[1].Revision != next+1 || !out[2].Unchanged || out[2].Revision != next+1 {
		t.Fatalf("%+v %v", out, err)
	}
	c.check()
}

func TestTimeOfARevisionStrictlyIncreases(t *testing.T) {
	c := newCell(t)
	var last time.Time
	for i, jump := range []time.Duration{0, time.Second, -time.Hour, 0, -24 * time.Hour, time.Minute, 25 * time.Hour} {
		c.clock.advance(jump)
		out, err := c.do(operator, c.change(site("platform", fmt.Sprintf("a%d", i), "", fmt.Sprintf("a%d.test", i))), c.change(site("platform", fmt.Sprintf("b%d", i), "", fmt.Sprintf("b%d.test", i))))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range out {
			if now := r.Object.Metadata.Updated; !now.After(last) {
				t.Errorf("%v is not after %v", now, last)
			} else {
				last = now
			}
		}
	}
	c.clock.advance(-time.Hour)
	c.reopen()
	if r := c.must(site("platform", "late", "", "late.test")); !r.Object.Metadata.Updated.After(last) {
		t.Error("a restart let time jump back")
	}
	c.check()
}

func TestACallerMayLeaveBeforeTheWriterComes(t *testing.T) {
	c := newCell(t)
	at := c.At()
	ctx, cancel := context.WithCancel(t.Context())
	var err error
	c.Together(func() {
		_, err = c.Apply(ctx, gate.Request{Actor: operator, Changes: []gate.Change{c.change(shop)}})
	}, cancel)
	wantCode(t, err, fault.Unavailable)
	if !errors.Is(err, context.Canceled) || c.At() != at {
		t.Errorf("%v at %v", err, c.At())
	}
}

func TestCloseAnswersEverybody(t *testing.T) {
	c := newCell(t)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			_, err := c.put(operator, site("platform", fmt.Sprintf("s%d", i), "", fmt.Sprintf("s%d.test", i)))
			if err != nil && !fault.Is(err, fault.Unavailable) {
				t.Error(err)
			}
		})
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	all.Wait()
	if _, err := c.put(operator, shop); !fault.Is(err, fault.Unavailable) {
		t.Errorf("after Close: %v", err)
	}
	c.open()
	c.check()
}
