package gate

import (
	"bytes"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
)

// plan is a change that may happen: decided against old, not yet written.
type plan struct {
	kind      *resource.Kind
	action    string           // create, update or delete
	old, next *resource.Object // nil = absent
	snap      *policy.Snapshot // that allowed it
	policies  []string
	unchanged bool
	rev       uint64 // that the change gets
	at        int64  // µs
}

// still reports whether a plan made earlier holds in s: the same policy has
// seen the same old record, and nothing that other records decide has moved.
// What a verb makes may depend on when it is done, so it is done anew.
func (p *plan) still(s *state, c *Change) bool {
	return p != nil && c.Op != Act && c.Op != Delete && p.snap.Same(s.snap) && s.get(p.kind.Name, c.Ref.Tenant, c.Ref.Name) == p.old
}

// decide judges one change in s: read old, shape new, authorise old and new,
// validate. It writes nothing. rev and at are what the change would get.
func (g *Gate) decide(s *state, req *Request, c *Change, rev uint64, at int64) (*plan, error) {
	k, err := s.reg.Kind(c.Ref.Kind)
	if err != nil {
		return nil, err
	}
	p := &plan{kind: k, snap: s.snap, old: s.get(k.Name, c.Ref.Tenant, c.Ref.Name)}
	ask := func(o *resource.Object, verb, phase string) policy.Decision {
		return g.ask(s, req.Actor, o, actionName(k, verb), phase)
	}
	if p.old != nil && !ask(p.old, policy.Read, "old").Allowed {
		return nil, g.hidden(req.Actor, c.Ref, actionOf(c, p.old))
	}
	if err := precondition(c, p.old); err != nil {
		return nil, err
	}
	// Who may not do it is told so before the state says whether it could be done.
	if p.action = actionOf(c, p.old); p.old != nil {
		if d := ask(p.old, p.action, "old"); !d.Allowed {
			return nil, g.forbidden(req.Actor, k, c.Ref, p.action, d)
		}
	}
	by := resource.Moment{Time: time.UnixMicro(at).UTC(), Actor: req.Actor.Principal, Request: req.Actor.Request, MFA: req.Actor.MFA}
	if p.next, err = shape(k, c, p.old, by); err != nil {
		return nil, err
	}
	if p.old == nil && !ask(p.next, policy.Read, "new").Allowed {
		return nil, g.hidden(req.Actor, c.Ref, actionOf(c, p.old))
	}
	for _, side := range []struct {
		o     *resource.Object
		phase string
	}{{p.old, "old"}, {p.next, "new"}} {
		if side.o == nil {
			continue
		}
		d := ask(side.o, p.action, side.phase)
		if !d.Allowed {
			return nil, g.forbidden(req.Actor, k, c.Ref, p.action, d)
		}
		p.policies = append(p.policies, d.Policies...)
		// Who assented to what he may not do himself gave what he does not have.
		for _, a := range req.approved {
			if d := g.ask(s, a, side.o, actionName(k, p.action), side.phase); !d.Allowed {
				return nil, g.forbidden(a, k, c.Ref, p.action, d)
			}
			p.policies = append(p.policies, d.Policies...)
		}
	}
	return p, g.meaning(s, req, p, rev, at)
}

// actionOf is what the change is called in policies and in the log.
func actionOf(c *Change, old *resource.Object) string {
	switch {
	case c.Op == Act:
		return c.Verb
	case c.Op == Release:
		return policy.Finalize
	case c.Op == Delete:
		return policy.Delete
	case old == nil:
		return policy.Create
	}
	return policy.Update
}

// meaning validates what may be written and completes its metadata.
func (g *Gate) meaning(s *state, req *Request, p *plan, rev uint64, at int64) error {
	if p.next == nil {
		return s.deletable(p.kind, p.old, g.opt.Now())
	}
	if err := p.kind.Validate(p.next); err != nil {
		return err
	}
	if err := reserved(req.Actor, p.old, p.next); err != nil {
		return err
	}
	m := &p.next.Metadata
	now := time.UnixMicro(at).UTC()
	if p.old != nil {
		same, err := equal(p.old, p.next)
		if err != nil || same {
			p.unchanged = same
			return err
		}
		if m.Deleting != nil { // of a record that is still there
			if err := s.deletable(p.kind, p.old, g.opt.Now()); err != nil {
				return err
			}
		}
	} else {
		m.UID, m.Created = id.UID(), now
	}
	m.Revision, m.Updated = rev, now
	return placed(s, p)
}

