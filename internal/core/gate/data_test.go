package gate_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
)

func asset(name, class, spec string) string {
	label := ""
	if class != "" {
		label = ", labels: {dun.dev/class: " + class + "}"
	}
	return "kind: DataAsset\nmetadata: {tenant: platform, name: " + name + label + "}\nspec: {form: content, what: file, owner: o, ownerType: company, region: cn, " + spec + "}\n"
}

const dataType = "kind: DataType\nmetadata: {tenant: platform, name: t}\nspec: {title: T, class: public, processing: [read, share], regions: [cn], adminRegions: [cn], purposes: [serve], thirdParties: [carrier], retentionMin: 10d, laws: [{name: TAX-147}]}\n"

func duty(name, of, who, ends string) string {
	return "kind: ThirdPartyDuty\nmetadata: {tenant: platform, name: " + name + "}\nspec: {asset: " + of + ", recipient: " + who + ", purpose: serve, duty: d, ends: " + ends + "}\n"
}

func TestALineOfDescentDoesNotComeBack(t *testing.T) {
	c := newCell(t)
	c.must(asset("a", "", ""), asset("b", "", "container: a"), asset("c", "", "sources: [b]"))
	wrong := func(err error, path, way string) {
		t.Helper()
		wantField(t, err, path)
		if err == nil || !strings.Contains(err.Error()+fault.Of(err).Fields[0].Reason.En, way) {
			t.Errorf("%q is missing in %v", way, err)
		}
	}
	a, err := c.Get(t.Context(), operator, resource.Ref{Kind: "DataAsset", Tenant: "platform", Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	r := gate.Result{Ref: a.Ref(), Revision: a.Metadata.Revision}
	_, err = c.patch(operator, r, map[string]any{"spec": map[string]any{"sources": []any{"c"}}})
	wrong(err, "spec.sources[0]", "a > c > b > a")
	_, err = c.patch(operator, r, map[string]any{"spec": map[string]any{"container": "a"}})
	wrong(err, "spec.container", "a > a")
	_, err = c.do(operator, c.change(asset("x", "", "container: y")), c.change(asset("y", "", "container: x")))
	wrong(err, "changes[0].spec.container", "x > y > x")
	c.must("kind: DataClass\nmetadata: {tenant: platform, name: p}\nspec: {title: P, level: 2}\n", "kind: DataClass\nmetadata: {tenant: platform, name: q}\nspec: {title: Q, level: 2, parent: p}\n")
	p, err := c.Get(t.Context(), operator, resource.Ref{Kind: "DataClass", Tenant: "platform", Name: "p"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.patch(operator, gate.Result{Ref: p.Ref(), Revision: p.Metadata.Revision}, map[string]any{"spec": map[string]any{"parent": "q"}})
	wrong(err, "spec.parent", "p > q > p")
}

func TestAClassThatIsNotThereIsNoLabel(t *testing.T) {
	c := newCell(t)
	_, err := c.put(operator, site("platform", "s", "labels: {dun.dev/class: nowhere}", "a.test"))
	wantField(t, err, "metadata.labels.dun.dev/class")
	c.must("kind: DataClass\nmetadata: {tenant: platform, name: mine}\nspec: {title: M, level: 2}\n")
	last := c.must(site("platform", "s", "labels: {dun.dev/class: mine}", "a.test"))
	m, err := c.Get(t.Context(), operator, resource.Ref{Kind: "DataClass", Tenant: "platform", Name: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, c.remove(operator, gate.Result{Ref: m.Ref(), Revision: m.Metadata.Revision}), fault.Conflict)
	if err := c.remove(operator, last); err != nil {
		t.Fatal(err)
	}
	if err := c.remove(operator, gate.Result{Ref: m.Ref(), Revision: m.Metadata.Revision}); err != nil {
		t.Error(err)
	}
}

func TestDataAreNotPutWhereTheyMayNotBe(t *testing.T) {
	c := newCell(t)
	c.must(dataType, asset("ok", "public", "type: t"), asset("box", "internal", ""))
	_, err := c.put(operator, strings.Replace(asset("abroad", "public", "type: t"), "region: cn", "region: us", 1))
	wantCode(t, err, fault.Forbidden)
	_, err = c.put(operator, asset("into", "production-user", "container: box"))
	wantCode(t, err, fault.Forbidden)
	c.must(asset("in", "public", "container: box"))
	share := func(name, who, purpose string) error {
		_, err := c.put(operator, "kind: ThirdPartyDuty\nmetadata: {tenant: platform, name: "+name+"}\nspec: {asset: ok, recipient: "+who+", purpose: "+purpose+", duty: d, ends: 2027-01-01T00:00:00Z}\n")
		return err
	}
	wantCode(t, share("d1", "bank", "serve"), fault.Forbidden)
	wantCode(t, share("d2", "carrier", "fun"), fault.Forbidden)
	if err := share("d3", "carrier", "serve"); err != nil {
		t.Error(err)
	}
}

func TestHandle(t *testing.T) {
	c := newCell(t, func(c *cell) { c.denials = true })
	c.must(dataType, asset("a", "public", "type: t"), duty("d", "a", "carrier", "2027-01-01T00:00:00Z"))
	ref := resource.Ref{Kind: "DataAsset", Tenant: "platform", Name: "a"}
	use := gate.Use{Purpose: "serve", Region: "cn", Recipient: "carrier"}
	if err := c.Handle(operator, ref, "share", use); err != nil {
		t.Error(err)
	}
	wantCode(t, c.Handle(operator, ref, "export", use), fault.Forbidden)
	wantCode(t, c.Handle(operator, ref, "burn", use), fault.Invalid)
	wantCode(t, c.Handle(user("platform", "nobody"), ref, "share", use), fault.NotFound)
	// The same caller, the moment the level changes (control 1-5).
	o, err := c.Get(t.Context(), operator, ref)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.patch(operator, gate.Result{Ref: o.Ref(), Revision: o.Metadata.Revision}, map[string]any{"metadata": map[string]any{"labels": map[string]any{"dun.dev/class": "production"}}}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, c.Handle(operator, ref, "share", use), fault.Forbidden)
	if err := c.Handle(operator, ref, "read", use); err != nil {
		t.Error(err)
	}
}

// TestAShareNeedsADutyThatIsInForce: policy permits each of these.
func TestAShareNeedsADutyThatIsInForce(t *testing.T) {
	c := newCell(t, func(c *cell) { c.denials = true })
	c.must(strings.Replace(strings.Replace(dataType, "[serve]", "[serve, fun]", 1), "[carrier]", "[carrier, bank]", 1), asset("a", "public", "type: t"), asset("b", "public", "type: t, container: a"))
	a, b := resource.Ref{Kind: "DataAsset", Tenant: "platform", Name: "a"}, resource.Ref{Kind: "DataAsset", Tenant: "platform", Name: "b"}
	use := gate.Use{Purpose: "serve", Region: "cn", Recipient: "carrier"}
	denials := 0
	refused := func(ref resource.Ref, use gate.Use, why string) {
		t.Helper()
		denials++
		err := c.Handle(operator, ref, "share", use)
		wantCode(t, err, fault.Forbidden)
		if e := fault.Of(err); err == nil || !strings.Contains(e.Detail.En, why) || e.Detail.Zh == "" {
			t.Errorf("%v, want %q", err, why)
		}
	}
	refused(a, use, "no ThirdPartyDuty")
	c.must(duty("past", "a", "carrier", "2026-11-01T11:59:59Z"), duty("other", "a", "bank", "2026-12-01T00:00:00Z"))
	refused(a, use, "ended at 2026-11-01T11:59:59Z")
	last := c.must(duty("d", "a", "carrier", "2026-11-02T12:00:00Z"))
	if err := c.Handle(operator, a, "share", use); err != nil {
		t.Error(err)
	}
	if err := c.Handle(operator, last.Ref, "share", use); err != nil {
		t.Errorf("asked about the share itself: %v", err)
	}
	refused(a, gate.Use{Purpose: "fun", Region: "cn", Recipient: "carrier"}, "no ThirdPartyDuty")
	refused(b, use, "no ThirdPartyDuty") // what lies in it is not shared with it
	c.clock.advance(24 * time.Hour)
	refused(a, use, "ended at 2026-11-02T12:00:00Z")
	if err := c.Handle(operator, a, "share", gate.Use{Purpose: "serve", Region: "cn", Recipient: "bank"}); err != nil {
		t.Error(err)
	}
	_, _, told := c.refused(denials)
	if last := told[len(told)-1]; !strings.Contains(string(last.Values[audit.FieldContext]), "third-party-duty") || string(last.Values[audit.FieldName]) != "a" {
		t.Errorf("the leaf of a refusal says %s", last.Values)
	}
}

// TestAsMayBeLookedAtSharesAreLookedAt at the bound, and one more permits nothing.
func TestAsMayBeLookedAtSharesAreLookedAt(t *testing.T) {
	c := newCell(t)
	c.must(dataType, asset("a", "public", "type: t"))
	ref := resource.Ref{Kind: "DataAsset", Tenant: "platform", Name: "a"}
	var changes []gate.Change
	put := func(name, ends string) {
		changes = append(changes, c.change(duty(name, "a", "carrier", ends)))
		if len(changes) == gate.MaxChanges {
			if _, err := c.do(operator, changes...); err != nil {
				t.Fatal(err)
			}
			changes = nil
		}
	}
	for i := range gate.MaxShares - 1 {
		put(fmt.Sprintf("d%04d", i), "2026-01-01T00:00:00Z")
	}
	put("e", "2027-01-01T00:00:00Z")
	use := gate.Use{Purpose: "serve", Region: "cn", Recipient: "carrier"}
	if err := c.Handle(operator, ref, "share", use); err != nil {
		t.Error(err)
	}
	c.must(duty("a", "a", "carrier", "2026-01-01T00:00:00Z"))
	err := c.Handle(operator, ref, "share", use)
	wantCode(t, err, fault.Forbidden)
	if err == nil || !strings.Contains(err.Error(), "more than 1000") {
		t.Error(err)
	}
}

func TestALegalHoldKeepsRecordsAndHistory(t *testing.T) {
	c := newCell(t)
	hold := "kind: LegalHold\nmetadata: {tenant: platform, name: h}\nspec: {matter: m, law: CSL-28, kinds: [Site], labels: {case: '17'}}\n"
	kept, gone := c.must(site("platform", "kept", "labels: {case: '17'}", "a.test")), c.must(site("platform", "gone", "labels: {case: '17'}", "b.test"))
	free := c.must(site("platform", "free", "", "c.test"))
	if err := c.remove(operator, gone); err != nil {
		t.Fatal(err)
	}
	h := c.must(hold)
	wantCode(t, c.remove(operator, kept), fault.Conflict)
	_, err := c.Erase(context.Background(), operator, resource.Ref{Kind: "Site", Tenant: "platform", Name: "gone"}, "asked for")
	wantCode(t, err, fault.Conflict)
	if err := c.remove(operator, free); err != nil {
		t.Error(err)
	}
	c.clock.advance(500 * 24 * time.Hour)
	if n, err := c.Expire(context.Background()); err != nil || n != 0 {
		t.Errorf("%d versions expired under a hold: %v", n, err)
	}
	if _, err := c.do(operator, gate.Change{Op: gate.Act, Ref: h.Ref, Verb: "lift", Revision: h.Revision, Input: map[string]any{"reason": "settled"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Erase(context.Background(), operator, resource.Ref{Kind: "Site", Tenant: "platform", Name: "gone"}, "asked for"); err != nil {
		t.Error(err)
	}
	if err := c.remove(operator, kept); err != nil {
		t.Error(err)
	}
	if n, err := c.Expire(context.Background()); err != nil || n == 0 {
		t.Errorf("%d versions expired after it: %v", n, err)
	}
	c.check()
}

func TestDataAreKeptAsLongAsTheirTypeSays(t *testing.T) {
	c := newCell(t)
	c.must(dataType)
	a := c.must(asset("a", "public", "type: t"))
	err := c.remove(operator, a)
	wantCode(t, err, fault.Conflict)
	if err == nil || !strings.Contains(err.Error(), "TAX-147") {
		t.Errorf("the law is not named: %v", err)
	}
	c.clock.advance(11 * 24 * time.Hour)
	if err := c.remove(operator, a); err != nil {
		t.Error(err)
	}
}

// TestTheLogWithholdsWhatItsReaderMayNotRead: and the bundle verifies.
func TestTheLogWithholdsWhatItsReaderMayNotRead(t *testing.T) {
	c := newCell(t)
	c.must(tenant("acme"))
	ann := c.staff("acme", "ann", "web", `permit (principal in Role::"acme/web", action, resource);`)
	from := uint64(c.LogSize())
	for name, labels := range map[string]string{"open": "", "shut": "labels: {dun.dev/class: production-user}"} {
		if _, err := c.put(ann, site("acme", name, labels, name+".test")); err != nil {
			t.Fatal(err)
		}
	}
	list, err := c.Leaves(t.Context(), operator, from, 10)
	if err != nil || len(list) != 2 {
		t.Fatalf("%d leaves, %v", len(list), err)
	}
	for _, e := range list {
		v, shut := string(e.Values[audit.FieldNew]), string(e.Values[audit.FieldName]) == "shut"
		if shut != (e.Values[audit.FieldNew] == nil) || shut != (e.Salts[audit.FieldNew] == nil) || !shut && !strings.Contains(v, "open.test") {
			t.Errorf("%s: %q", e.Values[audit.FieldName], v)
		}
	}
	var b bytes.Buffer
	if err := c.Export(t.Context(), operator, &b, func(audit.Entry) bool { return true }); err != nil {
		t.Fatal(err)
	}
	rep, err := audit.VerifyBundle(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }, c.vkey)
	if err != nil || rep.Leaves == 0 {
		t.Errorf("%+v, %v", rep, err)
	}
	sees := c.Sees(operator)
	if !sees("acme", "site/open") || sees("acme", "site/shut") || !sees("acme", "site/gone") {
		t.Error("events of records are not seen as their records are")
	}
}
