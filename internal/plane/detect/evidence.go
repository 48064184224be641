package detect

import (
	"slices"
	"time"

	"github.com/dun-sec/dun/internal/core/traffic"
)

// Evidence of an attack: some of its packets. They are data of people, so that
// only those are kept that nothing honest explains, of the attack's vectors, and
// of those only the front. What the sender chooses changes neither how many nor
// how large they are.
const (
	evidenceFirst  = 192 // of the attack's packets, the first
	evidenceLate   = 64  // and the newest
	evidenceBefore = 64  // of those that came before it was told of
	beforeSpan     = 2 * time.Second
	evidenceAfter  = 3 * time.Second // it is handed out first; and again when the attack is over
)

// raw is the front of a packet as it was sampled.
type raw struct {
	at     time.Duration
	out    bool
	vector traffic.Vector
	length int
	data   []byte
}

// way is a vector in one direction.
type way struct {
	vector traffic.Vector
	out    bool
}

// capture is what is kept of one attack; the Detector's lock guards it.
type capture struct {
	first   []raw
	late    []raw
	next    int          // in late
	dropped map[way]bool // something of the vector was dropped
	early   bool         // it was handed out once
	fresh   bool         // since then there is more
}

func rawOf(s *traffic.Sample) (raw, bool) {
	// 14 bytes of Ethernet at least stand before the IP header.
	if s.Proven || s.Network < 14 || s.Network > len(s.Data) {
		return raw{}, false
	}
	return raw{s.At, s.Out, s.Vector, s.Length, slices.Clone(s.Data[:min(len(s.Data), traffic.EvidenceSnap)])}, true
}

// keep keeps the newest packets that may turn out to be an attack's.
func (r *ring) keep(x raw) {
	if len(r.raw) < evidenceBefore {
		r.raw = append(r.raw, x)
		return
	}
	r.raw[r.nextRaw] = x
	r.nextRaw = (r.nextRaw + 1) % evidenceBefore
}

// witness keeps a packet of an attack. Once the filter drops packets of a
// vector, one that it lets through may be honest; a SYN is answered, whoever it
// is from.
func (a *attack) witness(x raw, dropped bool) {
	c := &a.capture
	if !a.has(x.vector, x.out) {
		return
	}
	w := way{x.vector, x.out}
	if dropped {
		if c.dropped == nil {
			c.dropped = map[way]bool{}
		}
		c.dropped[w] = true
	} else if c.dropped[w] && (x.vector != traffic.SYN || x.out) {
		return
	}
	c.fresh = true
	switch {
	case len(c.first) < evidenceFirst:
		c.first = append(c.first, x)
	case len(c.late) < evidenceLate:
		c.late = append(c.late, x)
	default:
		c.late[c.next] = x
		c.next = (c.next + 1) % evidenceLate
	}
}

// before takes up what came shortly before the attack was told of.
func (d *Detector) before(a *attack) {
	if d.opt.Keep == nil {
		return
	}
	for _, out := range []bool{false, true} {
		r := d.recent.of[origin{a.of, out}]
		if r == nil {
			continue
		}
		for _, x := range slices.Concat(r.raw[r.nextRaw:], r.raw[:r.nextRaw]) {
			if x.at >= a.begun-beforeSpan {
				a.witness(x, false)
			}
		}
	}
}

// evidence hands out what was kept: once when the attack is a few seconds old,
// and once when it is over.
func (d *Detector) evidence(a *attack, final bool) func() {
	c := &a.capture
	if d.opt.Keep == nil || !c.fresh || !final && (c.early || d.at-a.begun < evidenceAfter) {
		return func() {}
	}
	c.early, c.fresh = true, false
	all := slices.Concat(c.first, c.late)
	slices.SortStableFunc(all, func(x, y raw) int { return int(min(max(x.at-y.at, -1), 1)) })
	frames := make([]traffic.Frame, len(all))
	for i, x := range all {
		frames[i] = traffic.Frame{Time: a.start.Add(x.at - a.begun), Length: x.length, Data: x.data}
	}
	e := traffic.Evidence{Of: a.of, Attack: a.id, Start: a.start, Final: final, Packets: len(frames), Capture: traffic.Capture(frames)}
	return func() { d.opt.Keep(e) }
}
