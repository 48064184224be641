package scrub

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/dun-sec/dun/internal/core/traffic"
)

var (
	shop4  = netip.MustParseAddr("198.51.100.7")
	shop6  = netip.MustParseAddr("2001:db8:7::1")
	guest4 = netip.MustParseAddr("9.9.1.2")
	guest6 = netip.MustParseAddr("2a00:1::2")
)

// bench is a filter that is attached to nothing: packets are handed to it.
type bench struct {
	t *testing.T
	i *Installation
	*Table
}

func newBench(t *testing.T) *bench {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("loading a filter needs root: run the tests as root")
	}
	i, err := Install(InstallOptions{Slots: 16})
	if err != nil {
		t.Fatal(err)
	}
	table, err := Take(i.Hand)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	})
	return &bench{t, i, table}
}

func (b *bench) publish(opt Options, policies ...Policy) {
	b.t.Helper()
	if err := b.Publish(policies, opt); err != nil {
		b.t.Fatal(err)
	}
}

// in hands a packet to the incoming side and returns what was decided, and the
// packet as it is then.
func (b *bench) in(packet []byte) (verdict uint32, out []byte) {
	b.t.Helper()
	r := &ebpf.RunOptions{Data: packet, DataOut: make([]byte, len(packet)+256)}
	verdict, err := b.i.c.Programs[filterProgScrubIn].Run(r)
	if err != nil {
		b.t.Fatal(err)
	}
	return verdict, r.DataOut
}

// reason hands a packet in and says why it went as it did.
func (b *bench) reason(packet []byte) Reason {
	b.t.Helper()
	before, err := b.Counts(0, false)
	if err != nil {
		b.t.Fatal(err)
	}
	b.in(packet)
	after, err := b.Counts(0, false)
	if err != nil {
		b.t.Fatal(err)
	}
	for r := range Reasons {
		if after.Reason[r] != before.Reason[r] {
			return Reason(r)
		}
	}
	return Reasons
}

func (b *bench) out(packet []byte) int32 {
	b.t.Helper()
	verdict, err := b.i.c.Programs[filterProgScrubOut].Run(&ebpf.RunOptions{Data: packet})
	if err != nil {
		b.t.Fatal(err)
	}
	return int32(verdict)
}

// shape is a packet to be built.
type shape struct {
	src, dst     netip.Addr
	vlans        int
	tcp          *layers.TCP
	udp          *layers.UDP
	icmp         []byte // type and code
	payload      []byte
	extensions   int // of IPv6
	frag         uint16
	more         bool
	ttl          uint8
	proto        layers.IPProtocol
	afterNetwork func([]byte) // on the whole frame
}

