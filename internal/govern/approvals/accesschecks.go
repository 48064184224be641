package approvals

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
	"github.com/dun-sec/dun/internal/kinds/access"
)

// accessGrace is how late an access may end before the check calls it kept too long.
const accessGrace = time.Minute

const accessCanary = "dun-canary"

// AccessChecks prove controls 2.1-10 and 2.1-11, as Checks does.
func AccessChecks(g CheckGate, founder resource.Ref, now func() time.Time) []assurance.Check {
	c := accessChecks{checks{g: g, me: identity.Actor{Principal: founder, Door: "posture", MFA: true}}, now}
	return []assurance.Check{
		{Control: "2.1-10", Scope: assurance.Production, Period: 5 * time.Minute, Title: text.T("Access is requested, approved, ends in time, and none is in force outside that process", "访问须申请、审批并按期终止,流程之外没有生效的访问"), Cost: text.T("a read of each access", "读取每条访问"),
			Positive: c.seesWaiting, Probe: c.process},
		{Control: "2.1-11", Scope: assurance.Production, Period: time.Hour, Title: text.T("Each of the four kinds of access has approvers of its own; those of another kind cannot assent", "四类访问各有审批人,其他类别的审批人不能批准"), Cost: text.T("a few rehearsed changes", "数次演练更改"),
			Positive: c.seesWaiting, Probe: c.chains},
	}
}

type accessChecks struct {
	checks
	now func() time.Time
}

type try = func(gate.Request) ([]gate.Result, error)

func meta(name string) resource.Metadata {
	return resource.Metadata{Tenant: resource.Platform, Name: name}
}

// sample is an access of a kind for the founder himself.
func (c accessChecks) sample(kind string) *resource.Object {
	until := c.now().Add(time.Hour).UTC().Truncate(time.Second)
	o := &resource.Object{Kind: kind, Version: 1, Metadata: meta(accessCanary)}
	user, reason := c.me.Principal.Name, "rehearsed by the posture"
	switch kind {
	case "CodeAccess":
		o.Spec = &access.CodeAccessSpec{User: user, Reason: reason, Until: until, Repositories: []string{accessCanary}, Rights: "read"}
	case "ApplicationAccess":
		o.Spec = &access.ApplicationAccessSpec{User: user, Reason: reason, Until: until, Role: "auditor"}
	case "SystemAccess":
		o.Spec = &access.SystemAccessSpec{User: user, Reason: reason, Until: until, Hosts: []string{accessCanary}, Accounts: []string{accessCanary}}
	case "NetworkAccess":
		o.Spec = &access.NetworkAccessSpec{User: user, Reason: reason, Until: until, From: []string{"192.0.2.1/32"}, To: []string{"192.0.2.2/32"}, Ports: []string{"tcp/1"}}
	}
	return o
}

func person(name string) *resource.Object {
	return &resource.Object{Kind: "User", Version: 1, Metadata: meta(name), Spec: &access.UserSpec{}}
}

// process asks for each kind, and holds what is in force against what was
// approved and has not ended.
func (c accessChecks) process(ctx context.Context, e *assurance.Evidence) error {
	if err := c.oneOperator(); err != nil {
		return err
	}
	err := c.g.Rehearse(ctx, func(do try) error {
		for _, kind := range access.AccessKinds {
			_, err := do(put(c.me, c.sample(kind)))
			w, waits := errors.AsType[*gate.Waiting](err)
			if !waits && err == nil {
				return assurance.NotHeld("%s makes a %s alone, and nobody is asked", "%s 可独自创建 %s,无人审批", c.me.Principal, kind)
			}
			if !waits {
				return err
			}
			e.Add(kind, "waits as %s", w.Request.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	list, err := Records(c.g).Drift(ctx)
	if err != nil {
		return err
	}
	for _, d := range list {
		if kind, _, _ := strings.Cut(d.Setting, " "); strings.HasSuffix(kind, "Access") {
			return assurance.NotHeld("%s is in force outside the process: %s", "%s 未经流程即生效:%s", d.Setting, d.Why)
		}
	}
	n := 0
	var late string
	for _, kind := range access.AccessKinds {
		err := c.g.Warrants(ctx, kind, func(w gate.Warrant) {
			n++
			if at, why := access.AccessEnds(w.Object); c.now().After(at.Add(accessGrace)) {
				late = w.Object.Ref().String() + ": " + why + " since " + at.UTC().Format(time.RFC3339)
			}
		})
		if err != nil {
			return err
		}
	}
	if late != "" {
		return assurance.NotHeld("%s, and it is in force", "%s,但仍然生效", late)
	}
	e.Add("in force", "%d accesses, each approved and within its term", n)
	return nil
}

// chains lets the approver of every kind try every kind.
func (c accessChecks) chains(ctx context.Context, e *assurance.Evidence) error {
	if err := c.oneOperator(); err != nil {
		return err
	}
	for _, kind := range access.AccessKinds {
		for _, of := range access.AccessKinds {
			err := c.assent(ctx, kind, of)
			// Who has his role by a rehearsal has no history: that he is refused
			// for this alone says that the chain lets him assent.
			own := err == nil || errors.Is(err, ErrBeholden)
			switch {
			case kind == of && !own:
				return assurance.NotHeld("the approver of %s cannot assent to one: %s", "%s 的审批人无法批准该类请求:%s", kind, err.Error())
			case kind != of && own:
				return assurance.NotHeld("the approver of %s could assent to %s", "%s 的审批人可以批准 %s", of, kind)
			case kind != of && !fault.Is(err, fault.Forbidden) && !fault.Is(err, fault.NotFound):
				return err
			}
		}
		e.Add(kind, "its own approver assents, the other three are refused")
	}
	return nil
}

// assent rehearses that somebody who has the approvers' role of one kind
// approves a request of another; he holds the right in question by policy, so
// that the chain alone decides.
func (c accessChecks) assent(ctx context.Context, kind, of string) error {
	return c.g.Rehearse(ctx, func(do try) error {
		service := identity.Service(gate.Dayzero)
		role := strings.ToLower(strings.TrimSuffix(of, "Access")) + "-approver"
		binding := &resource.Object{Kind: "RoleBinding", Version: 1, Metadata: meta(accessCanary), Spec: &access.RoleBindingSpec{Role: role, Subjects: []access.Subject{{Kind: "User", Name: accessCanary}}}}
		for _, o := range []*resource.Object{person(accessCanary), binding} {
			if _, err := do(put(service, o)); err != nil {
				return err
			}
		}
		_, err := do(put(c.me, c.sample(kind)))
		w, waits := errors.AsType[*gate.Waiting](err)
		if !waits {
			return fmt.Errorf("a %s is not asked about: %w", kind, err)
		}
		approver := c.me
		approver.Principal = resource.Ref{Kind: "User", Tenant: resource.Platform, Name: accessCanary}
		_, err = do(gate.Request{Actor: approver, Changes: []gate.Change{{Op: gate.Act, Ref: w.Request, Verb: "approve", Revision: w.Revision}}})
		return err
	})
}
