package scrub

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"
)

// ping is a question or an answer of one, with its checksum.
func ping(kind byte, src, dst netip.Addr, vlans int) shape {
	l4 := 34 + 4*vlans
	if dst.Is6() {
		l4 += 20
	}
	s := shape{src: src, dst: dst, vlans: vlans, icmp: []byte{kind, 0}, payload: make([]byte, 41)}
	s.afterNetwork = func(f []byte) {
		f[l4+4], f[l4+5], f[l4+7], f[l4+8] = 0x12, 0x34, 1, 0xfe
		binary.BigEndian.PutUint16(f[l4+2:], ^ones(f[l4:l4+8+41], src, dst))
	}
	return s
}

// ones is the sum of RFC 1071 of an ICMP message, with the pseudo header of IPv6.
func ones(b []byte, src, dst netip.Addr) uint16 {
	sum := uint32(0)
	add := func(b []byte) {
		for ; len(b) > 1; b = b[2:] {
			sum += uint32(binary.BigEndian.Uint16(b))
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	add(b)
	if dst.Is6() {
		add(src.AsSlice())
		add(dst.AsSlice())
		sum += uint32(len(b)) + 58
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// TestPingsAreAnswered: while ICMP is challenged the host sees none of a flood, and
// pings are answered all the same, by a packet that is right in every sum.
func TestPingsAreAnswered(t *testing.T) {
	both(t, func(t *testing.T, src, dst netip.Addr) {
		b := newBench(t)
		b.publish(Options{}, protect(func(p *Policy) { p.Action[ICMP], p.RatePerAddress[ICMP] = Challenge, 1000 }))
		question, answer := byte(8), byte(0)
		if dst.Is6() {
			question, answer = 128, 129
		}
		for vlans := range 3 {
			f := ping(question, src, dst, vlans).build(t)
			v, out := b.in(f)
			l3 := 14 + 4*vlans
			l4 := l3 + 20
			if dst.Is6() {
				l4 = l3 + 40
			}
			if v != xdpTX || len(out) != len(f) || out[l4] != answer || ones(out[l4:l4+8+41], dst, src) != 0xffff || string(out[l4+4:]) != string(f[l4+4:]) || string(out[:6]) != string(f[6:12]) {
				t.Fatalf("verdict %d, % x", v, out)
			}
			if dst.Is4() {
				head := out[l3 : l3+20]
				if string(head[12:16]) != string(dst.AsSlice()) || string(head[16:20]) != string(src.AsSlice()) || head[8] != 64 || ones(head, src, src) != 0xffff {
					t.Errorf("IP header: % x", head)
				}
			} else if string(out[l3+8:l3+24]) != string(dst.AsSlice()) || string(out[l3+24:l3+40]) != string(src.AsSlice()) || out[l3+7] != 64 {
				t.Errorf("IP header: % x", out[l3:l4])
			}
		}
		// A frame of no payload, as it comes over a link that pads nothing.
		short := ping(question, src, dst, 0)
		short.payload = nil
		l4 := 34
		if dst.Is6() {
			l4 = 54
		}
		short.afterNetwork = nil
		f := short.build(t)[:l4+8]
		if v, out := b.in(f); v != xdpTX || out[l4] != answer {
			t.Errorf("without payload: verdict %d, % x", v, out)
		}
		if b.reason(ping(question, src, dst, 0).build(t)) != Echoed {
			t.Error("it is counted as something else")
		}
		// An answer that nobody asked for, and one to our own question.
		if r := b.reason(ping(answer, src, dst, 0).build(t)); r != NoState {
			t.Error("an answer to nothing:", r)
		}
		b.out(ping(question, dst, src, 0).build(t))
		if r := b.reason(ping(answer, src, dst, 0).build(t)); r != Proven {
			t.Error("an answer to our own question:", r)
		}
		// What is above the rate is not answered.
		over := 0
		for range 5000 {
			if r := b.reason(ping(question, src, dst, 0).build(t)); r == Rate || r == RatePerAddress {
				over++
			}
		}
		if over < 2000 {
			t.Errorf("%d of 5000 were too many", over)
		}
		c, err := b.Counts(0, false)
		if err != nil || c.Passed[ICMP] != c.Reason[Proven] {
			t.Errorf("%d of ICMP passed, %d proven, %v", c.Passed[ICMP], c.Reason[Proven], err)
		}
	})
}

// TestNewsOfKnownFlowsPasses: an error passes while ICMP is challenged if it quotes
// a packet of a connection that is there.
func TestNewsOfKnownFlowsPasses(t *testing.T) {
	both(t, func(t *testing.T, src, dst netip.Addr) {
		b := newBench(t)
		b.publish(Options{}, protect(func(p *Policy) { p.Action[ICMP] = Challenge }))
		said := func(port uint16) []byte { // by our host
			return shape{src: dst, dst: src, tcp: &layers.TCP{SrcPort: 443, DstPort: layers.TCPPort(port), ACK: true, Ack: 1, Window: 9}}.build(t)
		}
		b.out(said(4000))
		kind := []byte{11, 0}
		if dst.Is6() {
			kind = []byte{3, 0}
		}
		news := func(quoted []byte) Reason {
			return b.reason(shape{src: src, dst: dst, icmp: kind, payload: quoted}.build(t))
		}
		if r := news(said(4000)[14:]); r != Proven {
			t.Error("of a connection:", r)
		}
		for what, quoted := range map[string][]byte{
			"of another port": said(4001)[14:], "nothing": nil, "cut short": said(4000)[14:34],
			"of another host": shape{src: src, dst: dst, tcp: &layers.TCP{SrcPort: 443, DstPort: 4000, ACK: true}}.build(t)[14:],
		} {
			if r := news(quoted); r != NoState {
				t.Errorf("%s: %s", what, r)
			}
		}
	})
}
