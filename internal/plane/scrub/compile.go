package scrub

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/kinds/shield"
	"github.com/dun-sec/dun/internal/kinds/system"
)

// plan is what records and orders come to.
type plan struct {
	policies []Policy
	of       []resource.Ref // of each policy
	allow    map[uint32][]netip.Prefix
	refused  map[resource.Ref]string // addresses that are not protected, and why
}

// Rates that stand where nobody said one, packets a second to an address.
const (
	usualSYN   = 10_000 // where no cookie can be sent
	usualState = 10_000 // segments without a proof, while the filter learns
	usualKnown = 10_000 // DNS queries of resolvers that came by TCP
	usualOther = 1_000
)

// compile is pure but for slots, which keep their records. c.mu is held.
func (c *Centre) compile(now time.Duration) *plan {
	p := &plan{allow: map[uint32][]netip.Prefix{}, refused: map[resource.Ref]string{}}
	owner := map[netip.Prefix]resource.Ref{}
	for _, o := range c.protected() {
		spec := o.Spec.(*shield.ProtectedAddressSpec)
		prefix, err := shield.ParsePrefix(spec.Prefix)
		ref := o.Ref()
		ref.UID = ""
		switch other, taken := owner[prefix]; {
		case err != nil:
			p.refused[ref] = err.Error()
			continue
		case !c.owns(ref.Tenant, prefix):
			p.refused[ref] = "the address is not among those of the tenant (Tenant spec.addresses)"
			continue
		case taken:
			p.refused[ref] = "it is protected for tenant " + other.Tenant + " already"
			continue
		}
		slot, ok := c.slot(ref, prefix)
		if !ok {
			p.refused[ref] = "the filter has no room for more addresses"
			continue
		}
		owner[prefix] = ref
		policy := c.policyFor(ref, spec, now)
		policy.Slot, policy.Scope, policy.Prefixes = slot, c.scope(ref.Tenant), []netip.Prefix{prefix}
		p.policies, p.of = append(p.policies, policy), append(p.of, ref)
		if s := c.scrubPolicy(ref, spec); s != nil {
			for _, a := range s.Allow {
				if x, err := shield.ParsePrefix(a); err == nil && !slices.Contains(p.allow[policy.Scope], x) {
					p.allow[policy.Scope] = append(p.allow[policy.Scope], x)
				}
			}
		}
	}
	for ref := range c.slots {
		if !slices.Contains(p.of, ref) {
			delete(c.slots, ref)
		}
	}
	return p
}

// protected lists the addresses; the platform's come first, so that nobody
// takes one of its.
func (c *Centre) protected() []*resource.Object {
	var out []*resource.Object
	for ref, o := range c.records {
		if _, ok := o.Spec.(*shield.ProtectedAddressSpec); ok && ref.Kind == "ProtectedAddress" {
			out = append(out, o)
		}
	}
	rank := func(o *resource.Object) int {
		if o.Metadata.Tenant == resource.Platform {
			return 0
		}
		return 1
	}
	slices.SortFunc(out, func(a, b *resource.Object) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Metadata.Tenant, b.Metadata.Tenant), cmp.Compare(a.Metadata.Name, b.Metadata.Name))
	})
	return out
}

// owns reports whether a tenant may protect, and so disturb, an address.
func (c *Centre) owns(tenant string, p netip.Prefix) bool {
	if tenant == resource.Platform {
		return true
	}
	o := c.records[resource.Ref{Kind: "Tenant", Tenant: resource.Platform, Name: tenant}]
	if o == nil {
		return false
	}
	spec, ok := o.Spec.(*system.TenantSpec)
	return ok && slices.ContainsFunc(spec.Addresses, func(s string) bool {
		n, err := netip.ParsePrefix(s)
		return err == nil && n.Bits() <= p.Bits() && n.Contains(p.Addr())
	})
}

// slot is where a record's counters are: where they were before a restart.
func (c *Centre) slot(ref resource.Ref, prefix netip.Prefix) (uint32, bool) {
	if s, ok := c.slots[ref]; ok {
		return s, true
	}
	used := make(map[uint32]bool, len(c.slots))
	for _, s := range c.slots {
		used[s] = true
	}
	if was, ok := c.left[prefix]; ok && !used[was.Slot] {
		c.slots[ref] = was.Slot
		return was.Slot, true
	}
	for _, was := range c.left {
		used[was.Slot] = true
	}
	for s := range c.opt.Table.Slots() {
		if !used[s] {
			c.slots[ref] = s
			return s, true
		}
	}
	return 0, false
}

// scope is the tenant's number in the filter: the platform's is 0, others' are
// hashes under the filter's key, the same after a restart.
func (c *Centre) scope(tenant string) uint32 {
	if tenant == resource.Platform {
		return 0
	}
	h := uint64(len(tenant))
	for i := range len(tenant) {
		h = keyed(c.opt.Table.set.Key, h, uint64(tenant[i]), uint64(i))
	}
	return max(1, uint32(h))
}

