package console

import (
	"net/url"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/kinds/access"
)

func by(who resource.Ref) identity.Actor { return identity.Actor{Principal: who} }

// TestAChangeThatWaitsIsReadAndDecidedOnItsPage asks as one founder, and
// decides as the other.
func TestAChangeThatWaitsIsReadAndDecidedOnItsPage(t *testing.T) {
	h := newHouse(t)
	h.put("kind: Role\nmetadata: {tenant: platform, name: watch}\nspec: {description: watches by day}\n")
	ann, err := dayzero.Found(t.Context(), h.gate, "ann")
	if err != nil {
		t.Fatal(err)
	}
	h.signIn(dayzero.Operator)
	o, err := h.gate.Get(t.Context(), by(dayzero.Operator), resource.Ref{Kind: "Role", Tenant: "platform", Name: "watch"})
	if err != nil {
		t.Fatal(err)
	}
	res, body := h.call("POST", "/records/roles/platform/watch/edit", url.Values{
		"revision": {number(o.Metadata.Revision)}, "reason": {"the nights, too"}, "do": {"save"},
		"yaml": {"kind: Role\nmetadata: {tenant: platform, name: watch}\nspec: {description: watches by night}\n"},
	})
	at := res.Header.Get("Location")
	if res.StatusCode != 303 || !strings.HasPrefix(at, "/records/changerequests/platform/cr-") {
		t.Fatalf("%d %s %s", res.StatusCode, at, body)
	}
	h.signIn(ann)
	_, page := h.call("GET", at, nil)
	for _, want := range []string{"watches by day", "watches by night", "the nights, too", at + "/do/approve", at + "/do/deny"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not on the page: %s", want, page)
		}
	}
	if strings.Contains(page, "&#34;description&#34;") {
		t.Error("the page shows what was asked for as JSON")
	}
	cr, err := h.gate.Get(t.Context(), by(ann), resource.Ref{Kind: "ChangeRequest", Tenant: "platform", Name: strings.TrimPrefix(at, "/records/changerequests/platform/")})
	if err != nil {
		t.Fatal(err)
	}
	res, body = h.call("POST", at+"/do/approve", url.Values{"revision": {number(cr.Metadata.Revision)}, "input.reason": {"good"}, "do": {"save"}})
	if res.StatusCode != 303 {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	cr, err = h.gate.Get(t.Context(), by(ann), cr.Ref())
	if err != nil {
		t.Fatal(err)
	}
	if s := cr.State.(*access.ChangeRequestState); s.Phase != access.PhaseApproved || s.Votes[0].Reason != "good" {
		t.Errorf("%+v", s)
	}
}
