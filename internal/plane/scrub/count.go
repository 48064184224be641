package scrub

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/core/verdicts"
)

// counted is the last reading of one policy.
type counted struct {
	in, out Counts
}

// counter is the state of count; its goroutine owns it.
type counter struct {
	at     time.Duration
	last   map[resource.Ref]counted
	sketch *Sketch // nil = no single address was asked for
}

// count reads the filter's counters ten times a second and hands on what moved.
func (c *Centre) count(ctx context.Context) {
	tick := time.NewTicker(countEvery)
	defer tick.Stop()
	n := &counter{last: map[resource.Ref]counted{}}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if r, err := c.reading(n); err != nil {
			c.opt.Log.Error("the filter's counters cannot be read", "err", err)
		} else if r != nil && c.opt.Readings != nil {
			c.opt.Readings(*r)
		}
	}
}

// reading is what moved since the last one; nil = there was none.
func (c *Centre) reading(n *counter) (*traffic.Reading, error) {
	c.mu.Lock()
	p := c.plan
	c.mu.Unlock()
	r := &traffic.Reading{Source: c.opt.Name, At: Monotonic()}
	r.Span = r.At - n.at
	first := n.at == 0
	n.at = r.At
	fresh := make(map[resource.Ref]counted, len(p.of))
	for i, ref := range p.of {
		slot := p.policies[i].Slot
		in, err := c.opt.Table.Counts(slot, false)
		if err != nil {
			return nil, err
		}
		out, err := c.opt.Table.Counts(slot, true)
		if err != nil {
			return nil, err
		}
		now := counted{in, out}
		fresh[ref] = now
		old, known := n.last[ref]
		if !known {
			continue
		}
		r.Counts = append(r.Counts, now.since(old, ref, p.policies[i].Prefixes[0])...)
	}
	c.singles(n, r, p)
	n.last = fresh
	c.remember(r.At, fresh)
	if first || r.Span <= 0 {
		return nil, nil
	}
	return r, nil
}

// singles adds the addresses of networks that much is sent to.
func (c *Centre) singles(n *counter, r *traffic.Reading, p *plan) {
	var now *Sketch
	for i, ref := range p.of {
		if p.policies[i].Prefixes[0].IsSingleIP() {
			continue
		}
		addrs := c.candidates.chosen(ref, r.At)
		if len(addrs) == 0 {
			continue
		}
		if now == nil {
			var err error
			if now, err = c.opt.Table.Sketch(); err != nil {
				c.opt.Log.Error("single addresses of networks are not counted", "err", err)
				break
			}
		}
		at := slices.IndexFunc(r.Counts, func(x traffic.Count) bool { return x.Of == ref && !x.Out })
		if n.sketch == nil || at < 0 {
			continue
		}
		for _, a := range addrs {
			if p.policies[i].Prefixes[0].Contains(a) {
				r.Counts = append(r.Counts, single(&r.Counts[at], now, n.sketch, a))
			}
		}
	}
	n.sketch = now
}

// since says what moved, and which of it nothing honest explains (core/traffic).
func (n counted) since(old counted, ref resource.Ref, prefix netip.Prefix) []traffic.Count {
	in, out := traffic.Count{Of: ref, Address: prefix}, traffic.Count{Of: ref, Address: prefix, Out: true}
	for v := range Vectors {
		in.Volume[v] = traffic.Volume{
			Packets: n.in.Packets[v] - old.in.Packets[v], Bytes: n.in.Bytes[v] - old.in.Bytes[v], Suspect: n.in.Suspect[v] - old.in.Suspect[v],
			Dropped: n.in.Packets[v] - n.in.Passed[v] - (old.in.Packets[v] - old.in.Passed[v]),
		}
		out.Volume[v] = traffic.Volume{
			Packets: n.out.Packets[v] - old.out.Packets[v], Bytes: n.out.Bytes[v] - old.out.Bytes[v], Suspect: n.out.Packets[v] - old.out.Packets[v],
			Dropped: n.out.Packets[v] - n.out.Passed[v] - (old.out.Packets[v] - old.out.Passed[v]),
		}
	}
	connections := n.out.Reason[Proven] - old.out.Reason[Proven] + n.in.Reason[CookieGood] - old.in.Reason[CookieGood]
	// A handshake's own segments come before the connection is proven.
	explain(&in.Volume[SYN], connections)
	explain(&in.Volume[ACK], 3*connections)
	// A service answers: four datagrams for one answer are still a service.
	explain(&in.Volume[UDP], 4*out.Volume[UDP].Packets)
	// What belongs to a connection is no flood of ours.
	out.Volume[ACK].Suspect = 0
	explain(&out.Volume[SYN], in.Volume[SYNACK].Packets)
	// What answers is no flood of ours either, however loud the question.
	tcp := in.Volume[SYN].Packets + in.Volume[ACK].Packets + in.Volume[SYNACK].Packets
	explain(&out.Volume[RST], tcp)
	explain(&out.Volume[SYNACK], 3*in.Volume[SYN].Packets) // it is sent again
	explain(&out.Volume[UDP], 2*in.Volume[UDP].Packets)
	explain(&out.Volume[Amp], 2*in.Volume[DNS].Packets+2*in.Volume[UDP].Packets)
	explain(&out.Volume[ICMP], in.Volume[ICMP].Packets+in.Volume[UDP].Packets+in.Volume[Amp].Packets+in.Volume[DNS].Packets+in.Volume[Other].Packets)
	return []traffic.Count{in, out}
}

func explain(v *traffic.Volume, by uint64) { v.Suspect -= min(v.Suspect, by) }

// banKind is the kind of verdicts that deny a source (plane/edge makes them).
const banKind = "ban"

// deny hands the verdicts that hold to the filter.
func (c *Centre) deny() {
	if c.opt.Verdicts == nil || !c.synced.Load() {
		return
	}
	wall, now := time.Now(), Monotonic()
	var list []Denial
	for _, v := range c.opt.Verdicts.All() {
		d, ok := c.denial(v, now+v.Until.Sub(wall))
		if !ok || len(list) >= MaxDenied {
			continue
		}
		list = append(list, d)
	}
	for _, d := range c.denials {
		if d.Until > now && len(list) < MaxDenied {
			list = append(list, d)
		}
	}
	if err := c.opt.Table.SetDenied(list); err != nil {
		c.opt.Log.Error("verdicts are not in the filter", "err", err)
	}
}

func (c *Centre) denial(v verdicts.Verdict, until time.Duration) (Denial, bool) {
	if v.Kind != banKind {
		return Denial{}, false
	}
	tenant := verdicts.TenantOf(v.Key)
	about := v.Key
	scope := uint32(0)
	if tenant != "" {
		about = v.Key[len(tenant)+1:]
		scope = c.scope(tenant)
	}
	p, err := netip.ParsePrefix(about)
	if err != nil {
		a, aerr := netip.ParseAddr(about)
		if aerr != nil {
			return Denial{}, false
		}
		p = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
	}
	if !p.IsSingleIP() && (p.Addr().Is4() || p.Bits() != 64) {
		return Denial{}, false
	}
	return Denial{Scope: scope, Source: p.Masked(), Until: until}, true
}
