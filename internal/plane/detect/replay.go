package detect

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
)

// Replay plays counters to a detector of its own, in simulated time: what the
// checks and the bench judge by. It touches nothing else.
type Replay struct {
	d    *Detector
	at   time.Duration
	rand *rand.Rand
	told []events.Event
}

// Add implements Emitter.
func (r *Replay) Add(e events.Event) { r.told = append(r.told, e) }

var replayed = resource.Ref{Kind: "ProtectedAddress", Tenant: "dun-canary", Name: "replay"}

// NewReplay begins one.
func NewReplay(seed uint64) *Replay {
	r := &Replay{at: time.Hour, rand: rand.New(rand.NewPCG(seed, 0x64756e))}
	r.d = New(Options{Events: r, Now: func() time.Time { return time.Unix(0, 0).Add(r.at) }})
	return r
}

// rates are packets a second of a vector, and how many of them nothing honest
// explains.
type rates map[traffic.Vector][2]float64

// step plays one reading.
func (r *Replay) step(m rates) {
	span := 100*time.Millisecond + time.Duration(r.rand.IntN(20)-10)*time.Millisecond
	r.at += span
	c := traffic.Count{Of: replayed, Address: netip.MustParsePrefix("198.51.100.7/32")}
	for v, x := range m {
		n := r.about(x[0] * span.Seconds())
		c.Volume[v] = traffic.Volume{Packets: n, Bytes: n * 60, Suspect: min(n, r.about(x[1]*span.Seconds()))}
	}
	r.d.Count(traffic.Reading{Source: "replay", At: r.at, Span: span, Counts: []traffic.Count{c}})
}

func (r *Replay) about(mean float64) uint64 {
	return uint64(max(0, mean+r.rand.NormFloat64()*max(1, mean/20)))
}

// usual is a day's traffic, somewhere between a quiet site and a busy one.
func (r *Replay) usual() rates {
	k := 0.1 + 3*r.rand.Float64()
	return rates{traffic.SYN: {100 * k, 3 * k}, traffic.ACK: {3000 * k, 60 * k}, traffic.UDP: {300 * k, 20 * k}, traffic.DNS: {50 * k, 50 * k}, traffic.ICMP: {5 * k, 5 * k}}
}

// Attack lets an attack of a random vector, strength (1.2 to 50 times the
// threshold) and onset (at once, or a ramp) begin and reports what was told of
// it and how long that took.
func (r *Replay) Attack() (vector traffic.Vector, strength float64, right bool, after time.Duration) {
	all := traffic.All()
	vector = all[r.rand.IntN(len(all))]
	strength = 1.2
	for strength < 50 && r.rand.Float64() < 0.8 {
		strength *= 1.3
	}
	strength = min(strength, 50)
	ramp := time.Duration(0)
	if r.rand.IntN(3) == 0 {
		ramp = time.Duration(r.rand.IntN(20)) * time.Second
	}
	m := r.usual()
	for range 120 {
		r.step(m)
	}
	base, begun := m[vector], r.at
	for r.at-begun < ramp+12*time.Second {
		share := 1.0
		if ramp > 0 {
			share = min(1, float64(r.at-begun)/float64(ramp))
		}
		n := share * strength * floors[vector]
		m[vector] = [2]float64{base[0] + n, base[1] + n}
		r.step(m)
		if len(r.told) > 0 {
			break
		}
	}
	if len(r.told) == 0 {
		return vector, strength, false, 0
	}
	return vector, strength, strings.Contains(r.told[0].Attributes["vectors"], vector.String()), r.at - begun
}

// Benign plays so many windows of ten seconds of what busy sites see: crowds ten
// times as large as usual, crawlers, backups, a network of a thousand behind one
// address. It returns how often an attack was told of.
func (r *Replay) Benign(windows int) (alarms int) {
	base := r.usual()
	for range 8 { // what is usual takes more than an hour to learn; in long readings
		for range 660 {
			r.at += time.Second
			c := traffic.Count{Of: replayed, Address: netip.MustParsePrefix("198.51.100.7/32")}
			for v, x := range base {
				n := r.about(x[0])
				c.Volume[v] = traffic.Volume{Packets: n, Bytes: n * 60, Suspect: min(n, r.about(x[1]))}
			}
			r.d.Count(traffic.Reading{Source: "replay", At: r.at, Span: time.Second, Counts: []traffic.Count{c}})
		}
	}
	for range windows {
		m := rates{}
		times := [5]float64{1, 10, 3, 1, 1}[r.rand.IntN(5)] // usual, a crowd, a crawler
		for v, x := range base {
			m[v] = [2]float64{x[0] * times, x[1] * times}
		}
		if r.rand.IntN(6) == 0 { // a backup: one connection
			m[traffic.ACK] = [2]float64{200_000, base[traffic.ACK][1]}
		}
		begins := r.rand.IntN(3) // readings in which no handshake is finished yet
		for n := range 100 {
			now := m
			if n < begins {
				now = rates{}
				for v, x := range m {
					now[v] = x
				}
				now[traffic.SYN] = [2]float64{m[traffic.SYN][0], m[traffic.SYN][0]}
			}
			r.step(now)
		}
		for _, e := range r.told {
			if e.Attributes["phase"] == PhaseStart {
				alarms++
			}
		}
		r.told = nil
	}
	return alarms
}
