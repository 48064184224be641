package policy_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
)

// classes are those of a release (govern/dayzero holds them to this by a test).
const classes = `
kind: DataClass
metadata: {tenant: platform, name: production}
spec: {title: P, level: 4, handling: [read, process, delete], assent: [copy, export, share]}
---
kind: DataClass
metadata: {tenant: platform, name: production-user}
spec: {title: PU, level: 4, parent: production, handling: [read, process, delete], assent: [copy, export, share]}
---
kind: DataClass
metadata: {tenant: platform, name: internal}
spec: {title: I, level: 3, handling: [read, process, copy, print, delete], assent: [export, share]}
---
kind: DataClass
metadata: {tenant: platform, name: test}
spec: {title: T, level: 2, handling: [read, process, copy, print, export, delete], assent: [share]}
---
kind: DataClass
metadata: {tenant: platform, name: public}
spec: {title: O, level: 1, handling: [read, process, copy, print, export, share, delete]}
---
kind: DataClass
metadata: {tenant: platform, name: low-child}
spec: {title: L, level: 1, parent: internal, handling: [read]}
`

func asset(name, class, spec string) string {
	label := ""
	if class != "" {
		label = ", labels: {dun.dev/class: " + class + "}"
	}
	return "\n---\nkind: DataAsset\nmetadata: {tenant: acme, name: " + name + label + "}\nspec: {form: content, what: file, owner: o, ownerType: customer, region: cn, " + spec + "}\n"
}

func compiled(t *testing.T, yaml string) (*policy.Snapshot, map[string]*resource.Object) {
	t.Helper()
	reg, c := setup(t)
	list := objects(t, reg, yaml)
	snap, err := c.Compile(slices.Values(list))
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]*resource.Object{}
	for _, o := range list {
		by[o.Metadata.Name] = o
	}
	return snap, by
}

const anyType = `
---
kind: DataType
metadata: {tenant: acme, name: open}
spec: {title: T, class: public, processing: [read, process, copy, export, print, share, delete], regions: [cn], adminRegions: [cn, de], purposes: [serve], thirdParties: [carrier]}
`

func TestTheClassInForce(t *testing.T) {
	snap, by := compiled(t, classes+anyType+
		asset("bare", "", "")+asset("lost", "nowhere", "")+asset("pub", "public", "")+asset("child", "low-child", "")+
		asset("box", "internal", "")+asset("inside", "", "container: box")+asset("lower", "public", "container: box")+
		asset("gone", "", "container: absent")+
		asset("made", "public", "sources: [pub, box]")+asset("again", "public", "sources: [made]")+asset("user", "production-user", "")+
		asset("mixed", "test", "sources: [user, lost]")+asset("typed", "public", "type: closed")+asset("free", "public", "type: open")+`
---
kind: DataType
metadata: {tenant: acme, name: closed}
spec: {title: T, processing: [read], regions: [cn], adminRegions: [cn], purposes: [serve]}
---
kind: ThirdPartyDuty
metadata: {tenant: acme, name: duty, labels: {dun.dev/class: public}}
spec: {asset: box, recipient: carrier, purpose: serve, duty: d, ends: 2027-01-01T00:00:00Z}
`)
	for name, want := range map[string]string{
		"bare": "production 4", "lost": "production 4", "pub": "public 1", "child": "low-child 3",
		"box": "internal 3", "inside": "internal 3", "lower": "public 1", "gone": "production 4",
		"made": "internal 3", "again": "internal 3", "mixed": "production-user 4", "typed": "production 4", "free": "public 1", "duty": "internal 3",
	} {
		if c := snap.Class(by[name]); fmt.Sprint(c.Name, " ", c.Level) != want {
			t.Errorf("%s: %s %d, want %s", name, c.Name, c.Level, want)
		}
	}
	if c := snap.Class(by["lost"]); len(c.Handling)+len(c.Assent) != 0 {
		t.Errorf("of a class that is not there something may be done: %v", c)
	}
}

// TestALineWithoutEndIsOfTheHighestClass: the gate refuses cycles; one that is
// there all the same neither hangs nor lowers anything.
func TestALineWithoutEndIsOfTheHighestClass(t *testing.T) {
	snap, by := compiled(t, classes+asset("a", "public", "sources: [b]")+asset("b", "public", "sources: [a]"))
	if c := snap.Class(by["a"]); c.Level != resource.HighestLevel {
		t.Errorf("%v", c)
	}
}

