package approvals

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
	"github.com/dun-sec/dun/internal/kinds/access"
)

// CheckGate is what the checks ask of the gate.
type CheckGate interface {
	Warrants
	Founding() bool
	Rehearse(ctx context.Context, f func(try func(gate.Request) ([]gate.Result, error)) error) error
}

// Checks prove controls 5.2-5 to 5.2-8: what they try is rehearsed in the
// writer as the founder would do it, and undone.
func Checks(g CheckGate, founder resource.Ref, r *Reconciler) []assurance.Check {
	c := checks{g, identity.Actor{Principal: founder, Door: "posture", MFA: true}, r}
	hour := time.Hour
	return []assurance.Check{
		{Control: "5.2-5", Scope: assurance.Production, Period: hour, Title: text.T("Rights change by an approved request only: the founder himself is made to wait", "权限仅能通过已批准的请求更改:创始人本人也须等待审批"), Cost: text.T("a few rehearsed changes", "数次演练更改"),
			Positive: c.seesWaiting, Probe: c.grants},
		{Control: "5.2-6", Scope: assurance.Production, Period: hour, Title: text.T("Who assents is computed at the decision: not the requester, not who has no such role", "审批人在决定时计算:请求人本人和无此角色者均不能审批"), Cost: text.T("a few rehearsed changes", "数次演练更改"),
			Positive: c.seesWaiting, Probe: c.approvers},
		{Control: "5.2-7", Scope: assurance.Production, Period: hour, Title: text.T("Every change request is as its leaf in the log tells", "每个变更请求均与日志中的叶子一致"), Cost: text.T("a read of each request", "读取每个请求"),
			Positive: c.seesWaiting, Probe: c.kept},
		{Control: "5.2-8", Scope: assurance.Production, Period: 5 * time.Minute, Title: text.T("What is in force was approved, and approval rules change by approved requests only", "生效的设置均已批准,且审批规则本身只能通过已批准的请求更改"), Cost: text.T("a read of each record of access", "读取每条访问记录"),
			Positive: c.seesWaiting, Probe: c.inForce},
	}
}

type checks struct {
	g  CheckGate
	me identity.Actor
	r  *Reconciler
}

// oneOperator is why the four fail while one person runs the cell.
func (c checks) oneOperator() error {
	if c.g.Founding() {
		return assurance.NotHeld("one operator: nobody can assent; make a second founder with dun admin founder", "只有一名运营者:无人可审批;请用 dun admin founder 创建第二位创始人")
	}
	return nil
}

// seesWaiting shows that a rehearsal tells a change that is done from one that
// is refused: both are made.
func (c checks) seesWaiting(ctx context.Context) error {
	return c.g.Rehearse(ctx, func(try func(gate.Request) ([]gate.Result, error)) error {
		ghost := identity.Actor{Principal: resource.Ref{Kind: "User", Tenant: resource.Platform, Name: "dun-nobody"}, Door: "posture"}
		if _, err := try(put(ghost, canaryRole("dun-canary-role"))); err == nil {
			return errors.New("a rehearsal lets nobody make a role")
		}
		service := identity.Service(gate.Dayzero)
		if _, err := try(put(service, canaryRole("dun-canary-role"))); err != nil {
			return fmt.Errorf("a rehearsal refuses what is allowed: %w", err)
		}
		return nil
	})
}

func canaryRole(name string) *resource.Object {
	return &resource.Object{Kind: "Role", Version: 1, Metadata: resource.Metadata{Tenant: resource.Platform, Name: name}, Spec: &access.RoleSpec{}}
}

func put(a identity.Actor, o *resource.Object) gate.Request {
	return gate.Request{Actor: a, Reason: "rehearsed by the posture", Changes: []gate.Change{{Op: gate.Put, Ref: o.Ref(), Object: o}}}
}

