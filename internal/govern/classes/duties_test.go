package classes_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/classes"
	"github.com/dun-sec/dun/internal/govern/dayzero"
)

func write(t *testing.T, g *gate.Gate, yaml string) gate.Result {
	t.Helper()
	return writeBy(t, g, identity.Actor{Principal: dayzero.Operator, Door: "test", MFA: true}, yaml)
}

func writeBy(t *testing.T, g *gate.Gate, op identity.Actor, yaml string) gate.Result {
	t.Helper()
	docs, err := resource.ParseYAML([]byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	o, _, err := g.Registry().Decode(docs[0])
	if err != nil {
		t.Fatal(err)
	}
	c := gate.Change{Op: gate.Put, Ref: o.Ref(), Object: o}
	if old, err := g.Get(t.Context(), op, o.Ref()); err == nil {
		c.Revision = old.Metadata.Revision
	}
	out, err := g.Apply(t.Context(), gate.Request{Actor: op, Changes: []gate.Change{c}})
	if err != nil {
		t.Fatal(err)
	}
	return out[0]
}

// TestAHoldKeepsWhatIsOld until it is lifted.
func TestAHoldKeepsWhatIsOld(t *testing.T) {
	g := open(t)
	write(t, g, "kind: DataType\nmetadata: {tenant: platform, name: k}\nspec: {title: T, processing: [read], regions: [r], adminRegions: [r], purposes: [p], retentionMax: 1h}\n")
	write(t, g, "kind: DataAsset\nmetadata: {tenant: platform, name: a, labels: {case: '17'}}\nspec: {form: content, what: file, type: k, owner: o, ownerType: customer, region: r}\n")
	h := write(t, g, "kind: LegalHold\nmetadata: {tenant: platform, name: h}\nspec: {matter: m, law: CSL-28, labels: {case: '17'}}\n")
	named := func() int {
		list, err := classes.Overdue(t.Context(), g.Scan, resource.Platform, time.Now().Add(2*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if n := named(); n != 0 {
		t.Errorf("%d named under a hold", n)
	}
	op := identity.Actor{Principal: dayzero.Operator, Door: "test", MFA: true}
	lift := gate.Change{Op: gate.Act, Ref: h.Ref, Verb: "lift", Revision: h.Revision, Input: map[string]any{"reason": "settled"}}
	if _, err := g.Apply(t.Context(), gate.Request{Actor: op, Changes: []gate.Change{lift}}); err != nil {
		t.Fatal(err)
	}
	if n := named(); n != 1 {
		t.Errorf("%d named once it is lifted", n)
	}
}

// TestWhatARaiseLeavesInALowerContainerIsNamed: a raise is never refused.
func TestWhatARaiseLeavesInALowerContainerIsNamed(t *testing.T) {
	g := open(t)
	asset := "kind: DataAsset\nmetadata: {tenant: platform, name: %s, labels: {dun.dev/class: %s}}\nspec: {form: container, what: bucket, owner: o, ownerType: company, region: r%s}\n"
	for _, a := range []string{fmt.Sprintf(asset, "src", "public", ""), fmt.Sprintf(asset, "box", "public", ""), fmt.Sprintf(asset, "made", "public", ", container: box, sources: [src]")} {
		write(t, g, a)
	}
	late := func() []classes.Late {
		list, err := classes.Overdue(t.Context(), g.Scan, gate.AllTenants, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if l := late(); len(l) != 0 {
		t.Errorf("before it: %v", l)
	}
	write(t, g, fmt.Sprintf(asset, "src", "internal", ""))
	if l := late(); len(l) != 1 || l[0].Setting != "DataAsset platform/made" || !strings.Contains(l[0].Why, "of level 3") {
		t.Errorf("after it: %v", l)
	}
}

// TestOverdue lets each duty become due, and wants it named then and not before.
func TestOverdue(t *testing.T) {
	g := open(t) // one founder: nobody has to assent
	now := time.Now()
	at := func(d time.Duration) string { return now.Add(d).UTC().Format(time.RFC3339) }
	put := func(yaml string, args ...any) { write(t, g, fmt.Sprintf(yaml, args...)) }
	kind := `kind: DataType
metadata: {tenant: platform, name: %s}
spec: {title: T, processing: [read, share], regions: [r], adminRegions: [r], purposes: [p], thirdParties: [carrier]%s}
`
	asset := "kind: DataAsset\nmetadata: {tenant: platform, name: %s%s}\nspec: {form: content, what: file, type: %s, owner: o, ownerType: customer, region: r}\n"
	put(kind, "kept", ", retentionMax: 24h")
	put(kind, "bound", fmt.Sprintf(", contracts: [{name: end, party: carrier, due: %q}]", at(time.Hour)))
	put(kind, "free", "")
	put(asset, "old", ", labels: {dun.dev/class: production-user}", "kept") // whom nobody else reads
	put(asset, "held", "", "bound")
	put(asset, "any", "", "free")
	put(asset, "case", "", "kept") // under a hold
	put("kind: LegalHold\nmetadata: {tenant: platform, name: h}\nspec: {matter: m, law: CSL-28, kinds: [DataAsset], names: [case]}\n")
	put("kind: LegalHold\nmetadata: {tenant: platform, name: of-a-tenant}\nspec: {matter: m, law: CSL-28, kinds: [Site]}\n")
	put("kind: ThirdPartyDuty\nmetadata: {tenant: platform, name: lent}\nspec: {asset: any, recipient: carrier, purpose: p, duty: deletes it, ends: %q}\n", at(2*time.Hour))

	for i := range 60 { // a tenant names fifty at most
		if i == 0 {
			put("kind: Tenant\nmetadata: {tenant: platform, name: t0}\nspec: {}\n")
			put("kind: DataType\nmetadata: {tenant: t0, name: k}\nspec: {title: T, processing: [read, share], regions: [r], adminRegions: [r], purposes: [p], retentionMax: 1h}\n")
		}
		put("kind: DataAsset\nmetadata: {tenant: t0, name: a%d}\nspec: {form: content, what: file, type: k, owner: o, ownerType: customer, region: r}\n", i)
	}
	for after, want := range map[time.Duration][]string{
		time.Minute:      nil,
		90 * time.Minute: {"DataType platform/bound"},
		3 * time.Hour:    {"DataType platform/bound", "ThirdPartyDuty platform/lent"},
		25 * time.Hour:   {"DataAsset platform/old", "DataType platform/bound", "ThirdPartyDuty platform/lent"},
	} {
		list, err := classes.Overdue(t.Context(), g.Scan, gate.AllTenants, now.Add(after))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		many := 0
		for _, l := range list {
			if l.Tenant == "t0" {
				many++
				continue
			}
			got = append(got, l.Setting)
			if l.Why == "" || strings.Contains(l.Why, "%!") || strings.Contains(l.Why, "carrier") || strings.Contains(l.Why, "deletes it") {
				t.Errorf("%+v", l)
			}
		}
		if after > time.Hour && many != 50 || after < time.Hour && many != 0 {
			t.Errorf("after %s %d of t0", after, many)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("after %s: %v, want %v", after, got, want)
		}
	}
}