// TestClassesAgainstTheTable asks every combination of role, class, act and
// region, and holds the answers against govern/classes/table.txt, which is written
// by hand (controls 2.1-8, 4.0-10).
func TestClassesAgainstTheTable(t *testing.T) {
	yaml := classes + anyType + "\n---" + staff
	list := []string{"production", "production-user", "internal", "test", "public", ""}
	for _, c := range list {
		yaml += asset("of-"+c+"x", c, "type: open")
	}
	yaml += `
---
kind: User
metadata: {tenant: acme, name: owner}
---
kind: Role
metadata: {tenant: acme, name: owner}
---
kind: RoleBinding
metadata: {tenant: acme, name: owner}
spec: {role: owner, subjects: [{kind: User, name: owner}]}
---
kind: Policy
metadata: {tenant: acme, name: owner}
spec:
  cedar: |
    permit (principal in Role::"acme/owner", action in Action::"handle", resource);
`
	snap, by := compiled(t, yaml)
	expected := table(t)
	permits, asked := 0, 0
	for who, tenant := range map[string]string{"op": "platform", "sec": "platform", "aud": "platform", "owner": "acme", "nobody": "acme"} {
		for _, class := range list {
			for _, act := range resource.DataActs() {
				for _, region := range []string{"cn", "de", "us", ""} {
					for _, request := range []string{"", "cr-1"} {
						asked++
						d := snap.Decide(policy.Query{
							Principal: resource.Ref{Kind: "User", Tenant: tenant, Name: who}, Action: policy.DataAction(act), Object: by["of-"+class+"x"],
							Context: policy.Context{Phase: "old", Door: "objects", Time: time.Now(), Purpose: "serve", Region: region, Recipient: "carrier", ChangeRequest: request},
						})
						marks := expected[who+"/"+class]
						want := region == "cn" || region == "de"
						switch marks[slices.Index(resource.DataActs(), act)] {
						case 'y':
						case 'r':
							want = want && request != ""
						default:
							want = false
						}
						if d.Allowed != want {
							t.Errorf("%s %s of class %q in %q, request %q: %v by %v", who, act, class, region, request, d.Allowed, d.Policies)
						}
						if d.Allowed {
							permits++
						}
					}
				}
			}
		}
	}
	if asked != 5*6*7*4*2 || permits == 0 {
		t.Errorf("asked %d, permitted %d", asked, permits)
	}
}

func table(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile("../../govern/classes/table.txt")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if len(f) != 2+len(resource.DataActs()) {
			t.Fatalf("%q", line)
		}
		if f[1] == "absent" {
			f[1] = ""
		}
		out[f[0]+"/"+f[1]] = strings.Join(f[2:], "")
	}
	return out
}

// TestRecordsOfUsersStayWithTheirTenant: of whatever kind, also of a class
// that is part of production-user.
func TestRecordsOfUsersStayWithTheirTenant(t *testing.T) {
	snap, by := compiled(t, classes+"\n---"+staff+`
---
kind: DataClass
metadata: {tenant: platform, name: mail}
spec: {title: M, level: 4, parent: production-user}
---
kind: User
metadata: {tenant: platform, name: op}
---
kind: User
metadata: {tenant: acme, name: owner}
---
kind: Policy
metadata: {tenant: acme, name: owner}
spec: {cedar: 'permit (principal == User::"acme/owner", action, resource);'}
---
kind: Site
metadata: {tenant: acme, name: bare}
spec: {hosts: [a.test], origins: [{url: 'http://a'}]}
---
kind: Site
metadata: {tenant: acme, name: users, labels: {dun.dev/class: production-user}}
spec: {hosts: [b.test], origins: [{url: 'http://a'}]}
---
kind: Site
metadata: {tenant: acme, name: mails, labels: {dun.dev/class: mail}}
spec: {hosts: [c.test], origins: [{url: 'http://a'}]}
`)
	for _, tt := range []struct {
		who, tenant, on string
		want            bool
	}{{"op", "platform", "bare", true}, {"op", "platform", "users", false}, {"op", "platform", "mails", false}, {"owner", "acme", "users", true}, {"owner", "acme", "mails", true}} {
		q := policy.Query{Principal: resource.Ref{Kind: "User", Tenant: tt.tenant, Name: tt.who}, Action: "site.read", Object: by[tt.on], Context: policy.Context{Phase: "old", Time: time.Now()}}
		if d := snap.Decide(q); d.Allowed != tt.want {
			t.Errorf("%s reads %s: %v by %v", tt.who, tt.on, d.Allowed, d.Policies)
		}
		q.Principal, q.Action = resource.Ref{Kind: "Service", Tenant: "platform", Name: "edge"}, "site.read"
		if !snap.Decide(q).Allowed {
			t.Errorf("the edge does not see %s", tt.on)
		}
	}
}

