package gate_test

import (
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/govern/dayzero"
)

func TestASessionThatWasClosedStaysClosed(t *testing.T) {
	c := newCell(t)
	token, other := c.signIn(dayzero.Operator, ""), c.signIn(dayzero.Operator, "")
	before := c.At()
	if err := c.CloseSession(t.Context(), operator, token); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Authenticate(token); !fault.Is(err, fault.Unauthenticated) {
		t.Fatalf("the closed session still stands: %v", err)
	}
	if _, err := c.Authenticate(other); err != nil {
		t.Fatalf("another session of the user went with it: %v", err)
	}
	for _, again := range []string{token, "", "dun_s_nothing"} {
		if err := c.CloseSession(t.Context(), operator, again); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%q: %v", again, err)
		}
	}
	if c.At() != before {
		t.Errorf("ending a session took a revision: %v, then %v", before, c.At())
	}
}
