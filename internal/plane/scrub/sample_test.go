package scrub

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf/ringbuf"
	"github.com/gopacket/gopacket/layers"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
)

// Both directions are sampled, and told apart; of what hosts send only what
// belongs to no established connection.
func TestSamples(t *testing.T) {
	b := newBench(t)
	p := protect(nil)
	p.RateOut[UDP] = 1
	b.publish(Options{Sample: 1}, p)
	shop := resource.Ref{Kind: "ProtectedAddress", Name: "shop"}
	r, err := ringbuf.NewReader(b.maps[filterMapSamples])
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	read := func() (out []traffic.Sample) {
		if err := r.Flush(); err != nil {
			t.Fatal(err)
		}
		for {
			rec, err := r.Read()
			if errors.Is(err, ringbuf.ErrFlushed) {
				return out
			}
			if err != nil {
				t.Fatal(err)
			}
			s, ok := decodeSample(rec.RawSample, map[uint32]resource.Ref{0: shop})
			if !ok {
				t.Fatalf("%x", rec.RawSample)
			}
			out = append(out, s)
		}
	}
	udp := func() *layers.UDP { return &layers.UDP{SrcPort: 4000, DstPort: 4001} }
	b.in(shape{src: guest4, dst: shop4, udp: udp(), payload: []byte("question")}.build(t))
	if got := read(); len(got) != 1 || got[0].Out || got[0].Vector != UDP || got[0].Dropped || got[0].Network != 14 || got[0].Length != 60 {
		t.Errorf("in: %+v", got)
	}
	frame := shape{src: shop4, dst: guest4, udp: udp(), payload: []byte("a flood from our own host")}.build(t)
	cut := 0
	for range 40 {
		b.out(frame)
	}
	all := read()
	for _, s := range all {
		if !s.Out || s.Of != shop || s.Vector != UDP || s.Length != len(frame) || string(s.Data) != string(frame) {
			t.Fatalf("out: %+v", s)
		}
		if s.Dropped {
			cut++
		}
	}
	if len(all) != 40 || cut < 20 || cut > 39 {
		t.Errorf("%d sampled, %d of them cut", len(all), cut)
	}
	b.out(shape{src: shop4, dst: guest4, tcp: ack()}.build(t))
	if got := read(); len(got) != 0 {
		t.Errorf("of a connection: %+v", got)
	}
}
