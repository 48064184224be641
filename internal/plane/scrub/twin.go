package scrub

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/plane/scrub/flood"
)

// Twin is a second filter, the same programs with maps of their own, attached
// to nothing: packets are handed to it one by one, so that a check can attack it
// at any time and touch nobody.
type Twin struct {
	i    *Installation
	t    *Table
	heir *ebpf.Collection // the same programs again, over the same maps
}

// What the programs answer (include/uapi/linux/bpf.h).
const (
	xdpDrop, xdpPass, xdpTX = 1, 2, 3
	tcxDrop                 = 2
)

// Trial is one thing that was tried, in one family of addresses.
type Trial struct {
	Node   string `json:"-"`    // that tried; "" = this machine
	What   string `json:"what"` // a vector, or what an honest sender does
	Family int    `json:"family"`
	Sent   int    `json:"sent"`
	Passed int    `json:"passed"` // to the host
	Answer int    `json:"answer"` // sent back by the filter
	Twin   int    `json:"twin"`   // passed where nothing is protected: the probe would see it
}

const (
	trialPackets = 300
	trialUsual   = 10 // a second, of what is limited
)

var twin4, twin6 = netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8:7::1")

// NewTwin loads one; small, since it keeps nobody's flows.
func NewTwin() (*Twin, error) {
	spec, err := loadFilter()
	if err != nil {
		return nil, err
	}
	size(spec, 4, 1)
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("processors: %w", err)
	}
	spec.Maps[filterMapSketch].MaxEntries = uint32(cpus)
	for _, name := range []string{filterMapProven, filterMapAsked, filterMapKnown, filterMapDeny} {
		spec.Maps[name].MaxEntries = 1024
	}
	spec.Maps[filterMapSamples].MaxEntries = 4096
	c, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("load the filter's twin: %w", err)
	}
	w := &Twin{i: &Installation{c: c, attached: map[string]*attachment{}}}
	if w.t, err = Take(w.i.Hand); err != nil {
		return nil, errors.Join(err, w.i.Close())
	}
	if err := w.inherit(); err != nil {
		return nil, errors.Join(err, w.t.Close(), w.i.Close())
	}
	return w, nil
}

// Close gives back what it holds.
func (w *Twin) Close() error {
	w.heir.Close()
	return errors.Join(w.t.Close(), w.i.Close())
}

// armed is what Dun does by itself during attacks of every vector.
func armed() Policy {
	p := Policy{Prefixes: []netip.Prefix{netip.PrefixFrom(twin4, 32), netip.PrefixFrom(twin6, 128)}}
	for _, v := range traffic.All() {
		p.arm(v, 0)
		if !v.TCP() && v != DNS {
			p.RatePerAddress[v] = trialUsual
		}
		p.RateOut[v] = trialUsual
	}
	p.RateOut[ACK] = 0
	return p
}

// tried is what Try tries, in each family.
var tried = append([]string{"connect", "path-mtu", "out"}, flood.Vectors...)

// Try attacks the twin with every vector, and visits it as honest senders do.
// change breaks the policy on purpose; nil = as it is.
func (w *Twin) Try(change func(*Policy)) ([]Trial, error) {
	policy := armed()
	if change != nil {
		change(&policy)
	}
	open := Policy{Prefixes: policy.Prefixes}
	var out []Trial
	for _, dst := range []netip.Addr{twin4, twin6} {
		for _, what := range tried {
			t := Trial{What: what, Family: 4}
			if dst.Is6() {
				t.Family = 6
			}
			var before Trial
			for n, p := range []Policy{open, policy} {
				if err := w.t.Publish([]Policy{p}, Options{Proxy: true}); err != nil {
					return nil, err
				}
				if err := w.try(what, dst, &t); err != nil {
					return nil, err
				}
				if n == 0 {
					before, t = t, Trial{What: what, Family: t.Family}
				}
			}
			t.Twin = before.Passed
			out = append(out, t)
		}
	}
	return out, nil
}

