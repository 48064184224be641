package gate

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/id"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
)

// Approvals says which changes need the assent of others, and whose. It is
// asked in the writer, about the records as they are there, and changes
// nothing. govern/approvals is the one that there is; the gate keeps what it
// says: no path of a write leads around it.
type Approvals interface {
	// Kind is the kind of the records that ask for assent. The gate alone makes
	// them; nobody puts, patches or deletes one.
	Kind() string
	// Service is the principal that ends them, and carries out what was approved.
	Service() resource.Ref
	// Founding reports whether the cell has too few founders for approvals.
	Founding(v View) bool
	// Need says what assent the changes need; nil = none.
	Need(v View, req *Request, w []Wanted) (Need, error)
	// Ask makes the record that asks for assent, or returns the one that asks
	// for the same already.
	Ask(v View, req *Request, w []Wanted, n Need, at time.Time) (*resource.Object, error)
	// Alarm makes the record that tells of a request by break-glass.
	Alarm(req *Request, ask *resource.Object, at time.Time) *resource.Object
	// Judge refuses a verb on such a record that policy would allow.
	Judge(v View, a identity.Actor, o *resource.Object, c *Change, at time.Time) error
	// Changes reads back what a record asks for, whatever became of it.
	Changes(v View, o *resource.Object) ([]Change, error)
	// Withhold is a record without the content of what it asks for, and without
	// what was concluded from it, marked as such. The record itself stays.
	Withhold(o *resource.Object) *resource.Object
	// Plan reads an approved record back, or says why it may not run now.
	Plan(v View, o *resource.Object, at time.Time) (Approved, error)
}

// Need is what assent changes need: Approvals made it and understands it.
type Need interface {
	// People names who may give it, for the one who has to wait.
	People() []string
}

// Wanted is one change that policy allows.
type Wanted struct {
	Change    *Change
	Kind      *resource.Kind
	Action    string
	Old, Next *resource.Object // nil = absent
}

// Approved is a request that others assented to.
type Approved struct {
	Request   Request // its actor is who asked
	Approvers []identity.Actor
}

// Waiting says that a request waits for assent: nothing of it was done.
type Waiting struct {
	Request   resource.Ref // the record that asks for it
	Revision  uint64       // of that record
	Approvers []string
}

// Error implements error: within the gate it ends the attempt.
func (w *Waiting) Error() string { return "waits for approval as " + w.Request.String() }

// View shows Approvals the records of the moment, to whoever may see them or
// not: it decides for the cell, and answers nobody.
type View struct {
	g   *Gate
	s   *state
	ctx context.Context
}

// Get returns a record; nil = there is none. It must not be changed.
func (v View) Get(r resource.Ref) *resource.Object { return v.s.get(r.Kind, r.Tenant, r.Name) }

// Each shows the records of a kind in a tenant, "" = in all, until f says no.
func (v View) Each(kind, tenant string, f func(*resource.Object) bool) {
	t := v.s.trees[kind]
	if t == nil {
		return
	}
	if tenant == "" {
		t.Ascend(f)
		return
	}
	t.AscendGreaterOrEqual(&resource.Object{Metadata: resource.Metadata{Tenant: tenant}}, func(o *resource.Object) bool {
		return o.Metadata.Tenant == tenant && f(o)
	})
}

// Registry is the list of kinds.
func (v View) Registry() *resource.Registry { return v.s.reg }

// Live reports whether somebody is there and not disabled.
func (v View) Live(p resource.Ref) bool {
	o := v.Get(p)
	if o == nil || p.UID != "" && o.Metadata.UID != p.UID {
		return false
	}
	k, err := v.s.reg.Kind(p.Kind)
	return err == nil && !k.Disabled(o)
}

// Grants lists who holds which role by a record.
func (v View) Grants(o *resource.Object) []resource.Grant {
	k, err := v.s.reg.Kind(o.Kind)
	if err != nil {
		return nil
	}
	return k.Grants(o)
}

// Class is the class of data that a record has, or would have, in force.
func (v View) Class(o *resource.Object) policy.Class { return v.s.snap.Class(o) }

// Deed is who did something to a record, and by which approved request.
type Deed struct {
	Actor   string // as in "User platform/operator"
	Request string // name of the record that asked; "" = nobody was asked

	// Record is the record as it was left; nil = it was deleted, or the history
	// of it is gone.
	Record *resource.Object
}

