package classes_test

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/govern/classes"
	"github.com/dun-sec/dun/internal/govern/dayzero"
	"github.com/dun-sec/dun/internal/kinds"
	"github.com/dun-sec/dun/internal/kinds/data"
)

// reds holds that with one rule broken exactly these controls fail.
func reds(t *testing.T, g classes.Gate, want ...string) {
	t.Helper()
	_, bad := posture(t, g)
	got := slices.Sorted(maps.Keys(bad))
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("%v fail, want %v: %v", got, want, bad)
	}
	t.Log(bad)
}

var statement = regexp.MustCompile(`(?m)^(permit|forbid) \(`)

// without is the release's policies but for the one statement of builtin-data
// that says this.
func without(t *testing.T, says string) []policy.Builtin {
	t.Helper()
	list, err := policy.Builtins()
	if err != nil {
		t.Fatal(err)
	}
	left := 0
	for i, b := range list {
		if b.Name != "builtin-data" {
			continue
		}
		at := append(statement.FindAllStringIndex(b.Text, -1), []int{len(b.Text)})
		list[i].Text = b.Text[:at[0][0]]
		for j := range at[:len(at)-1] {
			if s := b.Text[at[j][0]:at[j+1][0]]; strings.Contains(s, says) {
				left++
			} else {
				list[i].Text += s
			}
		}
	}
	if left != 1 {
		t.Fatalf("%d statements say %q", left, says)
	}
	return list
}

// table are the controls that rest on the table of all combinations.
var table = []string{"2.1-8", "4.0-10", "4.0-2"}

// TestWithoutOnePolicy takes away each statement on data, one at a time.
func TestWithoutOnePolicy(t *testing.T) {
	for says, red := range map[string][]string{
		`unless { resource.data.processing.contains(context.act) }`: {"4.0-4", "4.0-13"},
		`resource.data.handling.contains(context.act) ||`:           append([]string{"1-5", "4.0-6"}, table...),
		`when { resource.data.unlawful.contains(context.act) }`:     {"4.0-7", "4.0-13"},
		`when { resource.data.breaches.contains(context.act) }`:     {"4.0-8", "4.0-13"},
		`context has purpose`: {"4.0-6", "4.0-13"},
		`context has region`:  append([]string{"4.0-5", "4.0-13"}, table...),
		"action in Action::\"handle\",\n  resource\n)\nunless { resource.data.regions": {"4.0-5", "4.0-13"},
		`context has recipient`:        {"4.0-9", "4.0-13"},
		`when { resource.level == 4 }`: table,
		"context.phase == \"new\" && resource.data.type != \"\" }\nunless { resource.data.r": {"4.0-5", "4.0-13"},
		`resource.level > resource.data.containerLevel`:                                      {"4.0-3"},
		`resource.spec.asset != ""`:                                                          {"4.0-9"},
	} {
		t.Run(says, func(t *testing.T) {
			reds(t, openWith(t, func(o *gate.Options) { o.Builtins = without(t, says) }, "ann"), slices.Clone(red)...)
		})
	}
}

// altered is a kind that says something else than it should.
func altered[S any](k *resource.Kind, change func(was *resource.Kind, of func(*resource.Metadata, *S) *resource.Object, b *resource.Behaviour[S])) func(*gate.Options) {
	of := func(m *resource.Metadata, s *S) *resource.Object {
		return &resource.Object{Kind: k.Name, Version: k.Version, Metadata: *m, Spec: s}
	}
	var b resource.Behaviour[S]
	change(k, of, &b)
	if b.Refs == nil {
		b.Refs = func(m *resource.Metadata, s *S) []resource.Reference { return k.Refs(of(m, s)) }
	}
	return func(o *gate.Options) {
		list := kinds.All()
		list[slices.IndexFunc(list, func(x *resource.Kind) bool { return x.Name == k.Name })] = resource.Define(*k, b)
		reg, err := resource.NewRegistry(list...)
		if err != nil {
			panic(err)
		}
		o.Registry = reg
	}
}

func asset(change func(*resource.Asset)) func(*gate.Options) {
	return altered(data.DataAsset(), func(was *resource.Kind, of func(*resource.Metadata, *data.DataAssetSpec) *resource.Object, b *resource.Behaviour[data.DataAssetSpec]) {
		b.Asset = func(m *resource.Metadata, s *data.DataAssetSpec) *resource.Asset {
			a := was.Asset(of(m, s))
			change(a)
			return a
		}
	})
}