func (s shape) build(t testing.TB) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}}
	stack := []gopacket.SerializableLayer{eth}
	etherType := layers.EthernetTypeIPv4
	if s.dst.Is6() {
		etherType = layers.EthernetTypeIPv6
	}
	eth.EthernetType = etherType
	for n := range s.vlans {
		if n == 0 {
			eth.EthernetType = layers.EthernetTypeDot1Q
		}
		q := &layers.Dot1Q{VLANIdentifier: uint16(100 + n), Type: etherType}
		if n+1 < s.vlans {
			q.Type = layers.EthernetTypeDot1Q
		}
		stack = append(stack, q)
	}
	proto := s.proto
	switch {
	case s.tcp != nil:
		proto = layers.IPProtocolTCP
	case s.udp != nil:
		proto = layers.IPProtocolUDP
	case s.icmp != nil && s.dst.Is4():
		proto = layers.IPProtocolICMPv4
	case s.icmp != nil:
		proto = layers.IPProtocolICMPv6
	}
	ttl := s.ttl
	if ttl == 0 {
		ttl = 57
	}
	var network gopacket.NetworkLayer
	if s.dst.Is4() {
		ip := &layers.IPv4{Version: 4, IHL: 5, TTL: ttl, Protocol: proto, SrcIP: s.src.AsSlice(), DstIP: s.dst.AsSlice(), FragOffset: s.frag}
		if s.more {
			ip.Flags = layers.IPv4MoreFragments
		}
		stack, network = append(stack, ip), ip
	} else {
		ip := &layers.IPv6{Version: 6, HopLimit: ttl, NextHeader: proto, SrcIP: s.src.AsSlice(), DstIP: s.dst.AsSlice()}
		if s.extensions > 0 {
			ip.NextHeader = layers.IPProtocolIPv6Destination
		} else if s.frag > 0 || s.more {
			ip.NextHeader = layers.IPProtocolIPv6Fragment
		}
		stack, network = append(stack, ip), ip
		for n := range s.extensions {
			next := layers.IPProtocolIPv6Destination
			if n+1 == s.extensions {
				next = proto
			}
			stack = append(stack, gopacket.Payload([]byte{byte(next), 0, 1, 4, 0, 0, 0, 0}))
		}
		if s.frag > 0 || s.more {
			off := s.frag << 3
			if s.more {
				off |= 1
			}
			h := []byte{byte(proto), 0, 0, 0, 0, 0, 0, 9}
			binary.BigEndian.PutUint16(h[2:], off)
			stack = append(stack, gopacket.Payload(h))
		}
	}
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if s.frag == 0 {
		switch {
		case s.tcp != nil:
			check(s.tcp.SetNetworkLayerForChecksum(network))
			stack = append(stack, s.tcp)
		case s.udp != nil:
			check(s.udp.SetNetworkLayerForChecksum(network))
			stack = append(stack, s.udp)
		case s.icmp != nil:
			stack = append(stack, gopacket.Payload(append(append([]byte{}, s.icmp...), 0, 0, 0, 0, 0, 0)))
		}
	}
	stack = append(stack, gopacket.Payload(s.payload))
	buf := gopacket.NewSerializeBuffer()
	check(gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...))
	frame := buf.Bytes()
	if s.afterNetwork != nil {
		s.afterNetwork(frame)
	}
	for len(frame) < 60 { // as a wire pads them
		frame = append(frame, 0)
	}
	return frame
}

// both runs f for IPv4 and IPv6.
func both(t *testing.T, f func(t *testing.T, src, dst netip.Addr)) {
	t.Run("4", func(t *testing.T) { f(t, guest4, shop4) })
	t.Run("6", func(t *testing.T) { f(t, guest6, shop6) })
}

func protect(change func(p *Policy)) Policy {
	p := Policy{Prefixes: []netip.Prefix{netip.PrefixFrom(shop4, 32), netip.PrefixFrom(shop6, 128)}}
	if change != nil {
		change(&p)
	}
	return p
}

func syn() *layers.TCP {
	return &layers.TCP{SrcPort: 40001, DstPort: 443, Seq: 7, SYN: true, Window: 64240, Options: []layers.TCPOption{
		{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 0xb4}},
		{OptionType: layers.TCPOptionKindSACKPermitted, OptionLength: 2},
		{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: []byte{1, 2, 3, 4, 0, 0, 0, 0}},
		{OptionType: layers.TCPOptionKindNop, OptionLength: 1},
		{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{9}},
	}}
}

func ack() *layers.TCP {
	return &layers.TCP{SrcPort: 40001, DstPort: 443, Seq: 8, Ack: 9, ACK: true, Window: 500}
}

func TestNothingIsTouchedBeforeAPolicy(t *testing.T) {
	b := newBench(t)
	frame := shape{src: guest4, dst: shop4, tcp: syn()}.build(t)
	if v, out := b.in(frame); v != xdpPass || string(out) != string(frame) {
		t.Error("an empty filter decides", v)
	}
	b.publish(Options{}, protect(func(p *Policy) { p.Action[SYN] = Drop }))
	other := shape{src: guest4, dst: netip.MustParseAddr("198.51.100.8"), tcp: syn()}.build(t)
	if v, _ := b.in(other); v != xdpPass {
		t.Error("a neighbour's packet is touched")
	}
	if v, _ := b.in(frame); v != xdpDrop {
		t.Error("the policy is not in force")
	}
	total, err := b.Total()
	if err != nil || total.Seen != 2 || total.Untouched != 1 {
		t.Error(total, err)
	}
}

