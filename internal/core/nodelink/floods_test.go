package nodelink

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
)

func address(of resource.Ref) (traffic.Count, bool) {
	return traffic.Count{Of: of, Address: netip.MustParsePrefix("198.51.100.7/32")}, of.Tenant == "acme"
}

// TestATallyIsTold: what several readings counted is one report, which reads as it
// was counted.
func TestATallyIsTold(t *testing.T) {
	var tally Tally
	if tally.Take(0, nil) != nil {
		t.Error("a report of nothing")
	}
	shop, gone := protected("acme", "shop"), protected("gone", "shop")
	count := func(of resource.Ref, out bool, n uint64) traffic.Count {
		c := traffic.Count{Of: of, Out: out}
		c.Volume[traffic.SYN] = traffic.Volume{Packets: n, Suspect: 2 * n, Bytes: 60 * n, Dropped: n / 2}
		return c
	}
	for range 5 {
		tally.Count(traffic.Reading{Span: 100 * time.Millisecond, Counts: []traffic.Count{count(shop, false, 10), count(shop, true, 4), count(gone, false, 1)}})
	}
	for i := range 1000 {
		tally.Sample(traffic.Sample{At: 9 * time.Second, Of: shop, Vector: traffic.UDP, Length: 60, Network: 14, Data: []byte{byte(i), 1: 0, 199: 1}})
	}
	r := tally.Take(10*time.Second, map[resource.Ref]traffic.Live{shop: {Packets: 7}})
	b, err := json.Marshal(r)
	var got FloodReport
	if err != nil || json.Unmarshal(b, &got) != nil || !reflect.DeepEqual(&got, r) || got.Check() != nil {
		t.Fatal(err, got.Check(), string(b))
	}
	if r.Span != 500*time.Millisecond || len(r.Samples) != MaxFloodSamples || len(r.Samples[0].Data) != traffic.EvidenceSnap || r.Live[0].Live.Packets != 7 {
		t.Errorf("%+v", r)
	}
	x := got.Reading("node n2", 20*time.Second, address)
	if x.Span != r.Span || x.At != 20*time.Second || len(x.Counts) != 2 || x.Counts[0].Out || x.Counts[0].Volume[traffic.SYN] != (traffic.Volume{Packets: 50, Suspect: 50, Bytes: 3000, Dropped: 25}) || !x.Counts[1].Out {
		t.Errorf("%+v", x)
	}
	if s := got.Samples[0].Sample(20 * time.Second); s.At != 19*time.Second || s.Of != shop || s.Vector != traffic.UDP {
		t.Errorf("%+v", s)
	}
	if tally.Take(11*time.Second, nil) != nil {
		t.Error("it is told twice")
	}
}

// TestATallyIsBounded: nobody takes from it, and addresses are many.
func TestATallyIsBounded(t *testing.T) {
	var tally Tally
	var counts []traffic.Count
	for i := range 20 * MaxFloodCounts {
		c := traffic.Count{Of: protected("acme", fmt.Sprint("a", i))}
		c.Volume[traffic.UDP].Packets = uint64(i % 5000)
		counts = append(counts, c)
	}
	for range 300 {
		tally.Count(traffic.Reading{Span: 100 * time.Millisecond, Counts: counts[:100]})
	}
	tally.Count(traffic.Reading{Span: 100 * time.Millisecond, Counts: counts})
	r := tally.Take(0, nil)
	if r.Span > MaxFloodSpan || len(r.Counts) != MaxFloodCounts || r.Left != 19*MaxFloodCounts || r.Counts[0].Of[traffic.UDP][0] < r.Counts[MaxFloodCounts-1].Of[traffic.UDP][0] || r.Check() != nil {
		t.Errorf("%s, %d told, %d left out, %v", r.Span, len(r.Counts), r.Left, r.Check())
	}
	if b, err := json.Marshal(r); err != nil || len(b) > MaxFloodReport {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// FuzzFloods: a report or an order from the other side, whatever is in it, is
// refused or bounded.
func FuzzFloods(f *testing.F) {
	f.Add(`{"v":1,"span":500000000,"counts":[{"tenant":"acme","name":"shop","of":{"syn":[9,9,9,9]}}],"samples":[{"tenant":"acme","name":"shop","age":1,"vector":"udp","length":60,"network":2,"data":"AAAA"}]}`,
		`{"orders":[{"tenant":"acme","name":"shop","attack":"a","vectors":["syn"],"limits":{"udp":5},"fingerprints":[{"vector":"udp","length":{"from":1,"to":2},"payload":"AAAA"}],"for":60000000000}]}`)
	f.Fuzz(func(t *testing.T, report, reply string) {
		var r FloodReport
		if json.Unmarshal([]byte(report), &r) == nil && r.Check() == nil {
			x := r.Reading("n2", 0, address)
			if x.Span <= 0 || x.Span > MaxFloodSpan || len(x.Counts) > MaxFloodCounts {
				t.Fatalf("%+v", x)
			}
			for i := range r.Samples {
				if s := r.Samples[i].Sample(0); s.Network > len(s.Data) || len(s.Data) > traffic.EvidenceSnap {
					t.Fatalf("%+v", s)
				}
			}
		}
		var out FloodReply
		if json.Unmarshal([]byte(reply), &out) != nil {
			return
		}
		for i := range out.Orders {
			o := out.Orders[i].Order()
			if o.For > maxOrderFor {
				t.Fatal(o.For)
			}
			for _, p := range o.Fingerprints {
				if len(p.Payload) > 8 || p.Mask != nil && len(p.Mask) != len(p.Payload) {
					t.Fatalf("%+v", p)
				}
			}
		}
	})
}
