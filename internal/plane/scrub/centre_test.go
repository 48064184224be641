package scrub

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/core/verdicts"
	"github.com/dun-sec/dun/internal/kinds/shield"
	"github.com/dun-sec/dun/internal/kinds/system"
)

func object(kind, tenant, name string, spec any) *resource.Object {
	return &resource.Object{Kind: kind, Metadata: resource.Metadata{Tenant: tenant, Name: name}, Spec: spec}
}

// centre is one with records, before it publishes.
func (b *bench) centre(v *verdicts.Set, records ...*resource.Object) *Centre {
	b.t.Helper()
	table, err := Take(b.i.Hand)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := table.Close(); err != nil {
			b.t.Error(err)
		}
	})
	c := NewCentre(CentreOptions{Name: "n1", Table: table, Verdicts: v})
	batch := resource.Batch{Synced: true}
	for _, o := range records {
		batch.Changes = append(batch.Changes, resource.Change{Ref: o.Ref(), Object: o})
	}
	c.take(batch)
	c.synced.Store(true)
	return c
}

func (b *bench) put(c *Centre) *plan {
	b.t.Helper()
	if err := c.publish(); err != nil {
		b.t.Fatal(err)
	}
	return c.plan
}

// TestWhoMayProtect: a tenant protects what is its own, and nothing else; who
// comes first is no matter of names.
func TestWhoMayProtect(t *testing.T) {
	b := newBench(t)
	p := b.put(b.centre(nil,
		object("Tenant", "platform", "acme", &system.TenantSpec{Addresses: []string{"198.51.100.0/28"}}),
		object("Tenant", "platform", "zeta", &system.TenantSpec{}),
		object("ProtectedAddress", "acme", "own", &shield.ProtectedAddressSpec{Prefix: "198.51.100.7"}),
		object("ProtectedAddress", "acme", "wide", &shield.ProtectedAddressSpec{Prefix: "198.51.100.0/24"}),
		object("ProtectedAddress", "acme", "taken", &shield.ProtectedAddressSpec{Prefix: "198.51.100.8"}),
		object("ProtectedAddress", "zeta", "others", &shield.ProtectedAddressSpec{Prefix: "198.51.100.7"}),
		object("ProtectedAddress", "nobody", "gone", &shield.ProtectedAddressSpec{Prefix: "198.51.100.9"}),
		object("ProtectedAddress", "platform", "zz", &shield.ProtectedAddressSpec{Prefix: "198.51.100.8"}),
	))
	var names []string
	for _, ref := range p.of {
		names = append(names, ref.Tenant+"/"+ref.Name)
	}
	if !reflect.DeepEqual(names, []string{"platform/zz", "acme/own"}) || len(p.refused) != 4 {
		t.Fatal(names, p.refused)
	}
	if p.policies[0].Scope != 0 || p.policies[1].Scope == 0 {
		t.Fatal("the tenant's number is not its own")
	}
}

// TestWhatIsDone: what a record says stands over what Dun would do, and only
// when it says so.
func TestWhatIsDone(t *testing.T) {
	b := newBench(t)
	ref := resource.Ref{Kind: "ProtectedAddress", Tenant: "platform", Name: "shop"}
	spec := &shield.ProtectedAddressSpec{Prefix: "198.51.100.7", Policy: "p", Services: []shield.Service{{Protocol: "tcp", Ports: "443"}}}
	policy := &shield.ScrubPolicySpec{
		Vectors: []shield.VectorPolicy{
			{Vector: "icmp", When: shield.WhenAlways, Action: shield.ActionLimit, PerAddress: 50},
			{Vector: "udp", Action: shield.ActionDrop},
			{Vector: "amp", Action: shield.ActionPass},
		},
		Outbound: []shield.OutLimit{{Vector: "syn", Packets: 100}},
	}
	c := b.centre(nil, object("ProtectedAddress", "platform", "shop", spec), object("ScrubPolicy", "platform", "p", policy))
	quiet := b.put(c).policies[0]
	if quiet.Action[UDP] != Pass || quiet.Action[SYN] != Pass || quiet.Action[ICMP] != Limit || quiet.RatePerAddress[ICMP] != 50 || quiet.RateOut[SYN] != 100 || quiet.Strict {
		t.Fatalf("%+v", quiet)
	}
	order := traffic.Order{Of: ref, Attack: "a", Vectors: []Vector{SYN, UDP, Amp}, For: time.Minute}
	if !c.Obey(order) {
		t.Fatal("no room")
	}
	armed := b.put(c).policies[0]
	if armed.Action[SYN] != Challenge || armed.Action[RST] != Challenge || armed.Action[UDP] != Drop || armed.Action[Amp] != Pass || !armed.Strict {
		t.Fatalf("%+v", armed)
	}
	spec.Mode = shield.ModeMonitor
	if p := b.put(c).policies[0]; !p.Monitor {
		t.Fatal("a monitored address would be scrubbed")
	}
	spec.Mode = shield.ModeOff
	if p := b.put(c).policies[0]; !p.Monitor || p.Action[SYN] != Pass {
		t.Fatalf("%+v", p)
	}
	spec.Mode = ""
	order.For = 0
	c.Obey(order)
	if p := b.put(c).policies[0]; p.Action[SYN] != Pass || p.Strict {
		t.Fatalf("%+v", p)
	}
}