// TestVectors: each kind of packet is counted as what it is, in both families,
// behind VLAN tags and extension headers.
func TestVectors(t *testing.T) {
	dns := []byte{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 1, 0, 1}
	both(t, func(t *testing.T, src, dst netip.Addr) {
		b := newBench(t)
		b.publish(Options{}, protect(nil))
		echo, tooBig := []byte{8, 0}, []byte{3, 4}
		if dst.Is6() {
			echo, tooBig = []byte{128, 0}, []byte{2, 0}
		}
		for name, x := range map[string]struct {
			shape
			want Vector
		}{
			"syn":       {shape{tcp: syn()}, SYN},
			"ack":       {shape{tcp: ack()}, ACK},
			"fin":       {shape{tcp: &layers.TCP{FIN: true, ACK: true}}, ACK},
			"rst":       {shape{tcp: &layers.TCP{RST: true}}, RST},
			"synack":    {shape{tcp: &layers.TCP{SYN: true, ACK: true}}, SYNACK},
			"udp":       {shape{udp: &layers.UDP{SrcPort: 5000, DstPort: 7000}}, UDP},
			"dns":       {shape{udp: &layers.UDP{SrcPort: 5000, DstPort: 53}, payload: dns}, DNS},
			"ntp":       {shape{udp: &layers.UDP{SrcPort: 123, DstPort: 7000}, payload: make([]byte, 440)}, Amp},
			"memcached": {shape{udp: &layers.UDP{SrcPort: 11211, DstPort: 7000}}, Amp},
			"echo":      {shape{icmp: echo}, ICMP},
			"path mtu":  {shape{icmp: tooBig}, Control},
			"gre":       {shape{proto: layers.IPProtocolGRE, payload: make([]byte, 40)}, Other},
			"first":     {shape{udp: &layers.UDP{SrcPort: 1, DstPort: 2}, payload: make([]byte, 64), more: true}, Frag},
			"later":     {shape{udp: &layers.UDP{}, payload: make([]byte, 64), frag: 64}, Frag},
		} {
			for vlans := range 3 {
				s := x.shape
				s.src, s.dst, s.vlans = src, dst, vlans
				if dst.Is6() && vlans == 1 && !s.more && s.frag == 0 {
					s.extensions = 3
				}
				before, _ := b.Counts(0, false)
				if v, _ := b.in(s.build(t)); v != xdpPass {
					t.Errorf("%s with %d tags: verdict %d", name, vlans, v)
				}
				after, _ := b.Counts(0, false)
				for v := range Vectors {
					got := after.Packets[v] - before.Packets[v]
					if (got == 1) != (Vector(v) == x.want) {
						t.Errorf("%s with %d tags: %d of %s", name, vlans, got, Vector(v))
					}
				}
			}
		}
	})
}

// TestTheSamePorts: the program in the kernel and traffic.Amplifies do not speak
// of different things by one name.
func TestTheSamePorts(t *testing.T) {
	b := newBench(t)
	b.publish(Options{}, protect(nil))
	frame := shape{src: guest4, dst: shop4, udp: &layers.UDP{SrcPort: 1, DstPort: 4000}}.build(t)
	amplified := func(want bool) (sent int, counted uint64) {
		for port := range 1 << 16 {
			if traffic.Amplifies(uint16(port)) == want {
				binary.BigEndian.PutUint16(frame[34:], uint16(port))
				b.in(frame)
				sent++
			}
		}
		c, err := b.Counts(0, false)
		if err != nil {
			t.Fatal(err)
		}
		return sent, c.Packets[Amp]
	}
	n, counted := amplified(true)
	if n < 20 || counted != uint64(n) {
		t.Errorf("of %d ports that amplify the filter knows %d", n, counted)
	}
	if _, more := amplified(false); more != counted {
		t.Errorf("%d other ports amplify in the filter", more-counted)
	}
}