// TestWithoutOneRuleOfAKind lets the real gate run on a kind that forgets one
// thing.
func TestWithoutOneRuleOfAKind(t *testing.T) {
	for what, tt := range map[string]struct {
		change func(*gate.Options)
		red    []string
	}{
		"derived data do not follow their sources": {asset(func(a *resource.Asset) { a.Sources = nil }), []string{"4.0-6"}},
		"content does not follow its container":    {asset(func(a *resource.Asset) { a.Container = resource.Ref{} }), []string{"4.0-3"}},
		"a hold keeps nothing": {altered(data.LegalHold(), func(*resource.Kind, func(*resource.Metadata, *data.LegalHoldSpec) *resource.Object, *resource.Behaviour[data.LegalHoldSpec]) {
		}), []string{"4.0-7"}},
		"a type keeps nothing for its time": {altered(data.DataType(), func(was *resource.Kind, of func(*resource.Metadata, *data.DataTypeSpec) *resource.Object, b *resource.Behaviour[data.DataTypeSpec]) {
			b.Terms = func(m *resource.Metadata, s *data.DataTypeSpec) *resource.Terms {
				terms := was.Terms(of(m, s))
				terms.RetentionMin = 0
				return terms
			}
		}), []string{"4.0-7"}},
		"a share never ends": {altered(data.ThirdPartyDuty(), func(was *resource.Kind, of func(*resource.Metadata, *data.ThirdPartyDutySpec) *resource.Object, b *resource.Behaviour[data.ThirdPartyDutySpec]) {
			b.Asset = func(m *resource.Metadata, s *data.ThirdPartyDutySpec) *resource.Asset { return was.Asset(of(m, s)) }
			b.Share = func(m *resource.Metadata, s *data.ThirdPartyDutySpec) *resource.Share {
				share := was.Share(of(m, s))
				share.Ends = share.Ends.AddDate(1, 0, 0)
				return share
			}
		}), []string{"4.0-9"}},
	} {
		t.Run(what, func(t *testing.T) { reds(t, openWith(t, tt.change, "ann"), tt.red...) })
	}
}

// broken is a gate whose rehearsals skip one step.
type broken struct {
	*gate.Gate
	change func(*gate.Rehearsal)
}

func (b broken) RehearseData(ctx context.Context, f func(gate.Rehearsal) error) error {
	return b.Gate.RehearseData(ctx, func(r gate.Rehearsal) error {
		b.change(&r)
		return f(r)
	})
}

// lets does what is refused for one reason.
func lets(why func(error) bool) func(*gate.Rehearsal) {
	return func(r *gate.Rehearsal) {
		arrange, handle := r.Arrange, r.Handle
		r.Arrange = func(req gate.Request) ([]gate.Result, error) {
			out, err := arrange(req)
			if err != nil && why(err) {
				return []gate.Result{{Ref: req.Changes[0].Ref}}, nil
			}
			return out, err
		}
		r.Handle = func(a identity.Actor, ref resource.Ref, act string, use gate.Use) error {
			if err := handle(a, ref, act, use); err == nil || !why(err) {
				return err
			}
			return nil
		}
	}
}

func field(path string) func(error) bool {
	return func(err error) bool {
		return slices.ContainsFunc(fault.Of(err).Fields, func(f fault.Field) bool { return f.Path == path })
	}
}

// blind lists no records of a kind.
func blind(kind string) func(*gate.Rehearsal) {
	return func(r *gate.Rehearsal) {
		scan := r.Scan
		r.Scan = func(a identity.Actor, opt gate.ListOptions) (*gate.Listing, error) {
			if opt.Kind == kind {
				opt.Tenant = "nowhere"
			}
			return scan(a, opt)
		}
	}
}

