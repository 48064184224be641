package scrub

import (
	"net/netip"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/dun-sec/dun/internal/plane/scrub/flood"
)

// FuzzFilter hands the filter frames that are cut, mutated and made up, of every
// vector and family, with up to three VLAN tags. Another decoder says what a
// frame is: a TCP segment never reaches a host that is under attack without a
// proof, each frame is counted once, and an answer goes to whoever asked and is
// hardly longer than the question.
func FuzzFilter(f *testing.F) {
	if os.Getuid() != 0 {
		f.Fatal("loading a filter needs root: run the tests as root")
	}
	for _, dst := range []netip.Addr{twin4, twin6} {
		for _, vector := range flood.Vectors {
			p, err := flood.For(vector, flood.Target{Addr: dst, Port: 443, From: twinMAC, To: twinMAC})
			if err != nil {
				f.Fatal(err)
			}
			for tags := range 4 {
				frame := tagged(p.Frame, tags)
				f.Add(frame)
				for _, cut := range []int{15, 33, 34, 41, 53, 54, 62} {
					if cut < len(frame) {
						f.Add(frame[:cut])
					}
				}
			}
		}
	}
	w, err := NewTwin()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := w.Close(); err != nil {
			f.Error(err)
		}
	})
	if err := w.t.Publish([]Policy{armed()}, Options{Proxy: true}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < 14 || len(frame) > 2000 {
			return // the kernel hands over no such frame
		}
		before := judged(t, w)
		r := &ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256)}
		verdict, err := w.i.c.Programs[filterProgScrubIn].Run(r)
		if err != nil {
			t.Fatal(err)
		}
		if n := judged(t, w) - before; n != 1 {
			t.Fatalf("it is counted %d times", n)
		}
		src, dst, segment := read(frame)
		switch verdict {
		case xdpDrop:
		case xdpPass:
			if segment && (dst == twin4 || dst == twin6) {
				t.Fatalf("a segment from %s passes without a proof", src)
			}
		case xdpTX:
			back, to, _ := read(r.DataOut)
			if back != dst || to != src || !src.IsValid() {
				t.Fatalf("%s asked %s, and %s answers %s", src, dst, back, to)
			}
			if len(r.DataOut) > len(frame)+20 {
				t.Fatalf("%d bytes answer %d", len(r.DataOut), len(frame))
			}
		default:
			t.Fatalf("the verdict is %d", verdict)
		}
	})
}

// tagged puts VLAN tags before what the frame holds.
func tagged(frame []byte, n int) []byte {
	out := append([]byte(nil), frame[:12]...)
	for range n {
		out = append(out, 0x81, 0x00, 0x00, 0x07)
	}
	return append(out, frame[12:]...)
}

// judged is how many frames the filter let through untouched, or judged.
func judged(t *testing.T, w *Twin) (n uint64) {
	t.Helper()
	total, err := w.t.Total()
	if err != nil {
		t.Fatal(err)
	}
	c, err := w.t.Counts(0, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range c.Packets {
		n += x
	}
	return n + total.Untouched
}

// read says who sends to whom by another decoder, and whether what comes is a
// whole segment of TCP.
func read(frame []byte) (src, dst netip.Addr, segment bool) {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true, Lazy: false})
	tags, typ := 0, layers.EthernetTypeLLC
	for _, l := range p.Layers() {
		switch x := l.(type) {
		case *layers.Ethernet:
			typ = x.EthernetType
		case *layers.Dot1Q:
			typ = x.Type
			if tags++; tags > 2 {
				return src, dst, false // a third tag is nobody's: such a frame is not IP
			}
		case *layers.IPv4:
			if typ != layers.EthernetTypeIPv4 { // the decoder takes 0xffff for it, no host does
				return src, dst, false
			}
			if src.IsValid() {
				return src, dst, segment // a packet in a packet
			}
			src, _ = netip.AddrFromSlice(x.SrcIP)
			dst, _ = netip.AddrFromSlice(x.DstIP)
		case *layers.IPv6:
			if src.IsValid() {
				return src, dst, segment
			}
			src, _ = netip.AddrFromSlice(x.SrcIP)
			dst, _ = netip.AddrFromSlice(x.DstIP)
		case *layers.TCP:
			return src, dst, src.IsValid() && p.ErrorLayer() == nil
		}
	}
	return src, dst, segment
}
