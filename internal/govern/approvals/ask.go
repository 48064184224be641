package approvals

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/access"
	"github.com/dun-sec/dun/internal/kinds/response"
)

// reviewWithin is how long a change by break-glass waits for its review.
const reviewWithin = 24 * time.Hour

// Alarm implements gate.Approvals.
func (Rules) Alarm(req *gate.Request, ask *resource.Object, at time.Time) *resource.Object {
	x := ask.Spec.(*access.ChangeRequestSpec).Changes[0]
	return &resource.Object{
		Kind: "Incident", Version: 1, Metadata: resource.Metadata{Tenant: ask.Metadata.Tenant, Name: "inc-" + strings.TrimPrefix(ask.Metadata.Name, "cr-")},
		Spec: &response.IncidentSpec{
			Title: "Break-glass: " + x.Action + " " + x.Kind + " " + x.Tenant + "/" + x.Name, Severity: "high", Cause: "break-glass",
			ChangeRequest: ask.Metadata.Name, Detail: req.Actor.String() + ": " + req.Reason, Start: at.UTC().Truncate(time.Microsecond),
		},
	}
}

// maxOpen bounds the open requests of one person.
const maxOpen = 100

var ops = map[gate.Op]string{gate.Put: "put", gate.Patch: "patch", gate.Delete: "delete", gate.Act: "act", gate.Release: "release"}

