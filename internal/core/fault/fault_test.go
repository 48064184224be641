package fault

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestCodesMapToStatusAndExit(t *testing.T) {
	want := map[Code][2]int{
		Invalid: {400, 2}, Unauthenticated: {401, 3}, Forbidden: {403, 4}, NotFound: {404, 5},
		Conflict: {409, 6}, Exhausted: {429, 7}, Unavailable: {503, 8}, Internal: {500, 1},
	}
	for c, w := range want {
		if c.Status() != w[0] || c.Exit() != w[1] || !c.Known() || c.Title().En == "" || c.Title().Zh == "" {
			t.Errorf("%s: %d %d known=%v", c, c.Status(), c.Exit(), c.Known())
		}
	}
	if Code("teapot").Known() {
		t.Error("an unknown code counts as known")
	}
}

func TestOfHidesInternals(t *testing.T) {
	e := Of(fmt.Errorf("open /secret/path: %w", errors.New("boom")))
	if e.Code != Internal || strings.Contains(e.Detail.En, "secret") {
		t.Fatalf("user sees %q", e.Detail.En)
	}
	wrapped := fmt.Errorf("apply: %w", New(Conflict, "stale", "过期"))
	if Of(wrapped).Code != Conflict || !Is(wrapped, Conflict) {
		t.Fatal("the code is lost by wrapping")
	}
}