// TestTruncated: a frame cut at any length is never passed as something that it
// is not, and never stops the program.
func TestTruncated(t *testing.T) {
	both(t, func(t *testing.T, src, dst netip.Addr) {
		b := newBench(t)
		b.publish(Options{Proxy: true}, protect(func(p *Policy) {
			for v := range p.Action {
				p.Action[v] = Challenge
			}
		}))
		for _, s := range []shape{
			{tcp: syn()}, {tcp: ack()}, {tcp: syn(), vlans: 2}, {udp: &layers.UDP{SrcPort: 9, DstPort: 53}, payload: make([]byte, 30)}, {icmp: []byte{8, 0}},
		} {
			s.src, s.dst = src, dst
			frame := s.build(t)
			whole := 14 + 4*s.vlans + 40
			if s.icmp != nil && dst.Is4() {
				whole = 14 + 20 + 8 // a ping may carry nothing
			}
			for n := 14; n < len(frame); n++ {
				v, _ := b.in(frame[:n])
				if v == xdpTX && n < whole {
					t.Errorf("%d bytes of %+v are answered", n, s)
				}
			}
		}
	})
}

// TestHostile: what no honest stack sends is dropped, by its reason.
func TestHostile(t *testing.T) {
	both(t, func(t *testing.T, src, dst netip.Addr) {
		b := newBench(t)
		b.publish(Options{}, protect(func(p *Policy) { p.Bogons = true }))
		private, loop := netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("127.0.0.1")
		if dst.Is6() {
			private, loop = netip.MustParseAddr("fd00::1"), netip.MustParseAddr("::1")
		}
		l3, l4 := 14, 34
		if dst.Is6() {
			l4 = 54
		}
		for name, x := range map[string]struct {
			shape
			want Reason
		}{
			"null":         {shape{tcp: &layers.TCP{}}, Flags},
			"xmas":         {shape{tcp: &layers.TCP{FIN: true, PSH: true, URG: true}}, Flags},
			"syn fin":      {shape{tcp: &layers.TCP{SYN: true, FIN: true}}, Flags},
			"syn rst":      {shape{tcp: &layers.TCP{SYN: true, RST: true}}, Flags},
			"fin alone":    {shape{tcp: &layers.TCP{FIN: true}}, Flags},
			"land":         {shape{src: dst, tcp: syn()}, Land},
			"loopback":     {shape{src: loop, tcp: syn()}, Bogon},
			"private":      {shape{src: private, tcp: syn()}, Bogon},
			"length":       {shape{tcp: syn(), afterNetwork: func(f []byte) { f[l3+2], f[l3+4] = 0xff, 0xff }}, Malformed},
			"udp length":   {shape{udp: &layers.UDP{SrcPort: 1, DstPort: 2}, afterNetwork: func(f []byte) { f[l4+4] = 0xff }}, Malformed},
			"tcp offset":   {shape{tcp: ack(), afterNetwork: func(f []byte) { f[l4+12] = 0x40 }}, Malformed},
			"tcp too long": {shape{tcp: ack(), afterNetwork: func(f []byte) { f[l4+12] = 0xf0 }}, Malformed},
		} {
			s := x.shape
			s.dst = dst
			if !s.src.IsValid() {
				s.src = src
			}
			if got := b.reason(s.build(t)); got != x.want {
				t.Errorf("%s: %s, want %s", name, got, x.want)
			}
		}
		if dst.Is6() {
			s := shape{src: src, dst: dst, tcp: syn(), extensions: 7}
			if got := b.reason(s.build(t)); got != Malformed {
				t.Errorf("seven extension headers: %s", got)
			}
		}
	})
}