func (c *Centre) scrubPolicy(ref resource.Ref, spec *shield.ProtectedAddressSpec) *shield.ScrubPolicySpec {
	if spec.Policy == "" {
		return nil
	}
	o := c.records[resource.Ref{Kind: "ScrubPolicy", Tenant: ref.Tenant, Name: spec.Policy}]
	if o == nil {
		return nil
	}
	s, _ := o.Spec.(*shield.ScrubPolicySpec)
	return s
}

// policyFor is what is done for one record now.
func (c *Centre) policyFor(ref resource.Ref, spec *shield.ProtectedAddressSpec, now time.Duration) Policy {
	p := Policy{Strict: spec.Strict, Services: servicesOf(spec), StrictAfter: c.begun + learning}
	mode := spec.ModeInForce()
	if mode == shield.ModeOff {
		p.Strict, p.Monitor = false, true
		return p
	}
	p.Monitor = mode == shield.ModeMonitor
	s := c.scrubPolicy(ref, spec)
	for _, o := range c.ordersOf(ref, now) {
		if len(p.Services) > 0 {
			p.Strict = true // what the address offers is known, and it is under attack
		}
		for _, v := range o.Vectors {
			p.arm(v, o.Limits[v])
		}
		for _, f := range o.Fingerprints {
			if len(p.Rules) < MaxRules && !f.Empty() {
				p.Rules = append(p.Rules, Rule{Fingerprint: f, Until: o.until})
			}
		}
		p.say(s, shield.WhenAttack, o.Vectors)
	}
	p.say(s, shield.WhenAlways, traffic.All())
	if s != nil {
		p.Bogons = s.Bogons
		for _, x := range s.Outbound {
			if v, ok := traffic.Parse(x.Vector); ok {
				p.RateOut[v] = uint64(x.Packets)
			}
		}
	}
	return p
}

// ordersOf are those about an address that hold, in the order of their attacks'
// ids: which of two comes first must not change from one second to the next.
func (c *Centre) ordersOf(ref resource.Ref, now time.Duration) []*order {
	var out []*order
	for k, o := range c.orders {
		if k.of == ref && o.until > now {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b *order) int { return cmp.Compare(a.Attack, b.Attack) })
	return out
}

// arm is what Dun does by itself about a vector.
func (p *Policy) arm(v Vector, usual uint64) {
	switch {
	case v.TCP():
		for _, v := range []Vector{SYN, ACK, RST, SYNACK} {
			p.Action[v] = Challenge
			p.RatePerAddress[v] = max(p.RatePerAddress[v], usualState)
		}
		p.RatePerAddress[SYN] = max(usual, usualSYN)
	case v == DNS:
		p.Action[v], p.RatePerAddress[v] = Challenge, max(usual, usualKnown)
		if len(p.Services) > 0 && !slices.ContainsFunc(p.Services, func(s Service) bool { return s.Proto == 6 && s.Lo <= 53 && s.Hi >= 53 }) {
			p.Action[v] = Limit // there is nobody to come to by TCP
		}
	case v == Amp:
		p.Action[v] = Drop
	case v == ICMP:
		p.Action[v], p.RatePerAddress[v] = Challenge, max(usual, usualOther)
	default:
		p.Action[v], p.RatePerAddress[v] = Limit, max(usual, usualOther)
	}
}

// say puts what the record says over what Dun would do.
func (p *Policy) say(s *shield.ScrubPolicySpec, when string, vectors []Vector) {
	if s == nil {
		return
	}
	for _, x := range s.Vectors {
		v, ok := traffic.Parse(x.Vector)
		if !ok || x.WhenInForce() != when || !slices.Contains(vectors, v) {
			continue
		}
		switch x.Action {
		case shield.ActionPass:
			p.Action[v] = Pass
		case shield.ActionDrop:
			p.Action[v] = Drop
		case shield.ActionLimit:
			p.Action[v], p.Rate[v], p.RatePerAddress[v] = Limit, uint64(x.Packets), uint64(x.PerAddress)
		case shield.ActionChallenge:
			p.arm(v, max(p.RatePerAddress[v], uint64(x.PerAddress)))
			p.Action[v] = Challenge
		}
	}
}

func servicesOf(spec *shield.ProtectedAddressSpec) []Service {
	var out []Service
	for _, s := range spec.Services {
		lo, hi, err := s.Range()
		if err != nil {
			continue // the kind has validated it
		}
		x := Service{Proto: 6, Lo: lo, Hi: hi}
		if s.Protocol == "udp" {
			x.Proto = 17
		}
		switch s.Form {
		case "dns":
			x.Form = DNSForm
		case "quic":
			x.Form = QUICForm
		}
		out = append(out, x)
	}
	return out
}
