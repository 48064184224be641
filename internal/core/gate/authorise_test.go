package gate_test

import (
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
)

// web may do everything with the sites that carry the label team=web.
const web = `permit (principal in Role::"acme/web", action in [Action::"read", Action::"write"], resource is Site) when { resource.hasTag("team") && resource.getTag("team") == "web" };`

func TestALabelIsNoWayAroundPolicy(t *testing.T) {
	c := newCell(t)
	c.must(tenant("acme"))
	ann := c.staff("acme", "ann", "web", web)
	mine := c.must(site("acme", "mine", "labels: {team: web}", "mine.test"))
	other := c.must(site("acme", "other", "labels: {team: db}", "other.test"))
	label := func(v any) map[string]any {
		return map[string]any{"metadata": map[string]any{"labels": map[string]any{"team": v}}}
	}
	_, err := c.patch(ann, other, label("web"))
	wantCode(t, err, fault.NotFound) // into view
	_, err = c.patch(ann, mine, label("db"))
	wantCode(t, err, fault.Forbidden) // out of view
	_, err = c.patch(ann, mine, label(nil))
	wantCode(t, err, fault.Forbidden)
	_, err = c.put(ann, site("acme", "new", "labels: {team: db}", "new.test"))
	wantCode(t, err, fault.NotFound)
	_, err = c.put(ann, site("acme", "other", "labels: {team: web}", "new.test"))
	wantCode(t, err, fault.NotFound)
	if _, err = c.put(ann, site("acme", "new", "labels: {team: web}", "new.test")); err != nil {
		t.Error(err)
	}
	wantCode(t, c.remove(ann, other), fault.NotFound)
	if err := c.remove(ann, mine); err != nil {
		t.Error(err)
	}
}

func TestWhatIsHiddenLooksLikeWhatIsNotThere(t *testing.T) {
	c := newCell(t)
	c.must(tenant("acme"))
	hidden := c.must(site("acme", "hidden", "", "hidden.test"))
	eve := user("acme", "eve")
	text := func(err error, name string) string {
		e := fault.Of(err)
		return string(e.Code) + strings.ReplaceAll(e.Detail.En+e.Detail.Zh, name, "X")
	}
	do := func(f func(ref resource.Ref) error) {
		t.Helper()
		none := hidden.Ref
		none.Name, none.UID = "absent", ""
		there := hidden.Ref
		there.UID = ""
		a, b := text(f(there), "hidden"), text(f(none), "absent")
		if a != b || !strings.HasPrefix(a, string(fault.NotFound)) {
			t.Errorf("hidden: %s\nabsent: %s", a, b)
		}
	}
	object := func(ref resource.Ref) *resource.Object {
		o := *c.object(site("acme", "x", "", "x.test"))
		o.Metadata.Name = ref.Name
		return &o
	}
	for _, rev := range []uint64{0, 1, hidden.Revision} {
		do(func(r resource.Ref) error {
			_, err := c.do(eve, gate.Change{Op: gate.Put, Ref: r, Object: object(r), Revision: rev})
			return err
		})
		do(func(r resource.Ref) error {
			_, err := c.do(eve, gate.Change{Op: gate.Patch, Ref: r, Revision: rev, Patch: map[string]any{"spec": 5}})
			return err
		})
		do(func(r resource.Ref) error {
			_, err := c.do(eve, gate.Change{Op: gate.Delete, Ref: r, Revision: rev})
			return err
		})
		do(func(r resource.Ref) error { _, err := c.History(t.Context(), eve, r, rev, 10); return err })
		do(func(r resource.Ref) error { _, err := c.Prove(t.Context(), eve, r, rev); return err })
	}
	do(func(r resource.Ref) error { _, err := c.Get(t.Context(), eve, r); return err })
	// A put that could never be carried out is refused before any record is looked at.
	for _, name := range []string{"hidden", "absent"} {
		r := hidden.Ref
		r.Name, r.UID = name, ""
		_, err := c.do(eve, gate.Change{Op: gate.Put, Ref: r, Object: c.object(shop)})
		wantCode(t, err, fault.Invalid)
	}
}

func TestAPolicyThatCannotBeInForceIsRefused(t *testing.T) {
	c := newCell(t)
	at := c.At()
	for name, cedar := range map[string]string{
		"syntax":  "permit (principal, action resource);",
		"unknown": `permit (principal, action == Action::"site.explode", resource);`,
		"type":    `forbid (principal, action == Action::"site.read", resource) when { resource.name > 3 };`,
	} {
		_, err := c.put(operator, "kind: Policy\nmetadata: {tenant: platform, name: p}\nspec:\n  cedar: |\n    "+cedar+"\n")
		t.Run(name, func(t *testing.T) { wantField(t, err, "spec.cedar") })
	}
	good := c.change("kind: Policy\nmetadata: {tenant: platform, name: good}\nspec:\n  cedar: 'permit (principal in Role::\"platform/x\", action, resource);'\n")
	bad := c.change("kind: Policy\nmetadata: {tenant: platform, name: bad}\nspec:\n  cedar: 'permit'\n")
	_, err := c.do(operator, good, bad)
	wantField(t, err, "changes[1].spec.cedar")
	if c.At() != at {
		t.Error("a refused policy moved the revision")
	}
	if _, err := c.do(operator, good); err != nil {
		t.Error(err)
	}
}