// TestARestartUnderAttack: what was ordered, ruled and denied before a restart
// is in force after it, ends by itself, and is not more than it was.
func TestARestartUnderAttack(t *testing.T) {
	b := newBench(t)
	verdictsOf := func() *verdicts.Set { return verdicts.New(verdicts.Options{}) }
	spec := &shield.ProtectedAddressSpec{Prefix: "198.51.100.7", Policy: "p", Services: []shield.Service{{Protocol: "tcp", Ports: "443"}}}
	records := []*resource.Object{
		object("ProtectedAddress", "platform", "before", &shield.ProtectedAddressSpec{Prefix: "198.51.100.6"}),
		object("ProtectedAddress", "platform", "shop", spec),
		object("ScrubPolicy", "platform", "p", &shield.ScrubPolicySpec{Vectors: []shield.VectorPolicy{{Vector: "icmp", When: shield.WhenAlways, Action: shield.ActionLimit, PerAddress: 50}}}),
	}
	v := verdictsOf()
	if err := v.Put(verdicts.Verdict{Kind: banKind, Key: "9.9.9.9", Rule: "r", Node: "n1", Until: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	first := b.centre(v, records...)
	ref := resource.Ref{Kind: "ProtectedAddress", Tenant: "platform", Name: "shop"}
	first.Obey(traffic.Order{Of: ref, Vectors: []Vector{SYN, UDP}, For: time.Minute, Limits: [Vectors]uint64{UDP: 3000}, Fingerprints: []traffic.Fingerprint{
		{Vector: UDP, Length: &traffic.Range[uint16]{From: 100, To: 200}, TTL: &traffic.Range[uint8]{From: 3, To: 9}, Payload: []byte("attack"), Source: netip.MustParsePrefix("9.0.0.0/8")},
	}})
	before := b.put(first).policies[1]
	first.deny()

	// The first address went meanwhile: the second one's slot is still its own.
	second := b.centre(verdictsOf(), records[1:]...)
	after := b.put(second).policies[0]
	second.deny()
	if after.Action != before.Action || after.Slot != before.Slot || after.Strict != before.Strict || after.StrictAfter > before.StrictAfter {
		t.Errorf("\n%+v\n%+v", before, after)
	}
	if after.RatePerAddress[UDP] != 3000 || after.RatePerAddress[ICMP] != 50 {
		t.Error(after.RatePerAddress)
	}
	if len(after.Rules) != 1 || after.Rules[0].Source != netip.MustParsePrefix("9.0.0.0/8") || *after.Rules[0].TTL != *before.Rules[0].TTL || string(after.Rules[0].Payload[:6]) != "attack" {
		t.Errorf("%+v", after.Rules)
	}
	if len(second.opt.Table.denied) != 1 {
		t.Error("who was denied is let in by a restart", second.opt.Table.denied)
	}
	o := second.orders[ordered{of: ref}]
	if o == nil || o.until > Monotonic()+inheritOrders || len(o.Vectors) != 5 { // TCP's four, udp: not icmp, which the record says
		t.Fatalf("%+v", o)
	}
	o.until = 0
	second.expire()
	if p := b.put(second).policies[0]; p.Action[SYN] != Pass || p.Strict || p.Action[ICMP] != Limit {
		t.Errorf("the order does not end: %+v", p)
	}
	third := b.centre(verdictsOf(), records[1:]...)
	if b.put(third); len(third.orders) != 0 {
		t.Errorf("an order comes of nothing: %+v", third.orders)
	}
}
