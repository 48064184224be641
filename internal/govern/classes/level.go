package classes

import (
	"context"
	"errors"
	"math"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/data"
)

// everythingIsClassed counts the records and holds each label against the
// classes; an asset without a label must be of the highest.
func (c checks) everythingIsClassed(ctx context.Context, e *assurance.Evidence) error {
	there, err := c.classes(ctx)
	if err != nil {
		return err
	}
	labelled, bare, lost := 0, 0, ""
	for _, k := range c.g.Registry().All() {
		if err := c.each(ctx, k.Name, func(o *resource.Object) {
			switch class := o.Metadata.Labels[resource.LabelClass]; {
			case class == "":
				bare++
			case there[class]:
				labelled++
			case lost == "":
				lost = o.Ref().String() + ": " + class
			}
		}); err != nil {
			return err
		}
	}
	e.Add("records", "%d with a label, %d without one, of the highest class", labelled, bare)
	if lost != "" {
		return assurance.NotHeld("a class that is not there: %s", "分类不存在:%s", lost)
	}
	return c.g.RehearseData(ctx, func(r gate.Rehearsal) error {
		ref, _, err := c.world(r, resource.Platform, nil, "")
		if err != nil {
			return err
		}
		if class, _ := r.Class(ref); class.Level != resource.HighestLevel {
			return assurance.NotHeld("what has no label is of level %d", "无标签的资产级别为 %d", class.Level)
		}
		e.Add("without a label", "level %d", resource.HighestLevel)
		o := &resource.Object{Kind: "DataAsset", Version: 1, Metadata: meta("dun-canary-2", "dun-nowhere"), Spec: &data.DataAssetSpec{Form: "content", What: "file", Owner: canary, OwnerType: "company", Region: canary}}
		_, err = r.Arrange(put(c.me, o, 0))
		return refused(e, "an asset of a class that is not there", err)
	})
}

func (c checks) classes(ctx context.Context) (map[string]bool, error) {
	there := map[string]bool{}
	err := c.each(ctx, "DataClass", func(o *resource.Object) { there[o.Metadata.Name] = true })
	return there, err
}

func (c checks) each(ctx context.Context, kind string, f func(*resource.Object)) error {
	return c.as(ctx, c.me, kind, func(_ *gate.Listing, o *resource.Object) { f(o) })
}

// all shows the records about data of every class, which no person reads.
func (c checks) all(ctx context.Context, kind string, f func(*resource.Object)) error {
	return c.as(ctx, identity.Service(Service), kind, func(_ *gate.Listing, o *resource.Object) { f(o) })
}

func (c checks) as(ctx context.Context, a identity.Actor, kind string, f func(*gate.Listing, *resource.Object)) error {
	l, err := c.g.Scan(a, gate.ListOptions{Kind: kind, Tenant: gate.AllTenants, Limit: gate.MaxList})
	if err != nil {
		return err
	}
	_, err = l.Each(ctx, func(o *resource.Object) bool {
		f(l, o)
		return true
	})
	return err
}

// loweringWaits looks at the tree, and tries every way down by one person.
func (c checks) loweringWaits(ctx context.Context, e *assurance.Evidence) error {
	top, least := 0, math.MaxInt
	of := map[string]bool{}
	if err := c.each(ctx, "DataClass", func(o *resource.Object) {
		s := o.Spec.(*data.DataClassSpec)
		top = max(top, s.Level)
		switch o.Metadata.Name {
		case resource.HighestClass, "production-user", "production-business", "production-system":
			of[o.Metadata.Name] = s.Parent == resource.HighestClass || o.Metadata.Name == resource.HighestClass
			least = min(least, s.Level)
		}
	}); err != nil {
		return err
	}
	for _, name := range []string{resource.HighestClass, "production-user", "production-business", "production-system"} {
		if !of[name] || least != top {
			return assurance.NotHeld("%s is not at the top of the classes", "%s 不在分类的最高级", name)
		}
	}
	e.Add("classes", "production, of users, business and system, at level %d of %d", least, top)
	if c.g.Founding() {
		return assurance.NotHeld("one operator: who lowers a class is asked by nobody; make a second founder with dun admin founder", "只有一名运营者:降级无人审批;请用 dun admin founder 创建第二位创始人")
	}
	return c.g.RehearseData(ctx, func(r gate.Rehearsal) error {
		ref, rev, err := c.world(r, resource.Platform, nil, "production-user")
		if err != nil {
			return err
		}
		for what, req := range map[string]gate.Request{
			"lowering a label":          {Actor: c.me, Changes: []gate.Change{{Op: gate.Patch, Ref: ref, Revision: rev, Patch: map[string]any{"metadata": map[string]any{"labels": map[string]any{resource.LabelClass: "public"}}}}}},
			"making something lower":    put(c.me, &resource.Object{Kind: "DataAsset", Version: 1, Metadata: meta("dun-canary-2", "public"), Spec: &data.DataAssetSpec{Form: "content", What: "file", Owner: canary, OwnerType: "company", Region: canary}}, 0),
			"lowering what is no asset": put(c.me, &resource.Object{Kind: "LegalHold", Version: 1, Metadata: meta("dun-canary-3", "public"), Spec: &data.LegalHoldSpec{Matter: canary, Law: canary, Names: []string{canary}}}, 0),
		} {
			_, err := r.Try(req)
			if w, waits := errors.AsType[*gate.Waiting](err); waits {
				e.Add(what, "waits as %s", w.Request.Name)
				continue
			}
			if err == nil {
				return assurance.NotHeld("%s is done by one person", "%s 可由一人完成", what)
			}
			return err
		}
		return nil
	})
}

// levelDecides asks the same before and after a raise.
func (c checks) levelDecides(ctx context.Context, e *assurance.Evidence) error {
	return c.g.RehearseData(ctx, func(r gate.Rehearsal) error {
		ref, rev, err := c.world(r, resource.Platform, nil, "public")
		if err != nil {
			return err
		}
		if err := r.Handle(c.me, ref, "export", usual); err != nil {
			return assurance.NotHeld("an export of public data is refused: %s", "公开数据的导出被拒绝:%s", err)
		}
		e.Add("public", "exported")
		if _, err := r.Try(gate.Request{Actor: c.me, Changes: []gate.Change{{Op: gate.Patch, Ref: ref, Revision: rev, Patch: map[string]any{"metadata": map[string]any{"labels": map[string]any{resource.LabelClass: "production-user"}}}}}}); err != nil {
			return err
		}
		err = r.Handle(c.me, ref, "export", usual)
		if err != nil && !fault.Is(err, fault.Forbidden) {
			return err
		}
		return refused(e, "the same export once raised", err)
	})
}
