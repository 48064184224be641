package assurance

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/text"
)

func whole() Check {
	return Check{
		Control: "1.2-3", Title: text.T("It holds", "成立"), Cost: text.T("nothing", "无"), Scope: Twin, Period: time.Hour, Limit: time.Second,
		Positive: func(context.Context) error { return nil },
		Probe: func(_ context.Context, e *Evidence) error {
			e.Add("seen", "%d", 7)
			return nil
		},
	}
}

type kept struct{ list []string }

func (k *kept) record(_ context.Context, a identity.Actor, control, action, evidence string) error {
	k.list = append(k.list, a.String()+" "+control+" "+action+" "+evidence)
	return nil
}

func registry(t *testing.T, k *kept, c ...Check) *Registry {
	t.Helper()
	r, err := NewRegistry("n1", k.record, time.Now, c...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAResultIsALeafBeforeItCounts(t *testing.T) {
	k := &kept{}
	r := registry(t, k, whole())
	res, err := r.Run(t.Context(), identity.Service("x"), "1.2-3")
	if err != nil || res.State != Proved || res.Scope != Twin || len(res.Evidence) != 1 || res.Nodes[0] != "n1" || res.Reason != nil {
		t.Fatalf("%+v %v", res, err)
	}
	if len(k.list) != 1 || !strings.HasPrefix(k.list[0], `Service platform/x 1.2-3 proved {"control":"1.2-3"`) {
		t.Error(k.list)
	}
	if l := r.List(); l[0].Last == nil || l[0].Last.State != Proved {
		t.Errorf("%+v", l)
	}
	if _, err := r.Run(t.Context(), identity.Service("x"), "9.9-9"); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	// What cannot be kept does not count.
	r.record = func(context.Context, identity.Actor, string, string, string) error { return errors.New("full") }
	r.last = map[string]Result{}
	if _, err := r.Run(t.Context(), identity.Service("x"), "1.2-3"); err == nil || r.List()[0].Last != nil {
		t.Error(err)
	}
}

func TestWhatDoesNotHoldFails(t *testing.T) {
	k := &kept{}
	c := whole()
	c.Probe = func(_ context.Context, e *Evidence) error {
		e.Add("seen", "a hole")
		return NotHeld("there is a hole of %d", "有一个 %d 的洞", 3)
	}
	res, err := registry(t, k, c).Run(t.Context(), identity.Service("x"), "1.2-3")
	if err != nil || res.State != Failed || res.Reason.En != "there is a hole of 3" || res.Reason.Zh != "有一个 3 的洞" || len(res.Evidence) != 1 {
		t.Errorf("%+v %v", res, err)
	}
	if !strings.Contains(k.list[0], " failed ") {
		t.Error(k.list)
	}
}

func TestWhatCouldNotBeTriedProvesNothing(t *testing.T) {
	for name, change := range map[string]func(*Check){
		"an error": func(c *Check) { c.Probe = func(context.Context, *Evidence) error { return errors.New("no network") } },
		"a panic":  func(c *Check) { c.Probe = func(context.Context, *Evidence) error { panic("x") } },
		"a hang":   func(c *Check) { c.Probe = func(context.Context, *Evidence) error { select {} } },
		"a slow one": func(c *Check) {
			c.Probe = func(ctx context.Context, _ *Evidence) error { <-ctx.Done(); return ctx.Err() }
		},
		"a blind probe": func(c *Check) {
			c.Positive = func(context.Context) error { return NotHeld("saw nothing", "什么也没看到") }
		},
		"a blind panic":     func(c *Check) { c.Positive = func(context.Context) error { panic("y") } },
		"a hanging control": func(c *Check) { c.Positive = func(context.Context) error { select {} } },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if strings.Contains(name, "hang") {
					return // a goroutine that never ends; below
				}
				renewsNothing(t, change)
			})
			if strings.Contains(name, "hang") {
				renewsNothing(t, func(c *Check) { change(c); c.Limit = 20 * time.Millisecond })
			}
		})
	}
}

func renewsNothing(t *testing.T, change func(*Check)) {
	t.Helper()
	k := &kept{}
	c := whole()
	r := registry(t, k, c)
	if _, err := r.Run(t.Context(), identity.Service("x"), "1.2-3"); err != nil {
		t.Fatal(err)
	}
	before := *r.List()[0].Last
	change(&r.checks[0])
	_, err := r.Run(t.Context(), identity.Service("x"), "1.2-3")
	if !fault.Is(err, fault.Unavailable) {
		t.Errorf("%v", err)
	}
	if last := r.List()[0].Last; last == nil || last.At != before.At || last.State != Proved {
		t.Errorf("%+v", last)
	}
	if len(k.list) != 2 || !strings.Contains(k.list[1], " untried ") {
		t.Error(k.list)
	}
}

func TestACheckThatIsNotWholeIsRefused(t *testing.T) {
	for name, change := range map[string]func(*Check){
		"id": func(c *Check) { c.Control = "hello" }, "title": func(c *Check) { c.Title.Zh = "" }, "cost": func(c *Check) { c.Cost.En = "" },
		"scope": func(c *Check) { c.Scope = "all" }, "period": func(c *Check) { c.Period = 0 },
		"no positive control": func(c *Check) { c.Positive = nil }, "no probe": func(c *Check) { c.Probe = nil },
	} {
		c := whole()
		change(&c)
		if _, err := NewRegistry("n1", (&kept{}).record, time.Now, c); err == nil {
			t.Error(name)
		}
	}
	if _, err := NewRegistry("n1", (&kept{}).record, time.Now, whole(), whole()); err == nil {
		t.Error("twice")
	}
}

// What the cell has not is neither listed nor tried; other machines that were
// tried are named.
func TestACheckOfWhatIsNotThere(t *testing.T) {
	here := false
	c := whole()
	c.Here, c.Nodes = func() bool { return here }, func() []string { return []string{"n2"} }
	k := &kept{}
	r := registry(t, k, c)
	if _, err := r.Run(t.Context(), identity.Service("x"), c.Control); !fault.Is(err, fault.NotFound) || len(r.List()) != 0 || len(k.list) != 0 {
		t.Error(err, r.List(), k.list)
	}
	here = true
	if res, err := r.Run(t.Context(), identity.Service("x"), c.Control); err != nil || strings.Join(res.Nodes, " ") != "n1 n2" || len(r.List()) != 1 {
		t.Errorf("%+v %v %v", res, err, r.List())
	}
}
