package approvals_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/kinds/access"
)

func asset(name, class, more string) string {
	label := ""
	if class != "" {
		label = ", labels: {dun.dev/class: " + class + "}"
	}
	return "kind: DataAsset\nmetadata: {tenant: platform, name: " + name + label + "}\nspec: {form: content, what: file, owner: o, ownerType: company, region: cn" + more + "}\n"
}

// TestLoweringAClassWaits: by no way is something of a lower class than before
// by one person; raising needs nobody.
func TestLoweringAClassWaits(t *testing.T) {
	c := start(t)
	say := func(a identity.Actor, yaml string) error {
		t.Helper()
		o := object(t, yaml)
		ch := gate.Change{Op: gate.Put, Ref: o.Ref(), Object: o}
		if old, err := c.Get(t.Context(), op, o.Ref()); err == nil {
			ch.Revision = old.Metadata.Revision
		}
		_, err := c.Apply(t.Context(), gate.Request{Actor: a, Changes: []gate.Change{ch}})
		return err
	}
	waits := func(yaml string) {
		t.Helper()
		if _, ok := errors.AsType[*gate.Waiting](say(op, yaml)); !ok {
			t.Errorf("is done by one person: %s", yaml)
		}
	}
	done := func(yaml string) {
		t.Helper()
		if err := say(op, yaml); err != nil {
			t.Errorf("%v: %s", err, yaml)
		}
	}
	site := func(class string) string {
		return "kind: Site\nmetadata: {tenant: platform, name: s, labels: {dun.dev/class: " + class + "}}\nspec: {hosts: [a.test], origins: [{url: 'http://127.0.0.1:1'}]}\n"
	}
	const classes = "kind: DataClass\nmetadata: {tenant: platform, name: mine}\nspec: {title: M, level: "
	// While founding it is carried out.
	for _, y := range []string{classes + "3, handling: [read]}\n", asset("low", "public", ""), asset("mid", "internal", ""), site("test"), asset("box", "", "")} {
		done(y)
	}
	if _, err := dayzero.Found(t.Context(), c.Gate, "ann"); err != nil {
		t.Fatal(err)
	}
	waits(asset("new", "public", "")) // absent = highest, so this begins lower
	waits(asset("mid", "public", "")) // the label itself
	waits(site("public"))             // of any kind
	done(asset("made", "", ", sources: [low]"))
	waits(asset("made", "public", ", sources: [low]"))
	waits(asset("box", "", ", container: low")) // by moving it
	done(asset("low", "internal", ""))          // raising
	done(site("production-user"))
	waits(classes + "2, handling: [read]}\n")
	waits(classes + "3, handling: [read, share]}\n")
	// Away and back is no way around.
	o, err := c.Get(t.Context(), op, resource.Ref{Kind: "DataAsset", Tenant: "platform", Name: "mid"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Apply(t.Context(), gate.Request{Actor: op, Changes: []gate.Change{{Op: gate.Delete, Ref: o.Ref(), Revision: o.Metadata.Revision}}}); err != nil {
		t.Fatal(err)
	}
	waits(asset("mid", "internal", ""))
	// Without the rules of the release, too; and a service has nobody to ask.
	if err := say(identity.Service("sites"), site("public")); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a service: %v", err)
	}
}

// TestAChecksOwnSiteMayBeginLow: in the canary's tenant, and nowhere else, and
// never what is there already.
func TestAChecksOwnSiteMayBeginLow(t *testing.T) {
	c := start(t, "ann")
	posture := identity.Service(gate.Posture)
	say := func(tenant, class string, rev uint64) (uint64, error) {
		o := object(t, "kind: Site\nmetadata: {tenant: "+tenant+", name: s, labels: {dun.dev/class: "+class+"}}\nspec: {hosts: [a."+tenant+".invalid], origins: [{url: 'http://192.0.2.1'}]}\n")
		out, err := c.Apply(t.Context(), gate.Request{Actor: posture, Changes: []gate.Change{{Op: gate.Put, Ref: o.Ref(), Object: o, Revision: rev}}})
		if err != nil {
			return 0, err
		}
		return out[0].Revision, nil
	}
	o := object(t, "kind: Tenant\nmetadata: {tenant: platform, name: dun-canary}\nspec: {}\n")
	if _, err := c.Apply(t.Context(), gate.Request{Actor: posture, Changes: []gate.Change{{Op: gate.Put, Ref: o.Ref(), Object: o}}}); err != nil {
		t.Fatal(err)
	}
	rev, err := say("dun-canary", "internal", 0)
	if err != nil {
		t.Error(err)
	}
	if _, err := say("dun-canary", "public", rev); !fault.Is(err, fault.Forbidden) {
		t.Errorf("what is there already: %v", err)
	}
	if _, err := say("platform", "public", 0); err == nil {
		t.Error("in another tenant")
	}
}

func TestALegalHoldIsPlacedByOneAndLiftedByTwo(t *testing.T) {
	c := start(t, "ann")
	o := object(t, "kind: LegalHold\nmetadata: {tenant: platform, name: h}\nspec: {matter: m, law: CSL-28, kinds: [Site]}\n")
	out, err := c.Apply(t.Context(), gate.Request{Actor: op, Changes: []gate.Change{{Op: gate.Put, Ref: o.Ref(), Object: o}}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Apply(t.Context(), gate.Request{Actor: op, Changes: []gate.Change{{Op: gate.Act, Ref: out[0].Ref, Verb: "lift", Revision: out[0].Revision, Input: map[string]any{"reason": "r"}}}})
	if _, ok := errors.AsType[*gate.Waiting](err); !ok {
		t.Errorf("lifted by one: %v", err)
	}
}

// TestAShareOfWhatNeedsAssentWaits: production data are shared by two.
func TestAShareOfWhatNeedsAssentWaits(t *testing.T) {
	c := start(t, "ann")
	put := func(yaml string) error {
		o := object(t, yaml)
		_, err := c.Apply(t.Context(), gate.Request{Actor: op, Changes: []gate.Change{{Op: gate.Put, Ref: o.Ref(), Object: o}}})
		return err
	}
	for _, y := range []string{
		"kind: DataType\nmetadata: {tenant: platform, name: t}\nspec: {title: T, processing: [share], regions: [cn], adminRegions: [cn], purposes: [serve], thirdParties: [carrier]}\n",
		asset("a", "", ", type: t"),
	} {
		if err := put(y); err != nil && !fault.Is(err, fault.Conflict) {
			if _, waits := errors.AsType[*gate.Waiting](err); !waits {
				t.Fatal(err)
			}
			t.Fatalf("waits: %s", y)
		}
	}
	err := put("kind: ThirdPartyDuty\nmetadata: {tenant: platform, name: d}\nspec: {asset: a, recipient: carrier, purpose: serve, duty: d, ends: 2027-01-01T00:00:00Z}\n")
	if _, ok := errors.AsType[*gate.Waiting](err); !ok {
		t.Errorf("shared by one: %v", err)
	}
}

// TestWhoAsksDoesNotChooseTheCost: what is seen at a glance is refused at once;
// the rest is looked at when it was approved.
func TestWhoAsksDoesNotChooseTheCost(t *testing.T) {
	c := start(t)
	c.does(op, asset("box", "internal", ""))
	var changes []gate.Change
	for i := range 1000 {
		o := object(t, asset(fmt.Sprintf("in-%04d", i), "", ", container: box"))
		if changes = append(changes, gate.Change{Op: gate.Put, Ref: o.Ref(), Object: o}); len(changes) == gate.MaxChanges {
			if _, err := c.Apply(t.Context(), gate.Request{Actor: op, Changes: changes}); err != nil {
				t.Fatal(err)
			}
			changes = nil
		}
	}
	c.does(op, asset("last", "internal", ", container: box"))
	if _, err := dayzero.Found(t.Context(), c.Gate, "ann"); err != nil {
		t.Fatal(err)
	}
	x := c.asks(op, asset("box", "public", ""))
	if err := c.approve(ann, x); err != nil {
		t.Fatal(err)
	}
	c.run()
	if o, err := c.Get(t.Context(), op, ref(x)); err != nil || o.State.(*access.ChangeRequestState).Phase != access.PhaseFailed {
		t.Errorf("%+v, %v", o.State, err)
	}
	c.does(op, asset("first", "internal", ", container: box"))
	if _, err := c.put(op, asset("box", "public", "")); !fault.Is(err, fault.Conflict) {
		t.Errorf("what is seen at a glance: %v", err)
	}
}

// TestNobodyAssentsToAContainerBelowWhatLiesInIt: it is refused before anybody is
// asked, and what was approved while the container was empty fails once it is not.
func TestNobodyAssentsToAContainerBelowWhatLiesInIt(t *testing.T) {
	c := start(t)
	c.does(op, asset("box", "internal", ""))
	c.does(op, asset("in", "internal", ""))
	if _, err := dayzero.Found(t.Context(), c.Gate, "ann"); err != nil {
		t.Fatal(err)
	}
	x := c.asks(op, asset("box", "public", ""))
	c.does(op, asset("in", "internal", ", container: box"))
	if _, err := c.put(op, asset("box", "test", "")); !fault.Is(err, fault.Conflict) {
		t.Errorf("with what lies in it: %v", err)
	}
	if err := c.approve(ann, x); err != nil {
		t.Fatal(err)
	}
	c.run()
	box, err := c.Get(t.Context(), op, resource.Ref{Kind: "DataAsset", Tenant: "platform", Name: "box"})
	if err != nil || box.Metadata.Labels[resource.LabelClass] != "internal" {
		t.Errorf("it was lowered all the same: %v, %v", box, err)
	}
	if o, err := c.Get(t.Context(), op, ref(x)); err != nil || o.State.(*access.ChangeRequestState).Phase != access.PhaseFailed {
		t.Errorf("%+v, %v", o.State, err)
	}
}