func TestDenied(t *testing.T) {
	both(t, func(t *testing.T, src, dst netip.Addr) {
		b := newBench(t)
		b.publish(Options{}, protect(func(p *Policy) { p.Scope = 4 }))
		frame := shape{src: src, dst: dst, tcp: syn()}.build(t)
		whole := netip.PrefixFrom(src, src.BitLen())
		set := func(list ...Denial) {
			if err := b.SetDenied(list); err != nil {
				t.Fatal(err)
			}
		}
		later := Monotonic() + time.Hour
		set(Denial{Scope: 4, Source: whole, Until: later})
		if got := b.reason(frame); got != Denied || b.Used(Denial{Scope: 4, Source: whole}) != 1 {
			t.Error(got)
		}
		set(Denial{Scope: 5, Source: whole, Until: later})
		if got := b.reason(frame); got != Passed {
			t.Error("another tenant's verdict:", got)
		}
		set(Denial{Source: whole, Until: later})
		if got := b.reason(frame); got != Denied {
			t.Error("the platform's verdict:", got)
		}
		set(Denial{Source: whole, Until: Monotonic() - time.Second})
		if got := b.reason(frame); got != Passed {
			t.Error("an ended verdict:", got)
		}
		if src.Is6() {
			set(Denial{Source: netip.PrefixFrom(src, 64).Masked(), Until: later})
			if got := b.reason(frame); got != Denied {
				t.Error("the /64:", got)
			}
		}
		if err := b.Allow(map[uint32][]netip.Prefix{4: {netip.PrefixFrom(src, 16)}}); err != nil {
			t.Fatal(err)
		}
		if got := b.reason(frame); got != Allowed {
			t.Error("the allow list comes first:", got)
		}
		if err := b.Allow(nil); err != nil {
			t.Fatal(err)
		}
		set()
		if got := b.reason(frame); got != Passed {
			t.Error(got)
		}
	})
}

// TestRate: so many pass at once as a tenth of a second has, then none.
func TestRate(t *testing.T) {
	both(t, func(t *testing.T, src, dst netip.Addr) {
		b := newBench(t)
		b.publish(Options{}, protect(func(p *Policy) {
			p.Action[UDP], p.Rate[UDP] = Limit, 10
			p.Action[ICMP], p.RatePerAddress[ICMP] = Limit, 10
		}))
		for _, s := range []shape{{udp: &layers.UDP{SrcPort: 5, DstPort: 6}}, {icmp: []byte{map[bool]byte{true: 8, false: 128}[dst.Is4()], 0}}} {
			s.src, s.dst = src, dst
			passed := 0
			for range 100 {
				if v, _ := b.in(s.build(t)); v == xdpPass {
					passed++
				}
			}
			if passed < 8 || passed > 20 {
				t.Errorf("%d of 100 passed", passed)
			}
		}
	})
}

