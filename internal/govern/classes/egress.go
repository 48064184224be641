package classes

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
)

// EgressEnv is what the check of control 1-1 tries.
type EgressEnv struct {
	Gate    *gate.Gate
	Events  EventLog
	Founder resource.Ref // who has every right that nothing forbids

	// Class of what is planted; "" = production-user. Of another class than
	// those of users' data the check must fail, which its test does.
	Class string
}

// EventLog is where the canary's events go and are looked for.
type EventLog interface {
	Add(events.Event)
	Flush(context.Context) error
	Search(context.Context, events.Query) ([]events.Event, string, error)
}

const (
	canaryTenant = "dun-canary"
	userData     = "production-user"
)

// Egress proves control 1-1 as far as doors are built: a record with a marker,
// of class production-user, does not leave its tenant by any of them, while the
// same record without the class does. A later door joins by one line in doors.
func Egress(env EgressEnv) assurance.Check {
	if env.Class == "" {
		env.Class = userData
	}
	x := egress{env, identity.Actor{Principal: env.Founder, Door: "posture", MFA: true}}
	return assurance.Check{
		Control: "1-1", Scope: assurance.Production, Period: time.Hour,
		Title:    text.T("Users' data in production leave their tenant by none of the doors that are built: record, list, watch, history, proof, audit log, export, events", "生产环境的用户数据不会经任何已建成的出口离开其租户:记录、列表、监视、历史、证明、审计日志、导出、事件"),
		Cost:     text.T("a ban in the canary tenant, an event, a pass over each door, a leaf for each refusal", "金丝雀租户中的一个封禁、一个事件、遍历各出口、每次拒绝一个叶子"),
		Positive: x.arrives, Probe: x.stays,
	}
}

type egress struct {
	env EgressEnv
	me  identity.Actor
}

// planted is a record whose marker is looked for.
type planted struct {
	ref    resource.Ref
	rev    uint64
	marker string
	from   int64 // leaves of the log before it
}

// doors are the ways on which a record's content can reach somebody.
func (x egress) doors() []door {
	return []door{{"record", x.record}, {"list", x.list}, {"watch", x.watch}, {"history", x.history}, {"proof", x.proof}, {"audit log", x.log}, {"export", x.export}, {"events", x.events}}
}

type door struct {
	name string
	find func(context.Context, planted) (content any, err error)
}

// through reports by which doors the marker comes.
func (x egress) through(ctx context.Context, p planted) (open, shut []string, err error) {
	for _, d := range x.doors() {
		got, err := d.find(ctx, p)
		switch {
		case fault.Is(err, fault.NotFound) || fault.Is(err, fault.Forbidden):
		case err != nil:
			return nil, nil, fmt.Errorf("%s: %w", d.name, err)
		}
		if err == nil && strings.Contains(fmt.Sprintf("%s", got), p.marker) {
			open = append(open, d.name)
		} else {
			shut = append(shut, d.name)
		}
	}
	return open, shut, nil
}

func (x egress) apply(ctx context.Context, c gate.Change) ([]gate.Result, error) {
	a := identity.Service(gate.Posture)
	a.Door = "posture"
	return x.env.Gate.Apply(ctx, gate.Request{Actor: a, Changes: []gate.Change{c}, Reason: "check 1-1"})
}

// plant writes a record and an event of it, and returns what takes it away.
func (x egress) plant(ctx context.Context, class string) (planted, func(), error) {
	put := func(kind, tenant, name string, labels map[string]string, spec map[string]any) gate.Change {
		o := &resource.Object{Kind: kind, Metadata: resource.Metadata{Tenant: tenant, Name: name, Labels: labels}, Spec: spec}
		return gate.Change{Op: gate.Put, Ref: o.Ref(), Object: o}
	}
	_, err := x.apply(ctx, put("Tenant", resource.Platform, canaryTenant, nil, map[string]any{"title": "Canary of the checks"}))
	if err != nil && !fault.Is(err, fault.Conflict) {
		return planted{}, nil, err
	}
	p := planted{marker: "marker-" + id.Random(16)}
	book, err := x.env.Gate.Book(x.me, gate.MainLog)
	if err != nil {
		return p, nil, err
	}
	p.from = book.Size()
	labels := map[string]string{"canary": p.marker}
	if class != "" {
		labels[resource.LabelClass] = class
	}
	out, err := x.apply(ctx, put("Ban", canaryTenant, "c"+id.Random(10), labels, map[string]any{"action": "ban", "sources": []string{"192.0.2.1"}, "sites": []string{}, "expires": x.soon()}))
	if err != nil {
		return p, nil, err
	}
	p.ref, p.rev = out[0].Ref, out[0].Revision
	x.env.Events.Add(events.Event{Tenant: canaryTenant, Part: "posture", Kind: "canary", Object: "ban/" + p.ref.Name, Action: "allowed"})
	return p, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		// What stays behind is found by its tenant, and ends by itself.
		_, _ = x.apply(ctx, gate.Change{Op: gate.Delete, Ref: p.ref, Revision: p.rev})
	}, nil
}