func TestAForbidThatErrsDenies(t *testing.T) {
	c := newCell(t)
	c.must(shop, "kind: Policy\nmetadata: {tenant: platform, name: errs}\nspec:\n  cedar: |\n"+
		"    forbid (principal, action == Action::\"exclusion.create\", resource) when { resource.spec.rule * 9223372036854775807 > 0 };\n")
	_, err := c.put(operator, "kind: Exclusion\nmetadata: {tenant: platform, name: e}\nspec: {site: shop, rule: 942100}\n")
	wantCode(t, err, fault.Forbidden)
	if e := fault.Of(err); len(e.Policies) != 1 || e.Policies[0] != "platform/errs" {
		t.Errorf("%v", e.Policies)
	}
	// Without the overflow it is a forbid that does not apply.
	if _, err := c.put(operator, "kind: Exclusion\nmetadata: {tenant: platform, name: e}\nspec: {site: shop, tag: attack-sqli}\n"); err != nil {
		t.Error(err)
	}
}

func TestARoleThatIsTakenAwayEndsInTheSameGroup(t *testing.T) {
	binding := func(c *cell) gate.Change {
		o, err := c.Get(t.Context(), operator, resource.Ref{Kind: "RoleBinding", Tenant: "acme", Name: "ann-web"})
		if err != nil {
			t.Fatal(err)
		}
		return gate.Change{Op: gate.Delete, Ref: o.Ref(), Revision: o.Metadata.Revision}
	}
	for _, first := range []string{"revoke", "use"} {
		t.Run(first, func(t *testing.T) {
			c := newCell(t)
			c.must(tenant("acme"))
			ann := c.staff("acme", "ann", "web", web)
			var revoked, used error
			calls := []func(){
				func() { _, revoked = c.do(operator, binding(c)) },
				func() { _, used = c.put(ann, site("acme", "s", "labels: {team: web}", "s.test")) },
			}
			if first == "use" {
				calls[0], calls[1] = calls[1], calls[0]
			}
			c.Together(calls...)
			if revoked != nil {
				t.Fatal(revoked)
			}
			if first == "use" && used != nil {
				t.Error(used)
			}
			if first == "revoke" {
				wantCode(t, used, fault.NotFound) // with the role went the right to read
			}
			c.check()
		})
	}
}

func TestAForbidInTheSameGroupStopsAWriteThatWasAllowedBeforeIt(t *testing.T) {
	c := newCell(t)
	c.must(tenant("acme"))
	ann := c.staff("acme", "ann", "web", web)
	r := c.must(site("acme", "s", "labels: {team: web}", "s.test"))
	var frozen, used error
	c.Together(
		func() {
			_, frozen = c.put(operator, "kind: Policy\nmetadata: {tenant: platform, name: frozen}\nspec:\n  cedar: 'forbid (principal, action in Action::\"write\", resource is Site);'\n")
		},
		func() {
			_, used = c.patch(ann, r, map[string]any{"spec": map[string]any{"hosts": []any{"t.test"}}})
		},
	)
	if frozen != nil {
		t.Fatal(frozen)
	}
	wantCode(t, used, fault.Forbidden)
	if e := fault.Of(used); len(e.Policies) != 1 || e.Policies[0] != "platform/frozen" {
		t.Errorf("%v", e.Policies)
	}
}

func TestOneRequestIsJudgedStepByStep(t *testing.T) {
	c := newCell(t)
	// The second change needs a policy that the first one brings into force.
	_, err := c.do(operator,
		c.change("kind: Policy\nmetadata: {tenant: platform, name: frozen}\nspec:\n  cedar: 'forbid (principal, action == Action::\"site.create\", resource);'\n"),
		c.change(shop))
	wantCode(t, err, fault.Forbidden)
	if _, err := c.Get(t.Context(), operator, resource.Ref{Kind: "Policy", Tenant: "platform", Name: "frozen"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("the first half stayed: %v", err)
	}
	c.must(shop)
	c.check()
}

func TestMayAndTenants(t *testing.T) {
	c := newCell(t)
	c.must(tenant("acme"), tenant("other"))
	ann := c.staff("acme", "ann", "events", `permit (principal in Role::"acme/events", action == Action::"event.read", resource);`)
	if err := c.May(ann, "event.read", "acme"); err != nil {
		t.Error(err)
	}
	wantCode(t, c.May(ann, "event.read", "platform"), fault.Forbidden)
	wantCode(t, c.May(ann, "audit.read", "acme"), fault.Forbidden)
	if got := c.Tenants(ann, "event.read"); len(got) != 1 || got[0] != "acme" {
		t.Errorf("%v", got)
	}
	if got := c.Tenants(operator, "event.read"); len(got) != 3 {
		t.Errorf("%v", got)
	}
}
