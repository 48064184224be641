package detect

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
)

// A fingerprint is armed only if it meets nearly all of the attack and nearly
// nothing that came before it or that proved itself.
const (
	sampleRoom  = 2048 // of each record, the newest
	maxSampled  = 512  // records that samples are kept of
	benignSpan  = time.Minute
	wantSamples = 40   // of an attack before it is looked at
	coverage    = 0.90 // of the attack's samples
	collateral  = 0.001
	maxPrints   = 4
)

// recent keeps the newest samples of each record and direction.
type recent struct{ of map[origin]*ring }

type origin struct {
	of  resource.Ref
	out bool
}

type ring struct {
	samples []seen
	next    int
	raw     []raw // the newest that nothing honest explains
	nextRaw int
}

// seen is a sample, read.
type seen struct {
	at     time.Duration
	vector traffic.Vector
	proven bool
	field  [fields]uint64 // network values; absent = ^0
	asked  question       // of a DNS query
}

// The fields that may tell an attack apart.
const (
	fLength = iota
	fTTL
	fSPort
	fDPort
	fWindow
	fFlags
	fPayload
	fields
)

const absent = ^uint64(0)

func newRecent() *recent { return &recent{map[origin]*ring{}} }

// Sample keeps the front of a packet for fingerprints, and as evidence.
func (d *Detector) Sample(s traffic.Sample) {
	x, ok := read(s)
	if !ok {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	from := origin{s.Of, s.Out}
	r := d.recent.of[from]
	if r == nil {
		if len(d.recent.of) >= 2*maxSampled {
			return
		}
		r = &ring{}
		d.recent.of[from] = r
	}
	if x, ok := rawOf(&s); ok && d.opt.Keep != nil {
		if a := d.attacks[s.Of]; a != nil {
			a.witness(x, s.Dropped)
		} else {
			r.keep(x)
		}
	}
	if s.Out { // no fingerprint is armed against our own hosts
		return
	}
	if len(r.samples) < sampleRoom {
		r.samples = append(r.samples, x)
		return
	}
	r.samples[r.next] = x
	r.next = (r.next + 1) % sampleRoom
}

// read takes what may tell of a frame; it believes no length in it.
func read(s traffic.Sample) (seen, bool) {
	x := seen{at: s.At, vector: s.Vector, proven: s.Proven}
	for i := range x.field {
		x.field[i] = absent
	}
	if s.Network < 0 || s.Network+20 > len(s.Data) {
		return x, false
	}
	ip := s.Data[s.Network:]
	var l4 []byte
	var proto byte
	switch ip[0] >> 4 {
	case 4:
		head := int(ip[0]&15) * 4
		x.field[fLength], x.field[fTTL], proto = uint64(binary.BigEndian.Uint16(ip[2:])), uint64(ip[8]), ip[9]
		if head >= 20 && head <= len(ip) && binary.BigEndian.Uint16(ip[6:])&0x1fff == 0 {
			l4 = ip[head:]
		}
	case 6:
		if len(ip) < 40 {
			return x, false
		}
		x.field[fLength], x.field[fTTL], proto = uint64(binary.BigEndian.Uint16(ip[4:]))+40, uint64(ip[7]), ip[6]
		l4 = ip[40:]
	default:
		return x, false
	}
	payload := -1
	switch {
	case proto == 6 && len(l4) >= 20:
		x.field[fWindow], x.field[fFlags] = uint64(binary.BigEndian.Uint16(l4[14:])), uint64(l4[13])
		payload = int(l4[12]>>4) * 4
	case proto == 17 && len(l4) >= 8:
		payload = 8
	}
	if payload >= 0 {
		x.field[fSPort], x.field[fDPort] = uint64(binary.BigEndian.Uint16(l4)), uint64(binary.BigEndian.Uint16(l4[2:]))
		// What is padded to the wire's least is no payload.
		if payload+8 <= len(l4) && int(x.field[fLength]) >= len(ip)-len(l4)+payload+8 {
			x.field[fPayload] = binary.BigEndian.Uint64(l4[payload:])
		}
		if s.Vector == traffic.DNS && proto == 17 && len(l4) >= 8 {
			x.asked = questionOf(l4[8:])
		}
	}
	return x, true
}

// fingerprint looks for what the packets of each vector of an attack have in
// common, and reports whether the attack's list changed.
func (d *Detector) fingerprint(a *attack) bool {
	a.looked = d.at
	was := a.describe()
	r := d.recent.of[origin{of: a.of}]
	if r == nil {
		return false
	}
	var out []traffic.Fingerprint
	for _, v := range a.list(false) {
		var bad, good []seen
		for _, s := range r.samples {
			switch {
			case s.vector != v:
			case s.proven || s.at < a.begun-2*time.Second && s.at > a.begun-benignSpan:
				good = append(good, s)
			case s.at >= a.begun-time.Second:
				bad = append(bad, s)
			}
		}
		if f, ok := common(v, bad, good); ok && len(out) < maxPrints {
			out = append(out, f)
		}
		if v == traffic.DNS {
			a.zone = randomPrefixes(bad, slices.Concat(r.raw, a.capture.first, a.capture.late))
		}
	}
	if len(out) > 0 {
		a.prints = out
	}
	return a.describe() != was
}

// common takes, field by field, the value that most of the attack has; what is
// left must tell it from what is benign.
func common(v traffic.Vector, bad, good []seen) (traffic.Fingerprint, bool) {
	if len(bad) < wantSamples {
		return traffic.Fingerprint{}, false
	}
	var want [fields]uint64
	for i := range want {
		want[i] = absent
	}
	told := false
	for f := range fields {
		value, share := most(bad, f)
		if value == absent || share < coverage {
			continue
		}
		want[f], told = value, true
	}
	if !told || hits(bad, want) < coverage || len(good) > 0 && hits(good, want) > collateral {
		return traffic.Fingerprint{}, false
	}
	if len(good) < wantSamples && !alone(v, want) {
		return traffic.Fingerprint{}, false
	}
	return print(v, want), true
}

// alone says whether a rule may stand without benign samples to prove it on:
// never for what can be challenged, else only with a payload, or with a length
// and something more than the service's own port.
func alone(v traffic.Vector, want [fields]uint64) bool {
	if v.TCP() || v == traffic.DNS {
		return false
	}
	return want[fPayload] != absent || want[fLength] != absent && (want[fTTL] != absent || want[fSPort] != absent)
}

func most(list []seen, f int) (value uint64, share float64) {
	n := map[uint64]int{}
	best := 0
	for _, s := range list {
		x := s.field[f]
		n[x]++
		if n[x] > best {
			best, value = n[x], x
		}
	}
	return value, float64(best) / float64(len(list))
}

func hits(list []seen, want [fields]uint64) float64 {
	n := 0
	for _, s := range list {
		meets := true
		for f, x := range want {
			meets = meets && (x == absent || s.field[f] == x)
		}
		if meets {
			n++
		}
	}
	return float64(n) / float64(len(list))
}

func print(v traffic.Vector, want [fields]uint64) traffic.Fingerprint {
	p := traffic.Fingerprint{Vector: v}
	word := func(f int) *traffic.Range[uint16] {
		if want[f] == absent {
			return nil
		}
		return &traffic.Range[uint16]{From: uint16(want[f]), To: uint16(want[f])}
	}
	p.Length, p.SPort, p.DPort = word(fLength), word(fSPort), word(fDPort)
	if want[fTTL] != absent {
		p.TTL = &traffic.Range[uint8]{From: uint8(want[fTTL]), To: uint8(want[fTTL])}
	}
	if want[fWindow] != absent {
		p.Window = new(uint16(want[fWindow]))
	}
	if want[fFlags] != absent {
		p.Flags = new(uint8(want[fFlags]))
	}
	if want[fPayload] != absent {
		p.Payload = binary.BigEndian.AppendUint64(nil, want[fPayload])
	}
	return p
}

// describe is a fingerprint for people.
func describe(list []traffic.Fingerprint) string {
	var out []string
	for i := range list {
		f := &list[i]
		s := []string{f.Vector.String()}
		word := func(name string, r *traffic.Range[uint16]) {
			if r != nil {
				s = append(s, fmt.Sprintf("%s=%d", name, r.From))
			}
		}
		word("length", f.Length)
		if f.TTL != nil {
			s = append(s, fmt.Sprintf("ttl=%d", f.TTL.From))
		}
		word("sport", f.SPort)
		word("dport", f.DPort)
		if f.Window != nil {
			s = append(s, fmt.Sprintf("window=%d", *f.Window))
		}
		if f.Flags != nil {
			s = append(s, fmt.Sprintf("flags=%#x", *f.Flags))
		}
		if len(f.Payload) > 0 {
			s = append(s, fmt.Sprintf("payload=%x", f.Payload))
		}
		out = append(out, strings.Join(s, " "))
	}
	return strings.Join(out, "; ")
}
