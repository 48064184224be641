package gate_test

import (
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
)

func TestAUserEndsHisOtherSessionsAndNobodyElses(t *testing.T) {
	c := newCell(t)
	c.must(ann)
	her := resource.Ref{Kind: "User", Tenant: "platform", Name: "ann"}
	mine, stolen, third, hers := c.signIn(dayzero.Operator, ""), c.signIn(dayzero.Operator, ""), c.signIn(dayzero.Operator, ""), c.signIn(her, "")
	list := func(token string) map[bool][]string {
		t.Helper()
		all, err := c.OwnSessions(token)
		if err != nil {
			t.Fatal(err)
		}
		out := map[bool][]string{}
		for _, s := range all {
			out[s.Current] = append(out[s.Current], s.ID)
		}
		return out
	}
	if l := list(mine); len(l[true]) != 1 || len(l[false]) != 2 {
		t.Fatalf("sessions: %v", l)
	}
	for what, id := range map[string]string{"somebody else's": list(hers)[true][0], "the one that asks": list(mine)[true][0], "none": "00"} {
		if _, err := c.EndSessions(t.Context(), operator, mine, id); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n, err := c.EndSessions(t.Context(), operator, mine, list(stolen)[true][0]); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	c.dead(t, "the session that was ended", stolen)
	if _, err := c.EndSessions(t.Context(), operator, stolen, ""); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a dead session ends others: %v", err)
	}
	if n, err := c.EndSessions(t.Context(), operator, mine, ""); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	c.dead(t, "all others", third)
	for what, token := range map[string]string{"the one that asked": mine, "hers": hers} {
		if _, err := c.Authenticate(token); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