func TestWithoutOneStep(t *testing.T) {
	g := open(t, "ann")
	for what, tt := range map[string]struct {
		change func(*gate.Rehearsal)
		red    []string
	}{
		"nobody is asked": {func(r *gate.Rehearsal) { r.Try = r.Arrange }, []string{"1-4"}},
		"what has no label is of the lowest level": {func(r *gate.Rehearsal) {
			class := r.Class
			r.Class = func(ref resource.Ref) (policy.Class, bool) {
				c, there := class(ref)
				if c.Name == resource.HighestClass {
					c.Level = 1
				}
				return c, there
			}
		}, []string{"1-3"}},
		"a label names what is not there":     {lets(field("metadata.labels.dun.dev/class")), []string{"1-3"}},
		"an asset is nobody's":                {lets(field("spec.ownerType")), []string{"4.0-1"}},
		"no duty is needed":                   {lets(func(err error) bool { return slices.Equal(fault.Of(err).Policies, []string{"third-party-duty"}) }), []string{"4.0-9"}},
		"a container falls below its content": {lets(func(err error) bool { return strings.Contains(err.Error(), "which lies in it") }), []string{"4.0-3"}},
		"ended shares are not looked for":     {blind("ThirdPartyDuty"), []string{"4.0-9"}},
		"types are not looked for":            {blind("DataType"), []string{"4.0-7", "4.0-8"}},
		"holds are not looked for":            {blind("LegalHold"), []string{"4.0-7"}},
		"assets are not looked for":           {blind("DataAsset"), []string{"4.0-1", "4.0-7", "4.0-8"}},
	} {
		t.Run(what, func(t *testing.T) { reds(t, broken{g, tt.change}, tt.red...) })
	}
	for _, c := range classes.Checks(broken{g, func(r *gate.Rehearsal) {
		r.Handle = func(identity.Actor, resource.Ref, string, gate.Use) error { return errors.New("no") }
	}}, dayzero.Operator) {
		if c.Positive(t.Context()) == nil {
			t.Errorf("%s: its positive control does not see that everything is refused", c.Control)
		}
	}
}

// TestARecordTurnsItsControlRed: what is in force counts, not only what could be
// done.
func TestARecordTurnsItsControlRed(t *testing.T) {
	const asset = "kind: DataAsset\nmetadata: {tenant: platform, name: "
	t.Run("a share of users' data that has ended", func(t *testing.T) {
		g := open(t)
		write(t, g, "kind: Tenant\nmetadata: {tenant: platform, name: acme}\nspec: {}\n")
		write(t, g, "kind: DataType\nmetadata: {tenant: acme, name: k}\nspec: {title: T, processing: [share], regions: [r], adminRegions: [r], purposes: [p], thirdParties: [x]}\n")
		for _, y := range []string{
			"kind: DataAsset\nmetadata: {tenant: acme, name: a, labels: {dun.dev/class: production-user}}\nspec: {form: content, what: file, type: k, owner: o, ownerType: customer, region: r}\n",
			"kind: ThirdPartyDuty\nmetadata: {tenant: acme, name: d}\nspec: {asset: a, recipient: x, purpose: p, duty: d, ends: 2026-01-01T00:00:00Z}\n",
		} {
			writeBy(t, g, identity.Actor{Principal: dayzero.Operator, Door: "test", ChangeRequest: "cr-1"}, y) // of users' data of another tenant
		}
		found(t, g)
		reds(t, g, "4.0-9")
	})
	t.Run("data of systems are not at the top", func(t *testing.T) {
		g := open(t)
		writeBy(t, g, identity.Service(gate.Dayzero), "kind: DataClass\nmetadata: {tenant: platform, name: production-system, labels: {dun.dev/builtin: test}}\nspec: {title: S, level: 4}\n")
		found(t, g)
		reds(t, g, "1-4")
	})
	t.Run("what a raise left in a lower container", func(t *testing.T) {
		g := open(t)
		const rest = "}\nspec: {form: container, what: disk, owner: o, ownerType: company, region: r"
		for _, y := range []string{
			asset + "src, labels: {dun.dev/class: public}" + rest + "}\n", asset + "box, labels: {dun.dev/class: public}" + rest + "}\n",
			asset + "in, labels: {dun.dev/class: public}" + rest + ", container: box, sources: [src]}\n", asset + "src, labels: {dun.dev/class: internal}" + rest + "}\n",
		} {
			write(t, g, y)
		}
		found(t, g)
		reds(t, g, "4.0-3")
	})
}

func found(t *testing.T, g *gate.Gate) {
	t.Helper()
	if _, err := dayzero.Found(t.Context(), g, "ann"); err != nil {
		t.Fatal(err)
	}
}
