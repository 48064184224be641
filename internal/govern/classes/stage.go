package classes

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/deposit"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/access"
	"github.com/dun-sec/dun/internal/kinds/system"
)

// Whom and what the check makes, all of it below two tenants of its own. What
// they may do is a built-in policy (policy/builtin/posture.cedar): a policy of
// their own would have every watch of the cell begin anew.
const (
	canaryTenant = "dun-canary"
	otherTenant  = "dun-canary-other"
	checkName    = "dun-check"
	// Mark begins the names of records that a try of 1-1 makes in the canary's
	// tenant, so that the next one takes away what a crash left.
	Mark = "egress-"
)

var (
	owner    = resource.Ref{Kind: "User", Tenant: canaryTenant, Name: checkName}
	stranger = resource.Ref{Kind: "User", Tenant: otherTenant, Name: checkName}
	key      = resource.Ref{Kind: "AccessKey", Tenant: otherTenant, Name: checkName}
	placed   = resource.Ref{Kind: "Node", Tenant: resource.Platform, Name: canaryTenant}
	astray   = resource.Ref{Kind: "Node", Tenant: resource.Platform, Name: otherTenant}
)

// stage is who tries, and what for.
type stage struct {
	Planted
	tokens    map[resource.Ref]string // of sessions
	keyID     string                  // "" = no key tries
	keySecret []byte
}

func (s *stage) keyName() string {
	if s.keyID == "" {
		return "no access key"
	}
	return "the access key of that user"
}

func (x *egress) service() identity.Actor {
	a := identity.Service(gate.Posture)
	a.Door = "posture"
	return a
}

func (x *egress) apply(ctx context.Context, changes ...gate.Change) ([]gate.Result, error) {
	return x.env.Gate.Apply(ctx, gate.Request{Actor: x.service(), Changes: changes, Reason: "check 1-1"})
}

func made(ref resource.Ref, labels map[string]string, spec any) gate.Change {
	o := &resource.Object{Kind: ref.Kind, Version: 1, Metadata: resource.Metadata{Tenant: ref.Tenant, Name: ref.Name, Labels: labels}, Spec: spec}
	return gate.Change{Op: gate.Put, Ref: ref, Object: o}
}

