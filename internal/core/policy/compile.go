package policy

import (
	"fmt"
	"iter"
	"slices"

	"github.com/cedar-policy/cedar-go"

	"github.com/dun-sec/dun/internal/core/resource"
)

// Snapshot is the compiled state of all access records at one revision. It is
// immutable: decisions read it without locks. The next one shares what did not
// move.
type Snapshot struct {
	fixed   *fixed
	tenants table[string, *node]            // rules of each tenant; platform's include the built-in ones
	records table[cedar.EntityUID, *record] // what each record that moves policy says
	people  table[cedar.EntityUID, *person]
	others  int // rules that look at entities beside principal, action and resource

	// Tokens that change when rules, or who has which role, moved.
	ruled, granted *edit
	// Tokens that change when classes, or types and assets, moved.
	classed, placed *edit
}

// record is one record that moves policy, and the rules of its text.
type record struct {
	object *resource.Object
	rules  []*rule
	class  *resource.Class // of a class of data
	terms  *resource.Terms // of a type of data
}

// person is what is known of somebody who can act, or who has a role.
type person struct {
	record   *resource.Object // nil = nothing but roles
	disabled bool
	grants   []grant
	up       []cedar.EntityUID // tenant and roles; made of the fields above, as entity is
	entity   cedar.Entity
}

// grant is a role, and the record that gives it.
type grant struct{ role, by cedar.EntityUID }

// roleKind is the kind of what principals, and roles, are in.
const roleKind = "Role"

func newSnapshot(f *fixed) *Snapshot {
	return &Snapshot{
		fixed: f, tenants: newTable[string, *node](), records: newTable[cedar.EntityUID, *record](), people: newTable[cedar.EntityUID, *person](),
		ruled: &edit{}, granted: &edit{}, classed: &edit{}, placed: &edit{},
	}
}

// Compile reads every record of a kind with Access. A policy that does not
// parse or does not validate makes an invalid error that names its field.
func (c *Compiler) Compile(objects iter.Seq[*resource.Object]) (*Snapshot, error) {
	e := c.empty.edit()
	for o := range objects {
		if err := e.apply(c, o.Ref(), o); err != nil {
			return nil, err
		}
	}
	return e.done(), nil
}

// Update returns the snapshot that follows from changes to s, which stays as
// it was. It costs what the changes cost: only their policies are parsed and
// validated. Its decisions are those of Compile over all records.
func (c *Compiler) Update(s *Snapshot, changes ...resource.Change) (*Snapshot, error) {
	e := s.edit()
	for _, ch := range changes {
		if err := e.apply(c, ch.Ref, ch.Object); err != nil {
			return nil, err
		}
	}
	return e.done(), nil
}

// editor makes the next snapshot.
type editor struct {
	next    Snapshot
	by      *edit
	tenants *tableEditor[string, *node]
	records *tableEditor[cedar.EntityUID, *record]
	people  *tableEditor[cedar.EntityUID, *person]
	touched map[cedar.EntityUID]*person
}

func (s *Snapshot) edit() *editor {
	return &editor{next: *s, by: &edit{}, tenants: s.tenants.edit(), records: s.records.edit(), people: s.people.edit(), touched: map[cedar.EntityUID]*person{}}
}

// apply takes over one record; o is nil when it was deleted.
func (e *editor) apply(c *Compiler, ref resource.Ref, o *resource.Object) error {
	k, err := c.reg.Kind(ref.Kind)
	if err != nil {
		return err
	}
	u := refUID(ref)
	old, _ := e.records.get(u)
	if old == nil {
		if old = (&record{}); o == nil {
			return nil
		}
	}
	next := &record{object: o}
	if next.rules, err = c.rulesOf(k, o, old); err != nil {
		return err
	}
	if len(old.rules) > 0 && (len(next.rules) == 0 || old.rules[0] != next.rules[0]) {
		e.suspend(old.rules)
		old = &record{object: old.object}
	}
	if len(next.rules) > 0 && len(old.rules) == 0 {
		e.enforce(next.rules)
	}
	var before, after []resource.Grant
	if old.object != nil {
		before = k.Grants(old.object)
	}
	if o != nil {
		after = k.Grants(o)
	}
	for _, g := range after {
		if !isPrincipal(g.Principal.Kind) && g.Principal.Kind != roleKind {
			return fmt.Errorf("%s gives a role to %s, which is no principal", ref, g.Principal)
		}
	}
	e.regrant(u, before, after)
	if disabled := o != nil && k.Disabled(o); isPrincipal(k.Name) || disabled || old.object != nil && k.Disabled(old.object) {
		p := e.person(u)
		if p.disabled = disabled; isPrincipal(k.Name) {
			p.record = o
		}
	}
	e.class(k, next, o, old.object)
	if o == nil {
		e.records.remove(u)
	} else if k.Access() {
		e.records.set(u, next)
	}
	return nil
}

// class takes over what a record says about data.
func (e *editor) class(k *resource.Kind, next *record, o, old *resource.Object) {
	if o != nil {
		next.class, next.terms = k.Class(o), k.Terms(o)
	}
	if next.class != nil || old != nil && k.Class(old) != nil {
		e.next.classed = e.by
	} else if next.terms != nil || k.Data() || old != nil && k.Terms(old) != nil {
		e.next.placed = e.by
	}
}

