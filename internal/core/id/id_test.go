package id

import (
	"regexp"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRequestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ms := rapid.Int64Range(0, 1<<48-1).Draw(t, "ms")
		node := rapid.Uint16().Draw(t, "node")
		at, n, ok := ParseRequest(Request(time.UnixMilli(ms), node))
		if !ok || n != node || at.UnixMilli() != ms {
			t.Fatalf("got %v %d %v", at, n, ok)
		}
	})
}

func TestParseRequestRefusesOtherForms(t *testing.T) {
	good := Request(time.UnixMilli(1), 7)
	for _, s := range []string{"", good[:19], good + "a", "A" + good[1:], good[:19] + "b", "0" + good[1:]} {
		if _, _, ok := ParseRequest(s); ok {
			t.Errorf("%q was accepted", s)
		}
	}
}

func TestShapes(t *testing.T) {
	if s := UID(); !regexp.MustCompile(`^[a-z2-7]{26}$`).MatchString(s) {
		t.Errorf("uid %q", s)
	}
	if s := Cell(); !regexp.MustCompile(`^[a-z0-9]{8}$`).MatchString(s) {
		t.Errorf("cell %q", s)
	}
}
