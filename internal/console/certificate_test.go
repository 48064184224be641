package console

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
	"github.com/dun-sec/dun/internal/govern/dayzero"
)

// A certificate and its key are given in one page; what is refused is told with
// all that was typed but for the key.
func TestACertificateIsUploadedWithItsKey(t *testing.T) {
	h := newHouse(t)
	h.signIn(dayzero.Operator)
	if res, _ := h.call("GET", "/certificates/new", nil); res.StatusCode != 404 {
		t.Errorf("no place for certificates, and a page: %d", res.StatusCode)
	}
	var got []string
	h.console.opt.UploadCertificate = func(_ context.Context, a identity.Actor, tenant, name, chain, key string) error {
		got = []string{a.Principal.Name, tenant, name, chain, key}
		if key == "k-secret\n" {
			return nil
		}
		return fault.Fields([]fault.Field{{Path: "key", Reason: text.T("the private key does not belong to it", "私钥不匹配")}})
	}
	for _, list := range []string{"/records/sites", "/records/certificates"} {
		if _, body := h.call("GET", list, nil); !strings.Contains(body, `href="/certificates/new"`) {
			t.Errorf("%s does not lead there", list)
		}
	}
	if res, body := h.call("GET", "/certificates/new?tenant=acme&name=shop", nil); res.StatusCode != 200 || !strings.Contains(body, `value="acme"`) || !strings.Contains(body, `value="shop"`) {
		t.Errorf("%d: the link of a record does not fill the form", res.StatusCode)
	}
	form := url.Values{"tenant": {"platform"}, "name": {"shop"}, "chain": {"c1\r\nc2\r\n"}, "key": {"k-wrong\r\n"}}
	res, body := h.call("POST", "/certificates/new", form)
	if res.StatusCode != 400 || !strings.Contains(body, "does not belong") || !strings.Contains(body, "c1\nc2") || strings.Contains(body, "k-wrong") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if _, body := h.call("POST", "/certificates/new", form, "Accept-Language", "zh"); !strings.Contains(body, "私钥不匹配") {
		t.Error("not told in Chinese")
	}
	form.Set("key", "k-secret\r\n")
	res, _ = h.call("POST", "/certificates/new", form)
	if res.StatusCode != 303 || res.Header.Get("Location") != "/records/certificates/platform/shop?done=saved" || strings.Join(got, "|") != dayzero.Operator.Name+"|platform|shop|c1\nc2\n|k-secret\n" {
		t.Errorf("%d %s %q", res.StatusCode, res.Header.Get("Location"), got)
	}
}

// The first page names what has expired.
func TestTheFirstPageNamesAnExpiredCertificate(t *testing.T) {
	h := newHouse(t)
	h.signIn(dayzero.Operator)
	if _, body := h.call("GET", "/", nil); strings.Contains(body, "tile-title\"><a href=\"/records/certificates") {
		t.Error("a tile of nothing")
	}
	k, err := h.gate.Registry().Kind("Certificate")
	if err != nil {
		t.Fatal(err)
	}
	docs, err := resource.ParseYAML([]byte(k.Example))
	if err != nil {
		t.Fatal(err)
	}
	ref := resource.Ref{Kind: "Certificate", Tenant: "platform", Name: "shop"}
	if _, err := h.gate.Apply(t.Context(), gate.Request{Actor: identity.Actor{Principal: dayzero.Operator}, Changes: []gate.Change{{Op: gate.Put, Ref: ref, Document: docs[0]}}}); err != nil {
		t.Fatal(err)
	}
	for condition, want := range map[string]string{"expired": "expired: platform/shop", "expiring": "end soon: platform/shop", "half": "without a key: platform/shop", "ready": "all hold"} {
		if _, err := h.gate.SetStatus(t.Context(), identity.Service("certificates"), ref, map[string]any{"condition": condition, "serving": true}); err != nil {
			t.Fatal(err)
		}
		if _, body := h.call("GET", "/", nil); !strings.Contains(body, want) || strings.Contains(body, `class="tile bad"`) != (condition == "expired") {
			t.Errorf("%s: not told as %q", condition, want)
		}
	}
}

// State and status carry the labels of their kind, as the spec does.
func TestStateAndStatusAreLabelledInBothLanguages(t *testing.T) {
	h := newHouse(t)
	k, err := h.gate.Registry().Kind("Certificate")
	if err != nil {
		t.Fatal(err)
	}
	docs, err := resource.ParseYAML([]byte(k.Example))
	if err != nil {
		t.Fatal(err)
	}
	o, _, err := h.gate.Registry().Decode(docs[0])
	if err != nil {
		t.Fatal(err)
	}
	if o.Status, err = k.LoadStatus([]byte(`{"condition": "ready", "serving": true, "issuer": "CN=a"}`)); err != nil {
		t.Fatal(err)
	}
	rows, err := fieldsOf(k, o)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, r := range rows {
		if strings.HasPrefix(r.path, "status.") {
			seen++
			if r.label.Zh == "" || r.label.En == strings.TrimPrefix(r.path, "status.") {
				t.Errorf("%s: %+v", r.path, r.label)
			}
		}
	}
	if seen < 3 {
		t.Errorf("%d fields of the status", seen)
	}
}
