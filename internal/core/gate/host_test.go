package gate_test

import (
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

func (c *cell) verb(t *testing.T, who identity.Actor, ref resource.Ref, verb string, input any) error {
	t.Helper()
	o, err := c.Get(t.Context(), operator, ref)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.do(who, gate.Change{Op: gate.Act, Ref: key(ref), Verb: verb, Input: input, Revision: o.Metadata.Revision})
	return err
}

func (c *cell) state(t *testing.T, ref resource.Ref) *edge.SiteState {
	t.Helper()
	o, err := c.Get(t.Context(), operator, ref)
	if err != nil {
		t.Fatal(err)
	}
	return o.State.(*edge.SiteState)
}

func TestAProofGoesWithItsHost(t *testing.T) {
	c := newCell(t)
	c.must(tenant("acme"))
	r := c.must(site("acme", "shop", "", "a.test, b.test"))
	sites := identity.Service(edge.SiteOwner)
	if err := c.verb(t, sites, r.Ref, "prove", edge.HostsInput{Hosts: []string{"a.test", "b.test"}, Method: "dns"}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, c.verb(t, operator, r.Ref, "prove", edge.HostsInput{Hosts: []string{"a.test"}, Method: "dns"}), fault.Conflict)
	wantField(t, c.verb(t, sites, r.Ref, "prove", edge.HostsInput{Hosts: []string{"c.test"}, Method: "dns"}), "input.hosts[0]")
	hosts := func(list ...any) {
		t.Helper()
		o, _ := c.Get(t.Context(), operator, r.Ref)
		if _, err := c.patch(operator, gate.Result{Ref: r.Ref, Object: o, Revision: o.Metadata.Revision}, map[string]any{"spec": map[string]any{"hosts": list}}); err != nil {
			t.Fatal(err)
		}
	}
	hosts("a.test", "c.test")
	hosts("a.test", "b.test", "c.test") // b.test was somebody else's in between, perhaps
	s := c.state(t, r.Ref)
	if !s.Proofs || len(s.Proven) != 1 || s.Proven[0].Host != "a.test" || s.Proven[0].Method != "dns" {
		t.Errorf("%+v", s)
	}
	c.reopen()
	if o, _ := c.Get(t.Context(), operator, r.Ref); len(edge.Unproven(o)) != 2 {
		t.Errorf("not served: %v", edge.Unproven(o))
	}
	if err := c.verb(t, operator, r.Ref, "vouch", edge.HostsInput{Hosts: []string{"b.test"}}); err != nil {
		t.Error(err)
	}
	wantCode(t, c.verb(t, sites, r.Ref, "vouch", edge.HostsInput{Hosts: []string{"c.test"}}), fault.Forbidden)
	if err := c.verb(t, operator, r.Ref, "check", nil); err != nil {
		t.Error(err)
	}
	wantCode(t, c.verb(t, operator, r.Ref, "check", nil), fault.Conflict) // just now
	if o, _ := c.Get(t.Context(), operator, r.Ref); o.State.(*edge.SiteState).Asked.IsZero() || len(edge.Unproven(o)) != 1 {
		t.Errorf("%+v", o.State)
	}
	c.check()
}

func TestAHostThatNobodyProvedIsFreeAgain(t *testing.T) {
	c := newCell(t)
	c.must(tenant("acme"), tenant("beta"))
	first := c.must(site("acme", "squat", "", "victim.test"))
	_, err := c.put(operator, site("beta", "real", "", "victim.test"))
	wantCode(t, err, fault.Conflict)
	sites := identity.Service(edge.SiteOwner)
	if err := c.verb(t, sites, first.Ref, "lapse", edge.HostsInput{Hosts: []string{"victim.test"}}); err != nil {
		t.Fatal(err)
	}
	_, err = c.put(operator, site("acme", "other", "", "victim.test"))
	wantCode(t, err, fault.Conflict) // within the tenant it is held
	real := c.must(site("beta", "real", "", "victim.test"))
	wantCode(t, c.verb(t, sites, first.Ref, "prove", edge.HostsInput{Hosts: []string{"victim.test"}, Method: "dns"}), fault.Conflict)
	if err := c.verb(t, sites, real.Ref, "prove", edge.HostsInput{Hosts: []string{"victim.test"}, Method: "dns"}); err != nil {
		t.Error(err)
	}
	c.reopen()
	wantCode(t, c.verb(t, sites, first.Ref, "prove", edge.HostsInput{Hosts: []string{"victim.test"}, Method: "dns"}), fault.Conflict)
	c.check()
}

func TestASiteFromBeforeProofsStaysServed(t *testing.T) {
	old := &resource.Object{Kind: "Site", Metadata: resource.Metadata{Tenant: "acme", Name: "shop", Updated: time.Unix(1, 0)}, Spec: &edge.SiteSpec{Hosts: []string{"a.test", "b.test"}}, State: new(edge.SiteState)}
	if u := edge.Unproven(old); len(u) != 0 {
		t.Errorf("not served: %v", u)
	}
	k := edge.Site()
	next := *old
	next.Spec = &edge.SiteSpec{Hosts: []string{"b.test", "c.test"}}
	next.State = k.Settle(old, &next)
	if u := edge.Unproven(&next); len(u) != 1 || u[0] != "c.test" {
		t.Errorf("not served: %v", u)
	}
	if s := next.State.(*edge.SiteState); s.Proven[0].Method != edge.ProvenEarlier || old.State.(*edge.SiteState).Proofs {
		t.Errorf("%+v %+v", s, old.State)
	}
}
