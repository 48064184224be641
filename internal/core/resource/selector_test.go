package resource_test

import (
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
)

func TestSelectors(t *testing.T) {
	labels := map[string]string{"a": "b", "empty": "", "dun.dev/class": "test", "eq": "x=y"}
	for in, want := range map[string]bool{
		"": true, "  ": true,
		"a=b": true, "a==b": true, " a = b ": true, "a=c": false, "a=": false, "none=b": false, "none=": false, "empty=": true, "a=B": false,
		"a!=b": false, "a!=c": true, "none!=b": true, "empty!=": false, "a!=": true,
		"a": true, "none": false, "empty": true, "!a": false, "!none": true, "!empty": false,
		"a=b,empty": true, "a=b,none": false, "a=b,!none,dun.dev/class=test": true, "a,a=b,a!=c": true, "eq=x=y": true, "eq!=x=y": false,
	} {
		s, err := resource.ParseSelector(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if s.Matches(labels) != want {
			t.Errorf("%q: %v", in, !want)
		}
	}
	none, err := resource.ParseSelector("!a,b!=c")
	if err != nil || !none.Matches(nil) {
		t.Errorf("no labels: %v", err)
	}
	for _, in := range []string{",", "a,", ",a", "=b", "!=b", "!", "!!a", "a b", "a/b/c", "ä=b", "!a=b", "a in (b)", strings.Repeat("a,", 16) + "a", "a=" + strings.Repeat("x", 4096)} {
		_, err := resource.ParseSelector(in)
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%.20q: %v", in, err)
		} else if e := fault.Of(err); e.Detail.En == "" || e.Detail.Zh == e.Detail.En || strings.Contains(e.Detail.Zh, "want letters") {
			t.Errorf("%.20q: %+v", in, e.Detail)
		}
	}
	if _, err := resource.ParseSelector(strings.Repeat("a,", 15) + "a"); err != nil {
		t.Error(err)
	}
}

func TestPositions(t *testing.T) {
	for _, p := range []resource.Position{{Epoch: "e1", Revision: 0}, {Epoch: "abcdefgh", Revision: 1<<53 - 1}} {
		if got, err := resource.ParsePosition(p.String()); err != nil || got != p {
			t.Errorf("%v: %v %v", p, got, err)
		}
	}
	for _, in := range []string{"", ".", "e.", ".1", "e", "e.-1", "e.+1", "e.01", "e.1.2", "e.9007199254740992", "e.1 ", "e.0x1", strings.Repeat("e", 33) + ".1"} {
		if p, err := resource.ParsePosition(in); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q is read as %v, %v", in, p, err)
		}
	}
}