// placed refuses a claim that another record holds, and what its tenant has no
// room for.
func placed(s *state, p *plan) error {
	if p.old == nil {
		if err := s.room(p.kind, p.next.Metadata.Tenant); err != nil {
			return err
		}
	}
	if err := s.limited(p); err != nil {
		return err
	}
	if c, taken := s.taken(p.kind, p.next); taken {
		if c.Most > 0 {
			return fault.New(fault.Exhausted, "%s: %s has %d already, and no more are allowed; delete or disable one first", "%s:%s 已有 %d 个,达到上限;请先删除或停用一个", c.Path, c.Value, c.Most)
		}
		return fault.New(fault.Conflict, "%s: %q is taken by another %s", "%s:%q 已被另一个 %s 占用", c.Path, c.Value, p.kind.Name)
	}
	return nil
}

func (s *state) deletable(k *resource.Kind, o *resource.Object, at time.Time) error {
	if k.Name == "Tenant" && o.Metadata.Name == resource.Platform {
		return fault.New(fault.Invalid, "the tenant platform is the operator's own and stays", "租户 platform 属于运营方,不能删除")
	}
	if err := s.held(o); err != nil {
		return err
	}
	if a := k.Asset(o); a != nil && a.Of.Name == "" {
		d := s.snap.Data(o)
		if until := o.Metadata.Created.Add(d.RetentionMin); d.RetentionMin > 0 && at.Before(until) {
			return fault.New(fault.Conflict, "data of the type %s are kept until %s (%s)", "数据类型 %s 的数据须保留至 %s(%s)", d.Type, until.UTC().Format(time.RFC3339), strings.Join(d.Laws, ", "))
		}
	}
	return nil
}

func equal(a, b *resource.Object) (bool, error) {
	x, err := a.Stored()
	if err != nil {
		return false, err
	}
	y, err := b.Stored()
	if err != nil {
		return false, err
	}
	return bytes.Equal(x, y), nil
}

// reserved keeps the labels of Dun itself out of everybody's hands.
func reserved(a identity.Actor, old, next *resource.Object) error {
	var r resource.Report
	for key, v := range next.Metadata.Labels {
		if !strings.HasPrefix(key, resource.Reserved) || key == resource.LabelClass {
			continue
		}
		if (key == resource.LabelBuiltin || key == resource.LabelFounder) && a == identity.Service(Dayzero) || old != nil && old.Metadata.Labels[key] == v {
			continue
		}
		r.Add("metadata.labels."+key, "labels below %s are Dun's own", "%s 开头的标签由 Dun 使用", resource.Reserved)
	}
	for key := range next.Metadata.Annotations {
		if strings.HasPrefix(key, resource.Reserved) && key != resource.LastApplied {
			r.Add("metadata.annotations."+key, "annotations below %s are Dun's own", "%s 开头的注解由 Dun 使用", resource.Reserved)
		}
	}
	return fault.Fields(r.Fields)
}

// Dayzero is the service that writes the built-in records.
const Dayzero = "dayzero"

func (g *Gate) ask(s *state, a identity.Actor, o *resource.Object, action, phase string) policy.Decision {
	return s.snap.Decide(policy.Query{Principal: a.Principal, Action: action, Object: o, Context: g.context(a, phase)})
}

func (g *Gate) context(a identity.Actor, phase string) policy.Context {
	return policy.Context{Phase: phase, Door: a.Door, Source: a.Source, MFA: a.MFA, Time: g.opt.Now(), Request: a.Request, ChangeRequest: a.ChangeRequest}
}

func notFound(r resource.Ref) error {
	return fault.New(fault.NotFound, "there is no %s", "%s 不存在", r)
}

// hidden is what somebody sees who may not read: the same as of a record that
// does not exist.
func (g *Gate) hidden(a identity.Actor, r resource.Ref, action string) error {
	g.deny(a, r, action, nil)
	r.UID = ""
	return notFound(r)
}

func (g *Gate) forbidden(a identity.Actor, k *resource.Kind, r resource.Ref, action string, d policy.Decision) error {
	g.deny(a, resource.Ref{Kind: k.Name, Tenant: r.Tenant, Name: r.Name}, action, d.Policies)
	e := fault.New(fault.Forbidden, "%s may not %s %s", "%s 无权 %s %s", a, action, r)
	e.Policies, e.Missing = d.Policies, d.Missing()
	return e
}