// TestPairsThatDifferInOneAttribute: of two assets of one level, each attribute
// alone decides (control 4.0-13).
func TestPairsThatDifferInOneAttribute(t *testing.T) {
	spec := func(processing, regions, admins, purposes, parties, more string) string {
		return "spec: {title: T, class: internal, processing: [" + processing + "], regions: [" + regions + "], adminRegions: [" + admins + "], purposes: [" + purposes + "], thirdParties: [" + parties + "]" + more + "}\n"
	}
	use := policy.Context{Phase: "old", Time: time.Now(), Purpose: "serve", Region: "cn", Recipient: "carrier", ChangeRequest: "cr-1"}
	for _, tt := range []struct{ what, spec string }{
		{"", spec("read, share", "cn", "cn", "serve", "carrier", "")},
		{"processing", spec("read", "cn", "cn", "serve", "carrier", "")},
		{"region of data", spec("read, share", "de", "cn", "serve", "carrier", "")},
		{"region of administrators", spec("read, share", "cn", "de", "serve", "carrier", "")},
		{"purpose", spec("read, share", "cn", "cn", "audit", "carrier", "")},
		{"law", spec("read, share", "cn", "cn", "serve", "carrier", ", laws: [{name: PIPL-38, forbid: [share]}]")},
		{"contract", spec("read, share", "cn", "cn", "serve", "carrier", ", contracts: [{name: c1, party: p, forbid: [share]}]")},
		{"third party", spec("read, share", "cn", "cn", "serve", "bank", "")},
	} {
		snap, by := compiled(t, classes+asset("a", "internal", "type: t")+"\n---"+staff+"\n---\nkind: DataType\nmetadata: {tenant: acme, name: t}\n"+tt.spec)
		ask := func(c policy.Context) policy.Decision {
			return snap.Decide(policy.Query{Principal: resource.Ref{Kind: "User", Tenant: "platform", Name: "op"}, Action: "data.share", Object: by["a"], Context: c})
		}
		if c := snap.Class(by["a"]); c.Level != 3 {
			t.Errorf("%s: level %d", tt.what, c.Level)
		}
		if d := ask(use); d.Allowed != (tt.what == "") {
			t.Errorf("%q: %v by %v", tt.what, d.Allowed, d.Policies)
		}
		silent := use
		silent.Purpose, silent.Region, silent.Recipient = "", "", ""
		if ask(silent).Allowed {
			t.Errorf("%q: permitted to who says neither purpose nor region", tt.what)
		}
	}
}

// TestAnAssetMovesDecisionsOnDataAlone: the edge need not list anew when an
// asset changes, but must when a class does.
func TestAnAssetMovesDecisionsOnDataAlone(t *testing.T) {
	reg, c := setup(t)
	list := objects(t, reg, classes+asset("a", "internal", ""))
	snap, err := c.Compile(slices.Values(list))
	if err != nil {
		t.Fatal(err)
	}
	edge := resource.Ref{Kind: "Service", Tenant: "platform", Name: "edge"}
	for kind, want := range map[string]bool{"DataAsset": true, "DataClass": false} {
		i := slices.IndexFunc(list, func(o *resource.Object) bool { return o.Kind == kind })
		next, err := c.Update(snap, resource.Change{Ref: list[i].Ref(), Object: list[i]})
		if err != nil {
			t.Fatal(err)
		}
		if got := next.SameFor(snap, edge, "Site"); got != want {
			t.Errorf("after a %s: same for sites: %v", kind, got)
		}
		if next.SameFor(snap, edge, "DataAsset") {
			t.Errorf("after a %s: same for assets", kind)
		}
	}
}