// reclass makes people anew whose records have a label of a class: what it
// means has moved.
func (e *editor) reclass() {
	var stale []cedar.EntityUID
	for _, shard := range e.people.shards {
		for u, p := range shard {
			if p.record != nil && p.record.Metadata.Labels[resource.LabelClass] != "" {
				stale = append(stale, u)
			}
		}
	}
	for _, u := range stale {
		e.person(u)
	}
}

// rulesOf parses what o adds, unless old says the same already.
func (c *Compiler) rulesOf(k *resource.Kind, o *resource.Object, old *record) ([]*rule, error) {
	if o == nil {
		return nil, nil
	}
	text := k.Cedar(o)
	if text == "" || o.Metadata.Labels[resource.LabelBuiltin] != "" {
		return nil, nil // the built-in text of this release is in force, not a stored copy
	}
	if len(old.rules) > 0 && k.Cedar(old.object) == text {
		return old.rules, nil
	}
	return c.parse(o.Metadata.Tenant, o.Metadata.Name, text)
}

func (e *editor) enforce(rules []*rule) {
	for _, r := range rules {
		n, _ := e.tenants.get(r.tenant)
		for i := range r.paths {
			n = n.insert(e.by, r.paths[i][:], r)
		}
		e.ruled(r, n, 1)
	}
}

func (e *editor) suspend(rules []*rule) {
	for _, r := range rules {
		n, _ := e.tenants.get(r.tenant)
		for i := range r.paths {
			n = n.remove(e.by, r.paths[i][:], r)
		}
		e.ruled(r, n, -1)
	}
}

func (e *editor) ruled(r *rule, n *node, by int) {
	e.next.ruled = e.by
	if r.needs.others {
		e.next.others += by
	}
	if n == nil {
		e.tenants.remove(r.tenant)
	} else {
		e.tenants.set(r.tenant, n)
	}
}

// regrant replaces the roles that one record hands out.
func (e *editor) regrant(by cedar.EntityUID, before, after []resource.Grant) {
	if slices.Equal(before, after) {
		return
	}
	e.next.granted = e.by
	for _, g := range before {
		p, role := e.person(refUID(g.Principal)), refUID(g.Role)
		p.grants = slices.DeleteFunc(slices.Clone(p.grants), func(x grant) bool { return x == grant{role, by} })
	}
	for _, g := range after {
		p := e.person(refUID(g.Principal))
		p.grants = append(slices.Clip(p.grants), grant{refUID(g.Role), by})
	}
}

// person returns a copy that may be changed until done.
func (e *editor) person(u cedar.EntityUID) *person {
	if p := e.touched[u]; p != nil {
		return p
	}
	p := &person{}
	if old, ok := e.people.get(u); ok {
		*p = *old
	}
	e.touched[u] = p
	return p
}

func (e *editor) done() *Snapshot {
	s := e.next
	s.records = e.records.table
	if s.classed == e.by {
		e.reclass()
	}
	for u, p := range e.touched {
		if p.record == nil && !p.disabled && len(p.grants) == 0 {
			e.people.remove(u)
			continue
		}
		p.entity, p.up = cedar.Entity{}, nil
		if p.record != nil {
			p.entity = s.entityOf(p.record, everything())
			p.up = tenantOf(p.record)
		}
		p.entity.UID = u
		for _, g := range p.grants {
			if !slices.Contains(p.up, g.role) {
				p.up = append(p.up, g.role)
			}
		}
		p.entity.Parents = cedar.NewEntityUIDSet(p.up...)
		e.people.set(u, p)
	}
	s.tenants, s.people = e.tenants.table, e.people.table
	return &s
}

// data reports whether one of the kinds is data.
func (s *Snapshot) data(kinds []string) bool {
	return slices.ContainsFunc(kinds, func(name string) bool { return s.fixed.data[name] != nil })
}

// Same reports whether two snapshots are one, so that a decision made by the
// one still stands.
func (s *Snapshot) Same(o *Snapshot) bool { return s == o }

// SameFor reports whether every decision about the principal and records of
// the kinds is the same in both snapshots, as long as those records did not
// change themselves. It is false where it cannot tell.
func (s *Snapshot) SameFor(o *Snapshot, principal resource.Ref, kinds ...string) bool {
	if s == o {
		return true
	}
	if o == nil || s.ruled != o.ruled || s.others > 0 || s.classed != o.classed || s.placed != o.placed && s.data(kinds) {
		return false
	}
	if s.granted != o.granted {
		// The roles of a record that is acted upon count too, and roles that
		// are in roles.
		if slices.ContainsFunc(kinds, func(k string) bool { return isPrincipal(k) || k == roleKind }) {
			return false
		}
	}
	todo := []cedar.EntityUID{refUID(principal)}
	for i := 0; i < len(todo); i++ {
		mine, _ := s.people.get(todo[i])
		theirs, _ := o.people.get(todo[i])
		if mine != theirs {
			return false
		}
		if mine == nil {
			continue
		}
		for _, g := range mine.grants {
			if !slices.Contains(todo, g.role) {
				todo = append(todo, g.role)
			}
		}
	}
	return true
}