func (x egress) soon() string { return time.Now().Add(time.Hour).UTC().Format(time.RFC3339) }

// arrives shows that each door lets a record pass that has no class of users'
// data: a probe that finds nothing anywhere would prove nothing.
func (x egress) arrives(ctx context.Context) error {
	p, away, err := x.plant(ctx, "")
	if err != nil {
		return err
	}
	defer away()
	_, shut, err := x.through(ctx, p)
	if err == nil && len(shut) > 0 {
		err = fmt.Errorf("a record of no such class does not come by %s", strings.Join(shut, ", "))
	}
	return err
}

func (x egress) stays(ctx context.Context, e *assurance.Evidence) error {
	p, away, err := x.plant(ctx, x.env.Class)
	if err != nil {
		return err
	}
	defer away()
	open, shut, err := x.through(ctx, p)
	if err != nil {
		return err
	}
	e.Add("tried as", "%s, about %s", x.me.Principal, p.ref)
	e.Add("shut", "%s", strings.Join(shut, ", "))
	e.Add("not tried", "edge responses; bastion, objects, SQL and backup are not built yet")
	if len(open) > 0 {
		return assurance.NotHeld("it leaves by %s", "经 %s 流出", strings.Join(open, ", "))
	}
	return nil
}

func (x egress) record(ctx context.Context, p planted) (any, error) {
	o, err := x.env.Gate.Get(ctx, x.me, p.ref)
	if err != nil {
		return nil, err
	}
	return o.Stored()
}

func (x egress) list(ctx context.Context, p planted) (any, error) {
	l, err := x.env.Gate.Scan(x.me, gate.ListOptions{Kind: p.ref.Kind, Tenant: gate.AllTenants, Limit: gate.MaxList})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	_, err = l.Each(ctx, func(o *resource.Object) bool { return x.write(&b, o, p) })
	return b.Bytes(), err
}

func (x egress) write(b *bytes.Buffer, o *resource.Object, p planted) bool {
	if o != nil && o.Metadata.Name == p.ref.Name {
		stored, err := o.Stored()
		b.Write(stored)
		return err == nil
	}
	return true
}

func (x egress) watch(ctx context.Context, p planted) (any, error) {
	feed, err := x.env.Gate.Watch(x.me, []string{p.ref.Kind}, nil)
	if err != nil {
		return nil, err
	}
	batch, err := feed.Next(ctx)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, c := range batch.Changes {
		x.write(&b, c.Object, p)
	}
	return b.Bytes(), nil
}

func (x egress) history(ctx context.Context, p planted) (any, error) {
	list, err := x.env.Gate.History(ctx, x.me, p.ref, 0, 10)
	var b bytes.Buffer
	for _, v := range list {
		x.write(&b, v.Object, p)
	}
	return b.Bytes(), err
}

func (x egress) proof(ctx context.Context, p planted) (any, error) {
	_, b, _, err := x.env.Gate.ProveBundle(ctx, x.me, p.ref, 0)
	return plainText(b), err
}

func (x egress) log(ctx context.Context, p planted) (any, error) {
	book, err := x.env.Gate.Book(x.me, gate.MainLog)
	if err != nil {
		return nil, err
	}
	list, err := book.Leaves(ctx, uint64(p.from), gate.MaxPage)
	var b bytes.Buffer
	for _, l := range list {
		for _, v := range l.Values {
			b.Write(v)
		}
	}
	return b.Bytes(), err
}

func (x egress) export(ctx context.Context, p planted) (any, error) {
	book, err := x.env.Gate.Book(x.me, gate.MainLog)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = book.Export(ctx, &b, func(e audit.Entry) bool { return e.Seq >= uint64(p.from) })
	return plainText(b.Bytes()), err
}

func (x egress) events(ctx context.Context, p planted) (any, error) {
	if err := x.env.Events.Flush(ctx); err != nil {
		return nil, err
	}
	list, _, err := x.env.Events.Search(ctx, events.Query{Tenants: []string{canaryTenant}, Kind: "canary", NewestFirst: true, Limit: 1000, Keep: x.env.Gate.Sees(x.me)})
	var b bytes.Buffer
	for _, e := range list {
		if e.Object == "ban/"+p.ref.Name {
			b.WriteString(p.marker) // its attribute is masked like a secret: that the event comes is the find
		}
	}
	return b.Bytes(), err
}
