package signup

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/db"
	"github.com/dun-sec/dun/internal/core/fault"
)

func open(t *testing.T) (*Store, *time.Time) {
	t.Helper()
	d, err := db.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "meta.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	now := time.Now()
	s, err := Open(t.Context(), d, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	return s, &now
}

func TestStrangersFillNoMoreThanTheirPlace(t *testing.T) {
	s, now := open(t)
	asked := 0
	for i := range 200 {
		_, err := s.Ask(t.Context(), Wish{Tenant: "acme", Name: "ann", Source: fmt.Sprintf("192.0.2.%d", i)})
		if err == nil {
			asked++
		} else if !fault.Is(err, fault.Exhausted) {
			t.Fatal(err)
		}
	}
	if asked != MaxNetwork {
		t.Errorf("%d from one network", asked)
	}
	for i := range 200 {
		if _, err := s.Ask(t.Context(), Wish{Tenant: "acme", Name: "ann", Source: fmt.Sprintf("2001:db8:%x::1", i)}); err == nil {
			asked++
		}
	}
	if list, err := s.Pending(t.Context()); err != nil || len(list) != MaxPending || asked != MaxPending {
		t.Errorf("%d wait, %d asked: %v", len(list), asked, err)
	}
	*now = now.Add(Life + time.Second)
	if list, err := s.Pending(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("after a week %d wait: %v", len(list), err)
	}
	if _, err := s.Ask(t.Context(), Wish{Tenant: "acme", Name: "ann", Source: "192.0.2.1"}); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	for _, w := range []Wish{{Tenant: "Acme", Name: "ann"}, {Tenant: "acme"}, {Tenant: "acme", Name: "a/b"}, {Tenant: "\u0430cme", Name: "ann"}, {Tenant: "acme", Name: "ann", Note: strings.Repeat("x", MaxNote+1)}, {Tenant: "acme", Name: "ann", Note: "a\nb"}, {Tenant: "acme", Name: "ann", Note: "\u202e"}} {
		if _, err := s.Ask(t.Context(), w); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", w, err)
		}
	}
}

func TestALinkLetsInOnceAndOnlyWhomSomebodyMade(t *testing.T) {
	s, now := open(t)
	token, err := s.Ask(t.Context(), Wish{Tenant: "acme", Name: "ann", Source: "192.0.2.1"})
	if err != nil {
		t.Fatal(err)
	}
	made := false
	enter := func(token string) error {
		_, err := s.Enter(t.Context(), token, func(p Pending) bool { return made && p.Tenant == "acme" })
		return err
	}
	for what, x := range map[string]string{"before it is approved": token, "a wrong one": token + "a", "none": ""} {
		if err := enter(x); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: %v", what, err)
		}
	}
	made = true
	var all sync.WaitGroup
	in := make(chan error, 8)
	for range cap(in) {
		all.Go(func() { in <- enter(token) })
	}
	all.Wait()
	close(in)
	n := 0
	for err := range in {
		if err == nil {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d entered by one link", n)
	}
	late, err := s.Ask(t.Context(), Wish{Tenant: "acme", Name: "ann", Source: "192.0.2.1"})
	if err != nil {
		t.Fatal(err)
	}
	*now = now.Add(Life + time.Second)
	if err := enter(late); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("after a week: %v", err)
	}
}