// maxDeeds is how far back Deeds looks.
const maxDeeds = 200

// Deeds lists who made and changed a record, newest first; more says that
// there are older ones than it looked at.
func (v View) Deeds(o *resource.Object) (out []Deed, more bool, err error) {
	list, err := v.g.store.History(v.ctx, o.Kind, o.Metadata.Tenant, o.Metadata.Name, 0, maxDeeds)
	if err != nil {
		return nil, false, err
	}
	for _, c := range list {
		if c.UID != o.Metadata.UID {
			return out, false, nil
		}
		d := Deed{Actor: c.Actor}
		if c.Data != nil {
			if d.Record, err = v.s.reg.Load(c.Data); err != nil {
				return nil, false, err
			}
		}
		leaves, err := v.g.store.Leaves(v.ctx, c.Seq, 1)
		if err != nil {
			return nil, false, err
		}
		if len(leaves) == 1 {
			var lc leafContext
			if err := json.Unmarshal(leaves[0].Context, &lc); err == nil {
				d.Request = lc.ChangeRequest
			}
		}
		out = append(out, d)
		if c.Action == "create" {
			return out, false, nil
		}
	}
	return out, len(list) == maxDeeds, nil
}

func (b *build) view() View { return View{b.g, b.state, b.ctx} }

// assent ends a request that needs what it does not have. It is asked about
// the records as they were before the request.
func (b *build) assent(v View, req *Request, plans []*plan) error {
	ap := b.g.opt.Approvals
	if ap == nil || req.approved != nil {
		return nil
	}
	var wanted []Wanted
	for i, p := range plans {
		c := &req.Changes[i]
		if p.kind.Name == ap.Kind() {
			if err := b.ownKind(v, req, c, p); err != nil {
				return err
			}
			continue
		}
		if !p.unchanged {
			wanted = append(wanted, Wanted{c, p.kind, p.action, p.old, p.next})
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	n, err := ap.Need(v, req, wanted)
	if err != nil || n == nil {
		return err
	}
	at := b.g.opt.Now()
	o, err := ap.Ask(v, req, wanted, n, at)
	if err != nil {
		return err
	}
	if req.BreakGlass {
		return b.breakGlass(req, o, at)
	}
	return &asking{record: o, people: n.People()}
}

// breakGlass lets a request go on without assent. What asks for the review, and
// what tells of it, are written with it or not at all.
func (b *build) breakGlass(req *Request, ask *resource.Object, at time.Time) error {
	if req.Reason == "" {
		return fault.New(fault.Invalid, "break-glass needs a reason", "应急更改须说明理由")
	}
	q := policy.Query{Principal: req.Actor.Principal, Action: actionBreakGlass, Tenant: ask.Metadata.Tenant, Context: b.g.context(req.Actor, "old")}
	if d := b.state.snap.Decide(q); !d.Allowed {
		b.g.deny(req.Actor, ask.Ref(), actionBreakGlass, d.Policies)
		e := fault.New(fault.Forbidden, "%s may not break the glass", "%s 无权进行应急更改", req.Actor)
		e.Policies, e.Missing = d.Policies, d.Missing()
		return e
	}
	req.glass = []*resource.Object{ask, b.g.opt.Approvals.Alarm(req, ask, at)}
	req.Actor.ChangeRequest = ask.Metadata.Name
	return nil
}

const actionBreakGlass = "change.breakglass"

// ownKind holds what is done to a record that asks for assent to what may be
// done to one.
func (b *build) ownKind(v View, req *Request, c *Change, p *plan) error {
	ap := b.g.opt.Approvals
	if c.Op != Act {
		return fault.New(fault.Forbidden, "a %s is made by the change that needs it, and ends by its verbs", "%s 由需要审批的更改产生,只能通过其操作结束", p.kind.Name)
	}
	if req.Actor.Principal == ap.Service() {
		return nil
	}
	return ap.Judge(v, req.Actor, p.old, c, b.g.opt.Now())
}

// asking ends an attempt that becomes a request for assent.
type asking struct {
	record *resource.Object
	people []string
}

// Error implements error.
func (a *asking) Error() string { return "needs approval" }

// applyOrAsk applies a request, or keeps the record that asks for assent to it.
func (b *build) applyOrAsk(req *Request, early *plan) ([]Result, error) {
	m := b.mark()
	if req.BreakGlass {
		b.apart()
	}
	out, err := b.apply(req, early)
	a, waits := errors.AsType[*asking](err)
	if !waits {
		for _, o := range req.glass {
			if err == nil {
				err = b.make(req, o)
			}
		}
		return out, err
	}
	b.reset(m)
	w, err := b.ask(req, a)
	if err != nil {
		return nil, err
	}
	return []Result{{Ref: w.Request, waits: w}}, nil
}

// apart lets a member of several steps work on a fork: when one of them fails,
// reset brings back the state before, in which the others left no trace.
func (b *build) apart() { b.state = b.state.fork() }

// ask writes the record that asks for assent, with its leaf. Who may make the
// change may ask for it: no other policy is asked.
func (b *build) ask(req *Request, a *asking) (*Waiting, error) {
	w := &Waiting{Request: a.record.Ref(), Revision: a.record.Metadata.Revision, Approvers: a.people}
	if a.record.Metadata.UID != "" {
		return w, nil // it asks already
	}
	b.apart()
	if err := b.make(req, a.record); err != nil {
		return nil, err
	}
	w.Request, w.Revision = a.record.Ref(), a.record.Metadata.Revision
	return w, nil
}

// make writes a record that a request brings along, with its leaf.
func (b *build) make(req *Request, o *resource.Object) error {
	k, err := b.state.reg.Kind(o.Kind)
	if err != nil {
		return err
	}
	rev, at := b.next()
	o.Metadata.Created = time.UnixMicro(at).UTC()
	p := &plan{kind: k, action: "create", next: o, rev: rev, at: at}
	if err := k.Validate(o); err != nil {
		return err
	}
	if k.NewState != nil {
		o.State = k.NewState()
	}
	if k.Settle != nil {
		o.State = k.Settle(nil, o)
	}
	m := &o.Metadata
	m.UID, m.Revision, m.Updated = id.UID(), rev, m.Created
	if err := placed(b.state, p); err != nil {
		return err
	}
	b.state.perform(p)
	keep := *req
	keep.IdempotencyKey = ""
	_, err = b.record(b.state, &keep, []*plan{p})
	return err
}

// Execute carries out what was approved, as who asked for it: he and each
// approver are asked of policy anew, apart, about the records as they are now.
// by is the service of Approvals. The record that asked ends in the same
// transaction. Errors: as Apply; nothing was done then.
func (g *Gate) Execute(ctx context.Context, by identity.Actor, ref resource.Ref, done Change) ([]Result, error) {
	ap := g.opt.Approvals
	if ap == nil || by.Principal != ap.Service() || ref.Kind != ap.Kind() {
		return nil, fault.New(fault.Forbidden, "only the service of approvals carries out what was approved", "只有审批服务可执行已批准的更改")
	}
	var out []Result
	m := &member{ctx: ctx, done: make(chan struct{})}
	m.run = func(b *build) error {
		b.apart()
		o := b.view().Get(ref)
		if o == nil || o.Metadata.UID != ref.UID {
			return notFound(ref)
		}
		plan, err := ap.Plan(b.view(), o, g.opt.Now())
		if err != nil {
			return err
		}
		req := plan.Request
		req.approved = plan.Approvers
		req.Actor.ChangeRequest = o.Metadata.Name
		if err := g.checkRequest(&req); err != nil {
			return err
		}
		if out, err = b.apply(&req, nil); err != nil {
			return err
		}
		end := Request{Actor: by, Changes: []Change{done}, Reason: "carried out"}
		end.Changes[0].Ref, end.Changes[0].Revision = ref, o.Metadata.Revision
		if err := g.checkRequest(&end); err != nil {
			return err
		}
		_, err = b.apply(&end, nil)
		return err
	}
	if err := g.submit(ctx, m); err != nil {
		return nil, err
	}
	return out, nil
}

// founders keeps in mind whether the cell is founding, after each group.
func (g *Gate) founders(s *state) {
	if ap := g.opt.Approvals; ap != nil {
		g.founding.Store(ap.Founding(View{g, s, context.Background()}))
	}
}

// Founding reports whether approvals are off because one person runs the cell.
func (g *Gate) Founding() bool { return g.founding.Load() }