// grants tries each way to a right.
func (c checks) grants(ctx context.Context, e *assurance.Evidence) error {
	if err := c.oneOperator(); err != nil {
		return err
	}
	meta := func(name string) resource.Metadata { return resource.Metadata{Tenant: resource.Platform, Name: name} }
	ways := []*resource.Object{
		canaryRole("dun-canary"),
		{Kind: "RoleBinding", Version: 1, Metadata: meta("dun-canary"), Spec: &access.RoleBindingSpec{Role: "operator", Subjects: []access.Subject{{Kind: "User", Name: c.me.Principal.Name}}}},
		{Kind: "Policy", Version: 1, Metadata: meta("dun-canary"), Spec: &access.PolicySpec{Cedar: `permit (principal == User::"platform/dun-canary", action == Action::"site.read", resource);`}},
		{Kind: "User", Version: 1, Metadata: meta("dun-canary"), Spec: &access.UserSpec{}},
	}
	return c.g.Rehearse(ctx, func(try func(gate.Request) ([]gate.Result, error)) error {
		for _, o := range ways {
			_, err := try(put(c.me, o))
			if w, waits := errors.AsType[*gate.Waiting](err); waits {
				e.Add(o.Kind, "waits as %s", w.Request.Name)
				continue
			}
			if err == nil {
				return assurance.NotHeld("%s makes a %s alone, and nobody is asked", "%s 可独自创建 %s,无人审批", c.me.Principal, o.Kind)
			}
			return err
		}
		return nil
	})
}

// approvers tries to assent as those who may not.
func (c checks) approvers(ctx context.Context, e *assurance.Evidence) error {
	if err := c.oneOperator(); err != nil {
		return err
	}
	return c.g.Rehearse(ctx, func(try func(gate.Request) ([]gate.Result, error)) error {
		_, err := try(put(c.me, canaryRole("dun-canary")))
		w, waits := errors.AsType[*gate.Waiting](err)
		if !waits {
			return assurance.NotHeld("a change of roles is not asked about", "角色更改未要求审批")
		}
		out, err := try(put(identity.Service(gate.Dayzero), &resource.Object{Kind: "User", Version: 1, Metadata: resource.Metadata{Tenant: resource.Platform, Name: "dun-canary"}, Spec: &access.UserSpec{}}))
		if err != nil {
			return err
		}
		nobody := c.me
		nobody.Principal = out[0].Ref
		nobody.Principal.UID = ""
		for what, a := range map[string]identity.Actor{"the requester": c.me, "somebody without the role": nobody, "nobody": {Principal: resource.Ref{Kind: "User", Tenant: resource.Platform, Name: "dun-nobody"}}} {
			_, err := try(gate.Request{Actor: a, Changes: []gate.Change{{Op: gate.Act, Ref: w.Request, Verb: "approve", Revision: w.Revision}}})
			switch {
			case err == nil:
				return assurance.NotHeld("%s could approve", "%s 可以审批", what)
			case !fault.Is(err, fault.Forbidden) && !fault.Is(err, fault.NotFound):
				return err
			}
			e.Add(what, "refused: %s", fault.Of(err).Code)
		}
		return nil
	})
}

// kept holds each request against its leaf.
func (c checks) kept(ctx context.Context, e *assurance.Evidence) error {
	if err := c.oneOperator(); err != nil {
		return err
	}
	n, broken := 0, ""
	err := c.g.Warrants(ctx, "ChangeRequest", func(w gate.Warrant) {
		if n++; w.Broken != "" && broken == "" {
			broken = w.Object.Metadata.Tenant + "/" + w.Object.Metadata.Name + ": " + w.Broken
		}
	})
	if err != nil {
		return err
	}
	e.Add("requests", "%d", n)
	if broken != "" {
		return assurance.NotHeld("%s", "%s", broken)
	}
	return nil
}

// inForce reconciles now, and tries to change a rule.
func (c checks) inForce(ctx context.Context, e *assurance.Evidence) error {
	if err := c.oneOperator(); err != nil {
		return err
	}
	drift, err := c.r.Round(ctx)
	if err != nil {
		return err
	}
	drift = c.r.rights(drift)
	e.Add("drift", "%d", len(drift))
	if len(drift) > 0 {
		return assurance.NotHeld("%s: %s", "%s:%s", drift[0].Setting, drift[0].Why)
	}
	return c.g.Rehearse(ctx, func(try func(gate.Request) ([]gate.Result, error)) error {
		o := &resource.Object{Kind: "ApprovalRule", Version: 1, Metadata: resource.Metadata{Tenant: resource.Platform, Name: "dun-canary"}, Spec: &access.ApprovalRuleSpec{
			Kinds: []string{"Site"}, Steps: []access.ApprovalStep{{Name: "me", Users: []string{c.me.Principal.Name}}},
		}}
		_, err := try(put(c.me, o))
		if w, waits := errors.AsType[*gate.Waiting](err); waits {
			e.Add("a new rule", "waits as %s", w.Request.Name)
			return nil
		}
		if err == nil {
			return assurance.NotHeld("one person changes the approval rules alone", "一人可独自更改审批规则")
		}
		return err
	})
}