func (w *Twin) try(what string, dst netip.Addr, t *Trial) error {
	switch what {
	case "connect":
		return w.connect(dst, t)
	case "path-mtu":
		return w.pathMTU(dst, t)
	case "out":
		return w.outgoing(dst, t)
	}
	frame, err := flood.For(what, flood.Target{Addr: dst, Port: 443, From: twinMAC, To: twinMAC})
	if err != nil {
		return err
	}
	for n := range trialPackets {
		vary(frame.Frame, dst, uint32(n))
		if err := w.in(frame.Frame, t); err != nil {
			return err
		}
	}
	return nil
}

var twinMAC = net.HardwareAddr{2, 0, 0, 0, 0, 9}

// vary gives the frame another source.
func vary(f []byte, dst netip.Addr, n uint32) {
	if dst.Is4() {
		binary.BigEndian.PutUint32(f[26:], 0x40000001+n*7919)
		return
	}
	binary.BigEndian.PutUint32(f[26:], n*7919)
}

func (w *Twin) in(frame []byte, t *Trial) error {
	_, err := w.answer(frame, t)
	return err
}

func (w *Twin) answer(frame []byte, t *Trial) ([]byte, error) {
	r := &ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256)}
	v, err := w.i.c.Programs[filterProgScrubIn].Run(r)
	if err != nil {
		return nil, fmt.Errorf("hand a packet to the twin: %w", err)
	}
	t.Sent++
	switch v {
	case xdpPass:
		t.Passed++
	case xdpTX:
		t.Answer++
	}
	return r.DataOut, nil
}

// connect opens connections as a client does: the answer to its SYN, if the
// filter gives one, is acknowledged.
func (w *Twin) connect(dst netip.Addr, t *Trial) error {
	for n := range uint32(20) {
		syn, err := flood.For("syn", flood.Target{Addr: dst, Port: 443, From: twinMAC, To: twinMAC})
		if err != nil {
			return err
		}
		ack, err := flood.For("ack", flood.Target{Addr: dst, Port: 443, From: twinMAC, To: twinMAC})
		if err != nil {
			return err
		}
		l4 := 34
		if dst.Is6() {
			l4 = 54
		}
		var one Trial
		var back []byte
		for i, f := range [][]byte{syn.Frame, ack.Frame} {
			vary(f, dst, 1_000_000+n)
			binary.BigEndian.PutUint16(f[l4:], uint16(20_000+n))
			binary.BigEndian.PutUint32(f[l4+4:], 7000+uint32(i))
			if i == 1 && one.Answer == 1 && len(back) >= l4+8 {
				binary.BigEndian.PutUint32(f[l4+8:], binary.BigEndian.Uint32(back[l4+4:])+1)
			}
			if back, err = w.answer(f, &one); err != nil {
				return err
			}
		}
		t.Sent++
		// Answered and then let in, or let in from the first.
		if one.Passed >= 1 && one.Passed+one.Answer == 2 {
			t.Passed++
		}
	}
	return nil
}

// pathMTU sends what a path needs to work: it is never limited with the rest.
func (w *Twin) pathMTU(dst netip.Addr, t *Trial) error {
	p, err := flood.For("icmp", flood.Target{Addr: dst, From: twinMAC, To: twinMAC})
	if err != nil {
		return err
	}
	if dst.Is4() {
		p.Frame[34], p.Frame[35] = 3, 4
	} else {
		p.Frame[54] = 2
	}
	for n := range uint32(trialPackets) {
		vary(p.Frame, dst, n)
		if err := w.in(p.Frame, t); err != nil {
			return err
		}
	}
	return nil
}

// outgoing lets a host behind the filter flood somebody else.
func (w *Twin) outgoing(src netip.Addr, t *Trial) error {
	p, err := flood.For("udp", flood.Target{Addr: src, Port: 53, From: twinMAC, To: twinMAC})
	if err != nil {
		return err
	}
	at, n := 26, 4
	if src.Is6() {
		at, n = 22, 16
	}
	for i := range n { // the host is the source
		p.Frame[at+i], p.Frame[at+n+i] = p.Frame[at+n+i], p.Frame[at+i]
	}
	for range trialPackets {
		v, err := w.i.c.Programs[filterProgScrubOut].Run(&ebpf.RunOptions{Data: p.Frame})
		if err != nil {
			return fmt.Errorf("hand a packet to the twin: %w", err)
		}
		t.Sent++
		if v != tcxDrop {
			t.Passed++
		}
	}
	return nil
}