// Ask implements gate.Approvals.
func (r Rules) Ask(v gate.View, req *gate.Request, wanted []gate.Wanted, n gate.Need, at time.Time) (*resource.Object, error) {
	what := n.(*need)
	p := req.Actor.Principal
	spec := &access.ChangeRequestSpec{
		Reason: req.Reason, Requester: p.Name, Tenant: p.Tenant, MFA: req.Actor.MFA, Door: req.Actor.Door, Source: req.Actor.Source,
		Rules: what.rules, Steps: what.steps, Expires: at.Add(what.expires).UTC().Truncate(time.Second), NotBefore: moment(req.Open), NotAfter: moment(req.Close),
	}
	if o := v.Get(p); o != nil {
		spec.UID = o.Metadata.UID
	}
	if req.BreakGlass {
		spec.BreakGlass, spec.Expires = true, at.Add(reviewWithin).UTC().Truncate(time.Second)
	}
	if spec.NotAfter != nil && spec.NotAfter.Before(at) {
		return nil, fault.New(fault.Invalid, "the window has closed already", "执行窗口已结束")
	}
	tenant := wanted[0].Change.Ref.Tenant
	for i := range req.Changes {
		c := &req.Changes[i]
		action := ""
		for _, w := range wanted {
			if w.Change == c {
				action = w.Action
			}
		}
		if action == "" {
			continue // says what is so already
		}
		if c.Ref.Tenant != tenant {
			tenant = resource.Platform
		}
		x, err := requested(c, action)
		if err != nil {
			return nil, err
		}
		spec.Changes = append(spec.Changes, x)
	}
	open, same := 0, (*resource.Object)(nil)
	v.Each("ChangeRequest", tenant, func(o *resource.Object) bool {
		s, st := o.Spec.(*access.ChangeRequestSpec), stateOf(o)
		if st.Phase == access.PhaseOpen && s.Asker() == spec.Asker() {
			open++
			if same == nil && slices.Equal(s.Changes, spec.Changes) && s.Reason == spec.Reason && s.Expires.After(at) {
				same = o
			}
		}
		return true
	})
	if same != nil && !req.BreakGlass {
		return same, nil
	}
	if open >= maxOpen {
		return nil, fault.New(fault.Exhausted, "%d of your requests are open; wait for some, or cancel them", "您有 %d 个未决请求;请等待或撤回部分请求", maxOpen)
	}
	return &resource.Object{
		Kind: "ChangeRequest", Version: 1, Spec: spec, State: &access.ChangeRequestState{Phase: access.PhaseOpen},
		Metadata: resource.Metadata{Tenant: tenant, Name: "cr-" + id.Random(5), Owner: &resource.Ref{Kind: p.Kind, Tenant: p.Tenant, Name: p.Name}},
	}, nil
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// requested writes a change down as it was asked for.
func requested(c *gate.Change, action string) (access.RequestedChange, error) {
	x := access.RequestedChange{
		Op: ops[c.Op], Kind: c.Ref.Kind, Tenant: c.Ref.Tenant, Name: c.Ref.Name, UID: c.Ref.UID, Revision: c.Revision, Action: action, Verb: c.Verb,
	}
	var content any
	switch c.Op {
	case gate.Put:
		o := *c.Object
		o.State, o.Status = nil, nil
		content = &o
	case gate.Patch:
		content = c.Patch
	case gate.Act:
		if content = c.Input; content == nil {
			return x, nil
		}
	default:
		return x, nil
	}
	b, err := json.Marshal(content)
	if err != nil {
		return x, fmt.Errorf("write down a change: %w", err)
	}
	x.Content = string(b)
	return x, nil
}

// change reads it back.
func change(reg *resource.Registry, x access.RequestedChange) (gate.Change, error) {
	c := gate.Change{Ref: resource.Ref{Kind: x.Kind, Tenant: x.Tenant, Name: x.Name, UID: x.UID}, Revision: x.Revision, Verb: x.Verb}
	for op, name := range ops {
		if name == x.Op {
			c.Op = op
		}
	}
	var err error
	switch c.Op {
	case gate.Put:
		k, kerr := reg.Kind(x.Kind)
		if kerr != nil {
			return c, kerr
		}
		n, nerr := resource.ParseJSON([]byte(x.Content))
		if nerr != nil {
			return c, nerr
		}
		c.Object, err = k.Decode(n)
		if err == nil {
			c.Ref.UID = x.UID
		}
	case gate.Patch:
		d := json.NewDecoder(bytes.NewReader([]byte(x.Content)))
		d.UseNumber()
		err = d.Decode(&c.Patch)
	case gate.Act:
		if x.Content == "" {
			return c, nil
		}
		k, kerr := reg.Kind(x.Kind)
		if kerr != nil {
			return c, kerr
		}
		if v, verr := k.FindVerb(x.Verb); verr == nil && v.Secret != nil {
			var s resource.Sealed
			err = json.Unmarshal([]byte(x.Content), &s)
			c.Input = s
			return c, err
		}
		c.Input = json.RawMessage(x.Content)
	}
	return c, err
}

func stateOf(o *resource.Object) *access.ChangeRequestState {
	if s, ok := o.State.(*access.ChangeRequestState); ok && s != nil {
		return s
	}
	return &access.ChangeRequestState{}
}

// Plan implements gate.Approvals. Everybody who took part is looked at again.
func (r Rules) Plan(v gate.View, o *resource.Object, at time.Time) (gate.Approved, error) {
	spec, st := o.Spec.(*access.ChangeRequestSpec), stateOf(o)
	refuse := func(en, zh string, args ...any) (gate.Approved, error) {
		return gate.Approved{}, fault.New(fault.Conflict, en, zh, args...)
	}
	if st.Phase != access.PhaseApproved {
		return refuse("it is %s", "其状态为 %s", st.Phase)
	}
	if spec.NotBefore != nil && at.Before(*spec.NotBefore) || spec.NotAfter != nil && at.After(*spec.NotAfter) {
		return refuse("it is outside its window", "不在执行窗口内")
	}
	asker := spec.Asker()
	if !v.Live(asker) {
		return refuse("who asked for it is gone or disabled", "请求人已停用或不存在")
	}
	out := gate.Approved{
		Approvers: []identity.Actor{},
		Request:   gate.Request{Actor: identity.Actor{Principal: plain(asker), Door: "approval", MFA: spec.MFA, Request: o.Metadata.Name}, Reason: spec.Reason},
	}
	for i, s := range spec.Steps {
		yes := 0
		for _, vote := range st.Votes {
			if vote.Step != i || !vote.Yes {
				continue
			}
			if err := r.may(v, o, vote.By.Ref(), i, vote.At); err != nil {
				return gate.Approved{}, err
			}
			yes++
			out.Approvers = append(out.Approvers, identity.Actor{Principal: vote.By.Ref(), Door: "approval", MFA: vote.MFA, Request: o.Metadata.Name, ChangeRequest: o.Metadata.Name})
		}
		if yes < s.Needed() {
			return refuse("step %s has %d of %d assents", "步骤 %s 仅有 %d/%d 人同意", s.Step.Name, yes, s.Needed())
		}
	}
	var err error
	out.Request.Changes, err = r.Changes(v, o)
	return out, err
}

// Changes implements gate.Approvals.
func (Rules) Changes(v gate.View, o *resource.Object) ([]gate.Change, error) {
	var out []gate.Change
	for _, x := range o.Spec.(*access.ChangeRequestSpec).Changes {
		c, err := change(v.Registry(), x)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}