// plant makes those who try, a record and an event of it, and returns what
// takes all of it away. What a try that was cut left goes first.
func (x *egress) plant(ctx context.Context, class string) (*stage, func(), error) {
	var ends []func()
	away := func() {
		for _, end := range ends {
			end()
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		// What stays behind ends by itself, or is taken away by the next try.
		_ = x.clear(ctx)
	}
	if err := x.clear(ctx); err != nil {
		return nil, nil, err
	}
	s := &stage{tokens: map[resource.Ref]string{}}
	s.Marker = "marker-" + id.Random(16)
	s.Ref = resource.Ref{Kind: "Ban", Tenant: canaryTenant, Name: Mark + id.Random(10)}
	s.request = id.Request(x.env.Now(), 1)
	for _, d := range x.env.Doors {
		if d.Begin != nil {
			ends = append(ends, d.Begin(s.Planted))
		}
	}
	if err := x.people(ctx, s); err != nil {
		away()
		return nil, nil, err
	}
	if err := x.subject(ctx, s, class); err != nil {
		away()
		return nil, nil, err
	}
	return s, away, nil
}

// people makes the owner, the stranger and two nodes, and signs them in.
func (x *egress) people(ctx context.Context, s *stage) error {
	tenant := func(name string) gate.Change {
		return made(resource.Ref{Kind: "Tenant", Tenant: resource.Platform, Name: name}, nil, &system.TenantSpec{Title: "Canary of the checks"})
	}
	if _, err := x.apply(ctx, tenant(canaryTenant)); err != nil && !fault.Is(err, fault.Conflict) { // other checks made it
		return err
	}
	changes := []gate.Change{
		tenant(otherTenant),
		made(owner, nil, &access.UserSpec{}), made(stranger, nil, &access.UserSpec{}),
		made(placed, nil, &system.NodeSpec{Roles: []string{"edge"}, Tenants: []string{canaryTenant}}),
		made(astray, nil, &system.NodeSpec{Roles: []string{"edge"}, Tenants: []string{otherTenant}}),
	}
	if x.env.Secrets != nil {
		changes = append(changes, made(key, nil, &access.AccessKeySpec{User: checkName}))
	}
	if _, err := x.apply(ctx, changes...); err != nil {
		return fmt.Errorf("make who tries: %w", err)
	}
	by := x.service()
	by.Proof, by.MFA = identity.ProofPassword, true
	for _, u := range []resource.Ref{owner, stranger} {
		token, _, err := x.env.Gate.OpenSession(ctx, by, u, "")
		if err != nil {
			return fmt.Errorf("sign in who tries: %w", err)
		}
		s.tokens[u] = token
	}
	if x.env.Secrets == nil {
		return nil
	}
	res, v, err := deposit.Make(ctx, x.env.Gate, x.env.Secrets, deposit.Request{Actor: identity.Actor{Principal: stranger, Door: "posture", MFA: true, Proof: identity.ProofPassword}, Ref: key, Verb: "issue"})
	if err != nil {
		return fmt.Errorf("make the key that tries: %w", err)
	}
	defer v.Wipe()
	s.keyID, s.keySecret = res.Object.State.(*access.AccessKeyState).KeyID, bytes.Clone(v.Reveal())
	return nil
}

// subject plants the record, in two revisions, and an event of it.
func (x *egress) subject(ctx context.Context, s *stage, class string) error {
	book, err := x.env.Gate.Book(x.me, gate.MainLog)
	if err != nil {
		return err
	}
	s.log, s.refused = book.Size(), -1
	if denials, err := x.env.Gate.Book(x.me, gate.DenialsLog); err == nil {
		s.refused = denials.Size()
	} else if !fault.Is(err, fault.Unavailable) {
		return err
	}
	labels := map[string]string{"canary": s.Marker, "check": checkName}
	if class != "" {
		labels[resource.LabelClass] = class
	}
	out, err := x.apply(ctx, made(s.Ref, labels, map[string]any{"action": "ban", "sources": []string{"192.0.2.1"}, "sites": []string{}, "expires": x.env.Now().Add(time.Hour).UTC().Format(time.RFC3339)}))
	if err != nil {
		return err
	}
	s.First = out[0].Revision
	if out, err = x.apply(ctx, gate.Change{Op: gate.Patch, Ref: s.Ref, Revision: s.First, Patch: map[string]any{"metadata": map[string]any{"labels": map[string]any{"again": s.Marker}}}}); err != nil {
		return err
	}
	s.Second = out[0].Revision
	x.tell(s, "")
	return nil
}

// tell adds an event of the record, and behind it the sentinel, which the
// stranger may see: what has not come before it does not come.
func (x *egress) tell(s *stage, sentinel string) {
	add := func(e events.Event) {
		e.Part, e.Kind, e.Action = "posture", "canary", "allowed"
		x.env.Events.Add(e)
	}
	add(events.Event{Tenant: canaryTenant, Object: "ban/" + s.Ref.Name, Request: s.request})
	if sentinel != "" {
		add(events.Event{Tenant: otherTenant, Object: "ban/" + sentinel})
	}
}

// clear takes away what a try made, also one that a crash cut.
func (x *egress) clear(ctx context.Context) error {
	a := x.service()
	var changes []gate.Change
	gone := func(ref resource.Ref) error {
		o, err := x.env.Gate.Get(ctx, a, ref)
		if fault.Is(err, fault.NotFound) {
			return nil
		}
		if err == nil {
			changes = append(changes, gate.Change{Op: gate.Delete, Ref: ref, Revision: o.Metadata.Revision})
		}
		return err
	}
	for _, kind := range []string{"Ban", "Site"} {
		p, err := x.env.Gate.List(ctx, a, gate.ListOptions{Kind: kind, Tenant: canaryTenant, Limit: gate.MaxPage})
		if err != nil {
			return err
		}
		for _, o := range p.Items {
			if len(changes) < gate.MaxChanges/2 && bytes.HasPrefix([]byte(o.Metadata.Name), []byte(Mark)) {
				changes = append(changes, gate.Change{Op: gate.Delete, Ref: o.Ref(), Revision: o.Metadata.Revision})
			}
		}
	}
	for _, ref := range []resource.Ref{key, owner, stranger, placed, astray, {Kind: "Tenant", Tenant: resource.Platform, Name: otherTenant}} {
		if err := gone(ref); err != nil {
			return err
		}
	}
	if len(changes) == 0 {
		return nil
	}
	if _, err := x.apply(ctx, changes...); err != nil {
		return fmt.Errorf("take away what a try made: %w", err)
	}
	return nil
}

// noted shows that who tried is in the log of refusals.
func (x *egress) noted(ctx context.Context, s *stage, e *assurance.Evidence) error {
	if s.refused < 0 {
		e.Add("refusals", "the log of refusals is off")
		return nil
	}
	book, err := x.env.Gate.Book(x.me, gate.DenialsLog)
	if err != nil {
		return err
	}
	list, err := book.Leaves(ctx, uint64(s.refused), gate.MaxPage)
	if err != nil {
		return err
	}
	by, about, more := map[string]int{}, 0, false
	for i := range list {
		who, name := string(list[i].Values[audit.FieldActor]), string(list[i].Values[audit.FieldName])
		by[who]++
		if name == s.Ref.Name {
			about++
		}
		leaf, err := audit.ParseLeaf(list[i].Leaf)
		more = more || err == nil && leaf.Action == "suppressed"
	}
	e.Add("refusals", "%d leaves of %s, %d of %s, %d of nobody; %d name the record", by[x.me.Principal.String()], x.me.Principal, by[stranger.String()], stranger, by["Anonymous platform/nobody"], about)
	if about == 0 && !more {
		return assurance.NotHeld("who tries to read it leaves no leaf", "读取尝试未留下叶子")
	}
	return nil
}
