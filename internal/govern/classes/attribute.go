package classes

import (
	"context"
	"slices"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/data"
)

// differences are types that differ from the usual one in one attribute, each
// so that a share that the usual one permits is refused.
var differences = []struct {
	what   string
	change func(*data.DataTypeSpec)
}{
	{"processing", func(s *data.DataTypeSpec) { s.Processing = []string{"read"} }},
	{"region of data", func(s *data.DataTypeSpec) { s.Regions = []string{"elsewhere"} }},
	{"region of administrators", func(s *data.DataTypeSpec) { s.AdminRegions = []string{"elsewhere"} }},
	{"purpose", func(s *data.DataTypeSpec) { s.Purposes = []string{"another"} }},
	{"law", func(s *data.DataTypeSpec) { s.Laws = []data.Law{{Name: canary, Forbid: []string{"share"}}} }},
	{"contract", func(s *data.DataTypeSpec) {
		s.Contracts = []data.Clause{{Name: canary, Party: canary, Forbid: []string{"share"}}}
	}},
	{"third party", func(s *data.DataTypeSpec) { s.ThirdParties = []string{"another"} }},
}

// differ tries the named differences, all of them without a name.
func (c checks) differ(names ...string) func(context.Context, *assurance.Evidence) error {
	return func(ctx context.Context, e *assurance.Evidence) error {
		for _, d := range differences {
			if len(names) > 0 && !slices.Contains(names, d.what) {
				continue
			}
			if err := c.g.RehearseData(ctx, func(r gate.Rehearsal) error { return c.pair(r, e, d.what, d.change) }); err != nil {
				return err
			}
		}
		return nil
	}
}

// pair asks for one share of two assets of one level, whose types say the same
// until one attribute of the other's is changed.
func (c checks) pair(r gate.Rehearsal, e *assurance.Evidence, what string, change func(*data.DataTypeSpec)) error {
	ref, err := c.shared(r)
	if err != nil {
		return err
	}
	spec := usualType()
	kind := &resource.Object{Kind: "DataType", Version: 1, Metadata: meta("dun-canary-2", ""), Spec: spec}
	made, err := r.Arrange(put(c.me, kind, 0))
	if err != nil {
		return err
	}
	other := assetOf("dun-canary-2", "dun-canary-2", "public")
	if _, err := r.Arrange(put(c.me, other, 0)); err != nil {
		return err
	}
	if err := c.duty(r, c.me, "dun-canary-2", other.Ref(), time.Now().Add(time.Hour), usual); err != nil {
		return err
	}
	for _, of := range []resource.Ref{ref, other.Ref()} {
		if err := r.Handle(c.me, of, "share", usual); err != nil {
			return assurance.NotHeld("what every attribute permits is refused: %s", "所有属性均允许的处理被拒绝:%s", err)
		}
	}
	change(spec)
	if _, err := r.Arrange(put(c.me, kind, made[0].Revision)); err != nil {
		return err
	}
	if what == "region of data" {
		_, err := r.Arrange(put(c.me, assetOf("dun-canary-3", "dun-canary-2", "public"), 0))
		if err := refused(e, "an asset put into a region that its type does not name", err); err != nil {
			return err
		}
	}
	return refused(e, "another "+what, r.Handle(c.me, other.Ref(), "share", usual))
}

// context holds purpose and line against the decision.
func (c checks) context(ctx context.Context, e *assurance.Evidence) error {
	if err := c.differ("purpose")(ctx, e); err != nil {
		return err
	}
	return c.g.RehearseData(ctx, func(r gate.Rehearsal) error {
		ref, _, err := c.world(r, resource.Platform, nil, "production-user")
		if err != nil {
			return err
		}
		derived := assetOf("dun-canary-2", canary, "public")
		derived.Spec.(*data.DataAssetSpec).Sources = []string{ref.Name}
		if _, err := r.Arrange(put(c.me, derived, 0)); err != nil {
			return err
		}
		if class, _ := r.Class(derived.Ref()); class.Name != "production-user" {
			return assurance.NotHeld("what is derived from data of users is of class %s", "由用户数据派生的数据分类为 %s", class.Name)
		}
		return refused(e, "an export of what is derived, labelled public", r.Handle(c.me, derived.Ref(), "export", usual))
	})
}
