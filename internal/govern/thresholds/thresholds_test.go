package thresholds

import (
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/kinds/shield"
	"github.com/dun-sec/dun/internal/lab"
)

var (
	operator = identity.Actor{Principal: dayzero.Operator, Door: "test"}
	shop     = resource.Ref{Kind: "ProtectedAddress", Tenant: "platform", Name: "shop"}
)

func act(g *gate.Gate, t *testing.T, verb string, input any) error {
	t.Helper()
	o, err := g.Get(t.Context(), operator, shop)
	if err != nil {
		t.Fatal(err)
	}
	_, err = g.Apply(t.Context(), gate.Request{Actor: operator, Reason: "test", Changes: []gate.Change{{Op: gate.Act, Ref: shop, Verb: verb, Input: input, Revision: o.Metadata.Revision}}})
	return err
}

// TestADraftIsReviewed goes from what was learned, over the status and a person's
// word, to the thresholds that the detection centre is told.
func TestADraftIsReviewed(t *testing.T) {
	g := lab.Gate(t, lab.Kinds(t))
	if err := dayzero.Run(t.Context(), g, "test"); err != nil {
		t.Fatal(err)
	}
	put := func(prefix string, revision uint64) {
		_, err := g.Apply(t.Context(), gate.Request{Actor: operator, Reason: "test", Changes: []gate.Change{{Op: gate.Put, Ref: shop, Revision: revision, Object: &resource.Object{
			Kind: "ProtectedAddress", Metadata: resource.Metadata{Tenant: "platform", Name: "shop"}, Spec: &shield.ProtectedAddressSpec{Prefix: prefix},
		}}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	put("198.51.100.7", 0)
	learned := map[resource.Ref]traffic.Learned{}
	opt := Options{Gate: g, Learned: func() map[resource.Ref]traffic.Learned { return learned }}
	report := func(hours int, usual float64) *resource.Object {
		t.Helper()
		learned[shop] = traffic.Learned{Hours: hours, Vectors: []traffic.Usual{
			{Vector: traffic.SYN, P95: usual, Draft: max(1000, 5*usual), InForce: max(1000, 5*usual), Source: traffic.SourceLearned},
			{Vector: traffic.UDP, P95: 1, Draft: 5000, InForce: 777, Source: traffic.SourceSpec},
		}}
		if err := opt.report(t.Context()); err != nil {
			t.Fatal(err)
		}
		o, err := g.Get(t.Context(), operator, shop)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	report(0, 0)
	if err := act(g, t, "review", nil); !fault.Is(err, fault.Conflict) {
		t.Errorf("nothing was watched: %v", err)
	}
	o := report(30, 1234)
	st := o.Status.(*shield.ProtectedAddressStatus)
	if st.Hours != 30 || len(st.Thresholds) != 2 || st.Thresholds[0] != (shield.LearnedThreshold{Vector: "syn", Usual: 1300, Draft: 6200, InForce: 6200, Source: "learned"}) || st.Thresholds[1].InForce != 777 {
		t.Errorf("%+v", st)
	}
	at := o.Metadata.StatusRevision
	if o = report(30, 1300); o.Metadata.StatusRevision != at {
		t.Errorf("a twentieth more was reported: %+v", o.Status)
	}
	if err := act(g, t, "review", nil); err != nil {
		t.Fatal(err)
	}
	o, _ = g.Get(t.Context(), operator, shop)
	s := o.State.(*shield.ProtectedAddressState)
	if s.Reviewed == nil || len(s.Thresholds()) != 2 || s.Thresholds()[0] != (shield.Threshold{Vector: "syn", Packets: 6200}) || s.Reviewed.By != dayzero.Operator.String() {
		t.Errorf("%+v", s.Reviewed)
	}
	twice := []shield.Threshold{{Vector: "syn", Packets: 1}, {Vector: "syn", Packets: 2}}
	if err := act(g, t, "review", &shield.ReviewInput{Thresholds: twice}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a vector twice: %v", err)
	}
	if err := act(g, t, "review", &shield.ReviewInput{Thresholds: twice[:1]}); err != nil {
		t.Error(err)
	}
	if err := act(g, t, "unreview", nil); err != nil {
		t.Error(err)
	}
	if err := act(g, t, "unreview", nil); !fault.Is(err, fault.Conflict) {
		t.Errorf("nothing was taken over: %v", err)
	}
	// What was taken over of one network is not that of another.
	if err := act(g, t, "review", nil); err != nil {
		t.Fatal(err)
	}
	o, _ = g.Get(t.Context(), operator, shop)
	put("198.51.100.8", o.Metadata.Revision)
	if o, _ = g.Get(t.Context(), operator, shop); o.State.(*shield.ProtectedAddressState).Reviewed != nil {
		t.Error("another network has the thresholds of the old one")
	}
	if _, err := g.SetStatus(t.Context(), operator, shop, &shield.ProtectedAddressStatus{}); !fault.Is(err, fault.Forbidden) {
		t.Errorf("an operator reports: %v", err)
	}
}
