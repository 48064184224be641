package classes

import (
	"context"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/data"
)

// shares tries to give data away.
func (c checks) shares(ctx context.Context, e *assurance.Evidence) error {
	if err := c.differ("third party")(ctx, e); err != nil {
		return err
	}
	if err := c.g.RehearseData(ctx, func(r gate.Rehearsal) error {
		ref, _, err := c.world(r, resource.Platform, nil, "public")
		if err != nil {
			return err
		}
		share := func() error { return r.Handle(c.me, ref, "share", usual) }
		if err := refused(e, "data given away without a duty", share()); err != nil {
			return err
		}
		if err := c.duty(r, c.me, "dun-canary-2", ref, time.Now().Add(-time.Hour), usual); err != nil {
			return err
		}
		if err := refused(e, "data given away when the duty has ended", share()); err != nil {
			return err
		}
		another := usual
		another.Recipient = "another"
		if err := refused(e, "a duty of whom the type does not name", c.duty(r, c.me, "dun-canary-3", ref, time.Now().Add(time.Hour), another)); err != nil {
			return err
		}
		if err := c.duty(r, c.me, canary, ref, time.Now().Add(time.Hour), usual); err != nil {
			return assurance.NotHeld("a share that the type names is refused: %s", "类型所列的共享被拒绝:%s", err)
		}
		if err := share(); err != nil {
			return assurance.NotHeld("a share with a duty in force is refused: %s", "有生效义务的共享被拒绝:%s", err)
		}
		e.Add("data given away with a duty in force", "permitted")
		return nil
	}); err != nil {
		return err
	}
	if err := c.named(ctx, e, "a share that has ended", nil, func(r gate.Rehearsal, ref resource.Ref) error {
		return c.duty(r, c.me, canary, ref, time.Now().Add(time.Hour), usual)
	}, "ThirdPartyDuty"); err != nil {
		return err
	}
	over := ""
	if err := c.all(ctx, "ThirdPartyDuty", func(o *resource.Object) {
		if s := o.Spec.(*data.ThirdPartyDutySpec); over == "" && time.Now().After(s.Ends) {
			over = o.Ref().String()
		}
	}); err != nil {
		return err
	}
	if over != "" {
		return assurance.NotHeld("%s has ended, and nobody has said that it is done with", "%s 已到期但未结清", over)
	}
	return nil
}

// contract lets a clause become due.
func (c checks) contract(ctx context.Context, e *assurance.Evidence) error {
	if err := c.differ("contract")(ctx, e); err != nil {
		return err
	}
	due, spec := time.Now().Add(time.Hour), usualType()
	spec.Contracts = []data.Clause{{Name: canary, Party: canary, Due: &due}}
	return c.named(ctx, e, "a clause whose duty was due", spec, nil, "DataType")
}

// named makes an asset of a type, and what more says, and lets two hours pass: a
// duty of the kind is named then, and neither before nor once the asset is gone.
func (c checks) named(ctx context.Context, e *assurance.Evidence, what string, spec *data.DataTypeSpec, more func(gate.Rehearsal, resource.Ref) error, kind string) error {
	return c.g.RehearseData(ctx, func(r gate.Rehearsal) error {
		ref, rev, err := c.world(r, tableTenant, spec, "public")
		if err != nil {
			return err
		}
		if more != nil {
			if err := more(r, ref); err != nil {
				return err
			}
		}
		before, err := Overdue(ctx, r.Scan, tableTenant, time.Now())
		if err != nil {
			return err
		}
		after, err := Overdue(ctx, r.Scan, tableTenant, time.Now().Add(2*time.Hour))
		if err != nil {
			return err
		}
		want := kind + " " + tableTenant + "/" + canary
		switch {
		case len(before) > 0:
			return assurance.NotHeld("%s is named before its time: %v", "%s 在期限之前即被列出:%v", what, before[0])
		case len(after) != 1 || after[0].Setting != want:
			return assurance.NotHeld("%s is not named: %v", "%s 未被列出:%v", what, after)
		}
		e.Add(what, "named: %s", after[0].Why)
		if more != nil {
			return nil // it holds on to the asset
		}
		if _, err := r.Arrange(gate.Request{Actor: c.me, Changes: []gate.Change{{Op: gate.Delete, Ref: ref, Revision: rev}}}); err != nil {
			return err
		}
		gone, err := Overdue(ctx, r.Scan, tableTenant, time.Now().Add(2*time.Hour))
		if err != nil {
			return err
		}
		if len(gone) > 0 {
			return assurance.NotHeld("%s is named when nothing is left: %v", "%s 在数据已不存在时仍被列出:%v", what, gone)
		}
		return nil
	})
}

// kept wants that nothing is named as too old which a hold keeps.
func (c checks) kept(ctx context.Context, e *assurance.Evidence, spec *data.DataTypeSpec) error {
	return c.g.RehearseData(ctx, func(r gate.Rehearsal) error {
		if _, _, err := c.world(r, tableTenant, spec, "public"); err != nil {
			return err
		}
		if err := c.hold(r, tableTenant); err != nil {
			return err
		}
		list, err := Overdue(ctx, r.Scan, tableTenant, time.Now().Add(2*time.Hour))
		if err != nil {
			return err
		}
		if len(list) > 0 {
			return assurance.NotHeld("what a hold keeps is named as too old: %v", "受保全的数据被列为超期:%v", list)
		}
		e.Add("the same under a hold", "not named")
		return nil
	})
}

func (c checks) hold(r gate.Rehearsal, tenant string) error {
	_, err := r.Arrange(put(c.me, &resource.Object{Kind: "LegalHold", Version: 1, Metadata: resource.Metadata{Tenant: tenant, Name: canary}, Spec: &data.LegalHoldSpec{
		Matter: canary, Law: canary, Names: []string{canary}, Kinds: []string{"DataAsset"},
	}}, 0))
	return err
}

// law tries to do away with what a law keeps.
func (c checks) law(ctx context.Context, e *assurance.Evidence) error {
	if err := c.differ("law")(ctx, e); err != nil {
		return err
	}
	old := usualType()
	old.RetentionMax = resource.Duration(time.Hour)
	if err := c.named(ctx, e, "data kept for longer than their type says", old, nil, "DataAsset"); err != nil {
		return err
	}
	if err := c.kept(ctx, e, old); err != nil {
		return err
	}
	away := func(r gate.Rehearsal, ref resource.Ref, rev uint64) error {
		_, err := r.Arrange(gate.Request{Actor: c.me, Changes: []gate.Change{{Op: gate.Delete, Ref: ref, Revision: rev}}})
		return err
	}
	if err := c.g.RehearseData(ctx, func(r gate.Rehearsal) error {
		ref, rev, err := c.world(r, resource.Platform, nil, "public")
		if err != nil {
			return err
		}
		if err := c.hold(r, resource.Platform); err != nil {
			return err
		}
		return refused(e, "a deletion under a hold", away(r, ref, rev))
	}); err != nil {
		return err
	}
	return c.g.RehearseData(ctx, func(r gate.Rehearsal) error {
		spec := usualType()
		spec.RetentionMin = resource.Duration(time.Hour)
		ref, rev, err := c.world(r, resource.Platform, spec, "public")
		if err != nil {
			return err
		}
		return refused(e, "a deletion before its time", away(r, ref, rev))
	})
}