func TestRules(t *testing.T) {
	b := newBench(t)
	later := Monotonic() + time.Hour
	b.publish(Options{}, protect(func(p *Policy) {
		p.Rules = []Rule{
			{Until: later, Fingerprint: traffic.Fingerprint{Vector: UDP, Length: &traffic.Range[uint16]{From: 40, To: 44}, Payload: []byte{1, 2}, Mask: []byte{0xff, 0x0f}}},
			{Until: 1, Fingerprint: traffic.Fingerprint{Vector: UDP, DPort: &traffic.Range[uint16]{To: 65535}}},
			{Until: later, Fingerprint: traffic.Fingerprint{Vector: SYN, Source: netip.MustParsePrefix("9.0.0.0/8"), TTL: &traffic.Range[uint8]{From: 50, To: 60}}},
		}
	}))
	for _, x := range []struct {
		name string
		shape
		want Reason
	}{
		{"as the rule says", shape{udp: &layers.UDP{SrcPort: 5, DstPort: 6}, payload: []byte{1, 0x52, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}, ByRule},
		{"another length", shape{udp: &layers.UDP{SrcPort: 5, DstPort: 6}, payload: make([]byte, 30)}, Passed},
		{"another payload", shape{udp: &layers.UDP{SrcPort: 5, DstPort: 6}, payload: []byte{1, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}, Passed},
		{"source and TTL", shape{tcp: syn()}, ByRule},
		{"another TTL", shape{tcp: syn(), ttl: 61}, Passed},
		{"another source", shape{tcp: syn(), src: netip.MustParseAddr("8.8.8.8")}, Passed},
	} {
		s := x.shape
		s.dst = shop4
		if !s.src.IsValid() {
			s.src = guest4
		}
		if got := b.reason(s.build(t)); got != x.want {
			t.Errorf("%s: %s, want %s", x.name, got, x.want)
		}
	}
	hits, err := b.RuleHits(0)
	if err != nil || hits[0] != 1 || hits[2] != 1 {
		t.Error(hits, err)
	}
}

func TestServices(t *testing.T) {
	b := newBench(t)
	b.publish(Options{}, protect(func(p *Policy) {
		p.Strict = true
		p.Services = []Service{{Proto: 6, Lo: 80, Hi: 443}, {Proto: 17, Lo: 4433, Hi: 4433, Form: QUICForm}}
	}))
	initial := append([]byte{0xc3, 0, 0, 0, 1, 8}, make([]byte, 1200)...)
	for name, x := range map[string]struct {
		shape
		want Reason
	}{
		"offered":     {shape{tcp: syn()}, Passed},
		"not offered": {shape{tcp: &layers.TCP{SYN: true, SrcPort: 1, DstPort: 22}}, NoService},
		"udp":         {shape{udp: &layers.UDP{SrcPort: 1, DstPort: 443}}, NoService},
		"quic":        {shape{udp: &layers.UDP{SrcPort: 1, DstPort: 4433}, payload: initial}, Passed},
		"no quic":     {shape{udp: &layers.UDP{SrcPort: 1, DstPort: 4433}, payload: initial[:600]}, NoService},
		"random":      {shape{udp: &layers.UDP{SrcPort: 1, DstPort: 4433}, payload: make([]byte, 64)}, NoService},
	} {
		s := x.shape
		s.src, s.dst = guest4, shop4
		if got := b.reason(s.build(t)); got != x.want {
			t.Errorf("%s: %s, want %s", name, got, x.want)
		}
	}
}

// TestHandshakeUnderWay: what our host has answered may be finished when SYNs
// begin to be challenged, by who knows the answer's sequence number and by
// nobody else.
func TestHandshakeUnderWay(t *testing.T) {
	both(t, func(t *testing.T, src, dst netip.Addr) {
		b := newBench(t)
		b.publish(Options{}, protect(nil))
		if got := b.reason(shape{src: src, dst: dst, tcp: syn()}.build(t)); got != Passed {
			t.Fatal(got)
		}
		b.out(shape{src: dst, dst: src, tcp: &layers.TCP{SrcPort: 443, DstPort: 40001, Seq: 0xfffffffe, Ack: 8, SYN: true, ACK: true, Window: 500}}.build(t))
		b.publish(Options{Proxy: true}, protect(func(p *Policy) { p.arm(SYN, 0) }))
		for name, x := range map[string]struct {
			change func(*layers.TCP)
			want   Reason
		}{
			"its end":               {func(*layers.TCP) {}, Learning},
			"its first data":        {func(h *layers.TCP) { h.PSH = true }, Learning},
			"another number":        {func(h *layers.TCP) { h.Ack++ }, NoState},
			"another port":          {func(h *layers.TCP) { h.SrcPort++ }, NoState},
			"another service":       {func(h *layers.TCP) { h.DstPort++ }, NoState},
			"no answer to anything": {func(h *layers.TCP) { h.ACK, h.RST = false, true }, NoState},
		} {
			h := ack()
			h.Ack = 0xffffffff
			x.change(h)
			if got := b.reason(shape{src: src, dst: dst, tcp: h}.build(t)); got != x.want {
				t.Errorf("%s: %s, want %s", name, got, x.want)
			}
		}
	})
}

// TestMonitor: everything is decided, nothing is done.
func TestMonitor(t *testing.T) {
	b := newBench(t)
	b.publish(Options{Proxy: true}, protect(func(p *Policy) {
		p.Monitor = true
		p.Action[SYN], p.Action[UDP] = Challenge, Drop
	}))
	for want, s := range map[Reason]shape{NoState: {tcp: syn()}, ByPolicy: {udp: &layers.UDP{SrcPort: 5, DstPort: 6}}} {
		s.src, s.dst = guest4, shop4
		frame := s.build(t)
		before, _ := b.Counts(0, false)
		v, out := b.in(frame)
		after, _ := b.Counts(0, false)
		if v != xdpPass || string(out) != string(frame) || after.Reason[want] != before.Reason[want]+1 {
			t.Errorf("%s: verdict %d", want, v)
		}
	}
}
