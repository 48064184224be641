package edge

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// banTable answers whether a client is refused. A look-up costs at most one
// map access for each prefix length in use, whatever the number of bans.
type banTable struct {
	everywhere banSet // of tenant platform, for every tenant
	tenants    map[string]*banSet
	sites      map[siteName]*banSet
}

type banSet struct{ allow, ban prefixSet }

// prefixSet maps networks to the time at which they end; zero = never.
type prefixSet struct {
	until   map[netip.Prefix]time.Time
	lengths [2][]int // prefix lengths in use, IPv4 and IPv6
}

func (p *prefixSet) add(n netip.Prefix, until time.Time) {
	if p.until == nil {
		p.until = map[netip.Prefix]time.Time{}
	}
	old, known := p.until[n]
	if known && (old.IsZero() || !until.IsZero() && until.Before(old)) {
		return
	}
	p.until[n] = until
	family := 0
	if n.Addr().Is6() {
		family = 1
	}
	for _, l := range p.lengths[family] {
		if l == n.Bits() {
			return
		}
	}
	p.lengths[family] = append(p.lengths[family], n.Bits())
}

func (p *prefixSet) has(a netip.Addr, now time.Time) bool {
	family := 0
	if a.Is6() {
		family = 1
	}
	for _, l := range p.lengths[family] {
		n, err := a.Prefix(l)
		if err != nil {
			continue
		}
		if until, ok := p.until[n]; ok && (until.IsZero() || now.Before(until)) {
			return true
		}
	}
	return false
}

// refused reports whether a client is banned.
func (b *banTable) refused(s siteName, a netip.Addr, now time.Time) bool {
	_, banned := b.decide(s, a, now)
	return banned
}

// decide asks every allow list before any ban, so that nobody locks himself
// out. a is unmapped.
func (b *banTable) decide(s siteName, a netip.Addr, now time.Time) (allowed, banned bool) {
	sets := [3]*banSet{&b.everywhere, b.tenants[s.tenant], b.sites[s]}
	for _, set := range sets {
		if set != nil && set.allow.has(a, now) {
			return true, false
		}
	}
	for _, set := range sets {
		if set != nil && set.ban.has(a, now) {
			return false, true
		}
	}
	return false, false
}

func compileBans(all []named[*edge.BanSpec], log *slog.Logger) *banTable {
	b := &banTable{tenants: map[string]*banSet{}, sites: map[siteName]*banSet{}}
	for _, o := range all {
		var until time.Time
		if o.spec.Expires != nil {
			until = *o.spec.Expires
		}
		sets := b.scope(o)
		for _, src := range o.spec.Sources {
			p, err := edge.ParseSource(src)
			if err != nil {
				log.Warn("ban source left out", "kind", "Ban", "tenant", o.tenant, "name", o.name, "err", err)
				continue
			}
			for _, set := range sets {
				if o.spec.Action == edge.ActionAllow {
					set.allow.add(p.Masked(), until)
				} else {
					set.ban.add(p.Masked(), until)
				}
			}
		}
	}
	return b
}

func (b *banTable) scope(o named[*edge.BanSpec]) []*banSet {
	if len(o.spec.Sites) == 0 {
		if o.tenant == resource.Platform {
			return []*banSet{&b.everywhere}
		}
		return []*banSet{at(b.tenants, o.tenant)}
	}
	var out []*banSet
	for _, s := range o.spec.Sites {
		out = append(out, at(b.sites, siteName{o.tenant, s}))
	}
	return out
}

func at[K comparable, V any](m map[K]*V, k K) *V {
	v := m[k]
	if v == nil {
		v = new(V)
		m[k] = v
	}
	return v
}
