package approvals

import (
	"errors"
	"slices"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/access"
)

func refuse(en, zh string, args ...any) error { return fault.New(fault.Forbidden, en, zh, args...) }

// Judge implements gate.Approvals: who may do what to a request.
func (r Rules) Judge(v gate.View, a identity.Actor, o *resource.Object, c *gate.Change, at time.Time) error {
	spec, st := o.Spec.(*access.ChangeRequestSpec), stateOf(o)
	asker := plain(spec.Asker())
	if st.Phase != access.PhaseOpen && st.Phase != access.PhaseGlass && c.Verb != "cancel" {
		return nil // the verb itself says that it is over
	}
	switch c.Verb {
	case "cancel":
		if plain(a.Principal) != asker {
			return refuse("only who asked for it takes it back; deny it instead", "只有请求人可撤回;请改为拒绝")
		}
		return nil
	case "approve", "deny", "delegate":
		if c.Verb == "deny" && plain(a.Principal) == asker {
			return refuse("cancel your own request instead", "请改为撤回自己的请求")
		}
		if err := r.may(v, o, a.Principal, st.Step, at); err != nil {
			return err
		}
		if c.Verb == "delegate" {
			return r.delegate(v, o, a.Principal, c)
		}
		return nil
	}
	return refuse("people do not do that to a request", "不能对请求执行此操作")
}

// may says why somebody may not assent in a step, as things were at a time.
func (r Rules) may(v gate.View, o *resource.Object, p resource.Ref, step int, at time.Time) error {
	spec, st := o.Spec.(*access.ChangeRequestSpec), stateOf(o)
	asker := plain(spec.Asker())
	p = plain(p)
	if p == asker {
		return refuse("nobody assents to his own request", "不能审批自己的请求")
	}
	if step >= len(spec.Steps) {
		return refuse("every step is done", "全部步骤已完成")
	}
	s := spec.Steps[step]
	from, err := origin(st, p, step)
	if err != nil {
		return err
	}
	since := st.Since
	if step < st.Step { // of a step that is over the wait is not kept: its last vote ends it
		since = o.Metadata.Created
		for _, x := range st.Votes {
			if x.Step < step {
				since = x.At
			}
		}
	}
	if !mayIn(v, s, from, owners(v, spec), at.Sub(since)) || !v.Live(p) {
		return refuse("%s is none of those who may assent in step %s", "%s 不是步骤 %s 的审批人", p, s.Step.Name)
	}
	for _, who := range []resource.Ref{p, from} {
		if why := beholden(v, who, asker, s); why != nil {
			return why
		}
	}
	return nil
}

// origin is on whose behalf somebody assents: himself, or who handed it to him.
// Who handed his say on has none.
func origin(st *access.ChangeRequestState, p resource.Ref, step int) (resource.Ref, error) {
	for _, d := range st.Handed {
		if d.Step == step && plain(d.From.Ref()) == p {
			return p, refuse("%s handed this step to %s", "%s 已将此步骤委托给 %s", p, plain(d.To.Ref()))
		}
	}
	from := p
	for range st.Handed { // back along the chain; it has no cycle, and this bounds it
		i := slices.IndexFunc(st.Handed, func(d access.Delegation) bool { return d.Step == step && plain(d.To.Ref()) == from })
		if i < 0 {
			break
		}
		from = plain(st.Handed[i].From.Ref())
	}
	return from, nil
}

// delegate refuses to hand a say to who could not use it.
func (r Rules) delegate(v gate.View, o *resource.Object, from resource.Ref, c *gate.Change) error {
	in, _ := c.Decoded().(*access.DelegateInput)
	if in == nil {
		return nil
	}
	spec := o.Spec.(*access.ChangeRequestSpec)
	to := resource.Ref{Kind: "User", Tenant: from.Tenant, Name: in.To}
	switch {
	case !v.Live(to):
		return refuse("there is no active user %s", "没有有效用户 %s", to)
	case to == plain(spec.Asker()):
		return refuse("nobody assents to his own request", "不能审批自己的请求")
	}
	return beholden(v, to, plain(spec.Asker()), spec.Steps[stateOf(o).Step])
}

// owners lists who owns the records of a request, as they are now.
func owners(v gate.View, spec *access.ChangeRequestSpec) []resource.Ref {
	var out []resource.Ref
	for _, x := range spec.Changes {
		if o := v.Get(resource.Ref{Kind: x.Kind, Tenant: x.Tenant, Name: x.Name}); o != nil && o.Metadata.Owner != nil {
			out = append(out, plain(*o.Metadata.Owner))
		}
	}
	return out
}

// giver is the deed by which somebody got what a binding gives him; nil = it
// cannot be told.
func giver(v gate.View, deeds []gate.Deed, p resource.Ref) *gate.Deed {
	var out *gate.Deed
	for i := range deeds { // newest first: back to where he was not yet in it
		d := &deeds[i]
		if d.Record == nil || !slices.ContainsFunc(v.Grants(d.Record), func(g resource.Grant) bool { return g.Principal == p }) {
			return out
		}
		out = d
	}
	return out
}

// ErrBeholden is why somebody who holds the role of a step may not assent: he
// has it by who asks, or it cannot be told by whom.
var ErrBeholden = errors.New("beholden")

func beholdenError(p, asker resource.Ref) error {
	return fault.New(fault.Forbidden, "%s has the role by %s, and no third person assented", "%s 的角色由 %s 授予,且未经第三人批准", p, asker).Because(ErrBeholden)
}

// beholden says that an approver owes what he is to the requester: that one
// made him, or gave him the role by which he approves, and no third person
// assented to it. Who cannot be told from his history counts as one.
func beholden(v gate.View, p, asker resource.Ref, s access.RequestStep) error {
	o := v.Get(p)
	if o == nil {
		return refuse("%s is gone", "%s 已不存在", p)
	}
	deeds, more, err := v.Deeds(o)
	if err != nil {
		return err
	}
	if len(deeds) > 0 {
		if first := deeds[len(deeds)-1]; first.Actor == asker.String() && first.Request == "" || more {
			return refuse("%s was made by %s, and no third person assented", "%s 由 %s 创建,且未经第三人批准", p, asker)
		}
	}
	roles := append(slices.Clone(s.Step.Roles), s.Step.EscalateTo...)
	clean, any := false, false
	for _, b := range bindings(v, p, ruleTenant(s), roles) {
		any = true
		deeds, _, err := v.Deeds(b)
		if err != nil {
			return err
		}
		d := giver(v, deeds, p)
		clean = clean || d != nil && (d.Actor != asker.String() || d.Request != "")
	}
	if any && !clean {
		return beholdenError(p, asker)
	}
	return nil
}
