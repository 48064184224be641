package trace

import (
	"fmt"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
)

var shop = resource.Ref{Kind: "ProtectedAddress", Tenant: "acme", Name: "shop"}

func live(n float64) map[resource.Ref]traffic.Live {
	return map[resource.Ref]traffic.Live{shop: {Packets: n, Passed: n / 2, Offered: map[string]float64{"syn": n}, Dropped: map[string]float64{"rate": n / 4, "rule": n / 4}}}
}

func TestTheLastSecondsAreRemembered(t *testing.T) {
	b, at := New(), time.Unix(1_000_000, 0)
	if _, ok := b.Of(shop, 10); ok {
		t.Error("something is known of nothing")
	}
	for i := range 5 {
		b.Take(at.Add(time.Duration(i)*time.Second), live(float64(100*i)))
	}
	b.Take(at.Add(7*time.Second), live(700)) // two seconds were missed
	with := shop
	with.UID = "u"
	s, ok := b.Of(with, 10)
	if got, want := fmt.Sprint(s.Packets, s.Stopped), "[0 0 0 100 200 300 400 0 0 700] [0 0 0 50 100 150 200 0 0 350]"; !ok || got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if len(s.Offered["syn"]) != 10 || s.Dropped["rate"][9] != 175 || s.Passed[9] != 350 || s.End.Unix() != 1_000_007 {
		t.Errorf("%+v", s)
	}
	// What is over is forgotten, and so is an address of which nothing is told.
	for i := range Seconds {
		b.Take(at.Add(time.Duration(10+i)*time.Second), map[resource.Ref]traffic.Live{shop: {}})
	}
	if s, ok := b.Of(shop, Seconds); !ok || len(s.Packets) != Seconds || len(s.Offered) != 0 {
		t.Errorf("%v %d %v", ok, len(s.Packets), s.Offered)
	}
	b.Take(at.Add(3*Seconds*time.Second), nil)
	if _, ok := b.Of(shop, 1); ok {
		t.Error("an address is remembered for ever")
	}
}

func TestTheMemoryIsBounded(t *testing.T) {
	b, at := New(), time.Unix(1_000_000, 0)
	all := map[resource.Ref]traffic.Live{}
	for i := range 2 * maxAddresses {
		all[resource.Ref{Kind: "ProtectedAddress", Tenant: "acme", Name: fmt.Sprint(i)}] = traffic.Live{Packets: 1}
	}
	many := traffic.Live{Packets: 1, Offered: map[string]float64{}}
	for i := range 2 * maxColumns {
		many.Offered[fmt.Sprint(i)] = 1
	}
	b.Take(at, map[resource.Ref]traffic.Live{shop: many})
	b.Take(at.Add(time.Second), all)
	if len(b.of) != maxAddresses || len(b.of[shop].by) > maxColumns {
		t.Error(len(b.of), len(b.of[shop].by))
	}
}
