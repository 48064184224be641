package console

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/gate"
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

// TestARequestAboutUsersDataIsSeenWithoutThem: whoever may decide and not read
// is told so, in both languages; who may read the record sees the difference.
func TestARequestAboutUsersDataIsSeenWithoutThem(t *testing.T) {
	h := newHouse(t)
	h.put("kind: Tenant\nmetadata: {tenant: platform, name: acme}\nspec: {title: A}\n")
	h.put("kind: User\nmetadata: {tenant: acme, name: alice}\nspec: {}\n")
	h.put("kind: Policy\nmetadata: {tenant: acme, name: owner}\nspec: {cedar: 'permit (principal == User::\"acme/alice\", action, resource);'}\n")
	alice := resource.Ref{Kind: "User", Tenant: "acme", Name: "alice"}
	site := &resource.Object{Kind: "Site", Metadata: resource.Metadata{Tenant: "acme", Name: "shop", Labels: map[string]string{resource.LabelClass: "production-user", "askednote": "what-is-asked-for"}}, Spec: map[string]any{"hosts": []string{"a.test"}, "origins": []any{map[string]any{"url": "http://127.0.0.1:1"}}}}
	_, err := h.gate.Apply(t.Context(), gate.Request{Actor: by(alice), Ask: true, Reason: "the new shop", Changes: []gate.Change{{Op: gate.Put, Ref: site.Ref(), Object: site}}})
	w, ok := errors.AsType[*gate.Waiting](err)
	if !ok {
		t.Fatal(err)
	}
	at := "/records/changerequests/acme/" + w.Request.Name
	h.signIn(dayzero.Operator)
	for lang, words := range map[string]string{"en": "Withheld: you may not read every record", "zh": "内容已隐去:您无权查看该请求涉及的全部记录"} {
		_, page := h.call("GET", at, nil, "Accept-Language", lang)
		if !strings.Contains(page, words) || strings.Contains(page, "what-is-asked-for") || !strings.Contains(page, "the new shop") || !strings.Contains(page, at+"/do/approve") {
			t.Errorf("%s: %s", lang, page)
		}
	}
	ways := []string{at + "/history", at + "/proof", "/records/changerequests", "/records/changerequests?q=shop", "/search?q=what-is-asked-for", "/search?q=shop"}
	for _, path := range ways {
		if res, page := h.call("GET", path, nil); res.StatusCode != 200 || strings.Contains(page, "askednote") {
			t.Errorf("%s: %d %s", path, res.StatusCode, page)
		}
	}
	h.signIn(alice)
	if _, page := h.call("GET", at, nil); !strings.Contains(page, "what-is-asked-for") || strings.Contains(page, "Withheld") {
		t.Errorf("who reads the record: %s", page)
	}
}
