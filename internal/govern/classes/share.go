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
		ref, _, err := c.world(r, nil, "public", "canary")
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
	over := ""
	if err := c.each(ctx, "ThirdPartyDuty", func(o *resource.Object) {
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
