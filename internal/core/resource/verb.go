package resource

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
)

// Verb is a named change of a record's state: the only way to change it
// (design section 2). POST …/{name}/{verb} carries it out.
type Verb struct {
	Name       string // path segment and Cedar action: "close" is "incident.close"
	Title, Doc Text
	Secret     *Secret // nil = it takes fields; else made with OnSecret
	By         string  // service that alone carries it out; "" = whom policy allows

	newInput func() any
	do       func(o *Object, in any, at Moment, r *Report) error
}

// Moment is when and by whom a verb is carried out.
type Moment struct {
	Time    time.Time
	Actor   Ref
	Request string
	MFA     bool // the actor proved two factors
}

// Act is one use of a verb. State may be changed; all else is for reading.
// Report takes wrong fields of the input, as in "input.reason". Status is what
// the kind's owner reported last; nil = nothing.
type Act[S, T, I any] struct {
	Metadata *Metadata
	Spec     *S
	State    *T
	Input    *I
	Status   any
	Moment
	*Report
}

// None is the input of a verb that takes none.
type None struct{}

// On binds a verb to the Go types of spec, state and input. do works on a copy
// of the record; an error of Refuse leaves everything as it was.
func On[S, T, I any](v Verb, do func(Act[S, T, I]) error) Verb {
	v.newInput = func() any { return new(I) }
	v.do = func(o *Object, in any, at Moment, r *Report) error {
		spec, ok := o.Spec.(*S)
		state, ok2 := o.State.(*T)
		input, ok3 := in.(*I)
		if !ok || !ok2 || !ok3 {
			return fmt.Errorf("verb %s: bound to other types than its kind's", v.Name)
		}
		return do(Act[S, T, I]{&o.Metadata, spec, state, input, o.Status, at, r})
	}
	return v
}

// Refuse is the error of a verb that the record's state does not allow.
func Refuse(en, zh string, args ...any) error {
	return fault.New(fault.Conflict, en, zh, args...)
}

// FindVerb finds a verb of the kind by name.
func (k *Kind) FindVerb(name string) (*Verb, error) {
	for i := range k.Verbs {
		if k.Verbs[i].Name == name {
			return &k.Verbs[i], nil
		}
	}
	return nil, fault.New(fault.NotFound, "a %s has no verb %q", "%s 没有操作 %q", k.Name, clip(name))
}

// Input decodes what a verb takes, strictly; a nil node is an empty object.
func (v *Verb) Input(n *Node) (any, error) {
	if n == nil {
		n = &Node{typ: nodeMap}
	}
	in := v.newInput()
	var a assigner
	if n.typ != nodeMap {
		a.want(n, "input", "an object", "对象")
	} else {
		a.value(n, reflect.ValueOf(in).Elem(), "input", "")
	}
	return in, fault.Fields(a.faults)
}

// ForPeople reports whether a person carries the verb out by filling in fields.
func (v *Verb) ForPeople() bool { return v.Secret == nil && v.By == "" }

// Perform changes the state of o, which the caller owns alone.
func (v *Verb) Perform(o *Object, in any, at Moment) error {
	if v.By != "" && (at.Actor.Kind != "Service" || at.Actor.Tenant != Platform || at.Actor.Name != v.By) {
		return fault.New(fault.Forbidden, "only the service %s carries out %q", "只有服务 %s 可执行 %q", v.By, v.Name)
	}
	var r Report
	if err := v.do(o, in, at, &r); err != nil {
		return err
	}
	return fault.Fields(r.Fields)
}

// Schema is the JSON Schema of the verb's input.
func (v *Verb) Schema() map[string]any {
	return schemaOf(reflect.TypeOf(v.newInput()).Elem(), "")
}

// StateSchema is the JSON Schema of the kind's state; the kind must have one.
func (k *Kind) StateSchema() map[string]any {
	return schemaOf(reflect.TypeOf(k.NewState()).Elem(), "")
}

// StatusSchema is the JSON Schema of the kind's status; the kind must have one.
func (k *Kind) StatusSchema() map[string]any {
	return schemaOf(reflect.TypeOf(k.NewStatus()).Elem(), "")
}

// Fields lists the fields of the verb's input.
func (v *Verb) Fields() []FieldDoc { return describe(reflect.TypeOf(v.newInput()).Elem(), "input") }

// DecodeStatus reads what the owner of the kind's status reports, strictly.
func (k *Kind) DecodeStatus(n *Node) (any, error) {
	if k.NewStatus == nil {
		return nil, fault.New(fault.Invalid, "a %s has no status", "%s 没有 status", k.Name)
	}
	s := k.NewStatus()
	var a assigner
	if n.typ != nodeMap {
		a.want(n, "status", "an object", "对象")
	} else {
		a.value(n, reflect.ValueOf(s).Elem(), "status", "")
	}
	return s, fault.Fields(a.faults)
}

// LoadStatus reads a stored status back; what an older release wrote and this
// one no longer knows is left out, since a status is recomputed anyway.
func (k *Kind) LoadStatus(b []byte) (any, error) {
	if k.NewStatus == nil {
		return nil, nil
	}
	s := k.NewStatus()
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("read a status of %s: %w", k.Name, err)
	}
	return s, nil
}

// reservedVerbs are path segments below a record, and actions that every kind has.
var reservedVerbs = []string{"history", "proof", "status", "finalizers", "read", "create", "update", "delete", "finalize", "erase"}

// life says what the declaration of state, status and verbs lacks.
func (k *Kind) life() error {
	if len(k.Verbs) > 0 && k.NewState == nil {
		return fmt.Errorf("kind %s: verbs change state, and there is none", k.Name)
	}
	if (k.NewStatus == nil) != (k.StatusOwner == "") {
		return fmt.Errorf("kind %s: a status has an owner, and an owner a status", k.Name)
	}
	for _, part := range []struct {
		name string
		make func() any
	}{{"state", k.NewState}, {"status", k.NewStatus}} {
		if part.make == nil {
			continue
		}
		t := reflect.TypeOf(part.make())
		if t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
			return fmt.Errorf("kind %s: the %s is not a pointer to a struct", k.Name, part.name)
		}
		if err := labelled(k.Name, t.Elem(), part.name); err != nil {
			return err
		}
	}
	seen := map[string]bool{}
	for i := range k.Verbs {
		v := &k.Verbs[i]
		switch {
		case !ValidName(v.Name) || slices.Contains(reservedVerbs, v.Name) || seen[v.Name]:
			return fmt.Errorf("kind %s: verb %q is reserved, given twice or no path segment", k.Name, v.Name)
		case v.Title.En == "" || v.Title.Zh == "" || v.Doc.En == "" || v.Doc.Zh == "":
			return fmt.Errorf("kind %s: verb %s needs title and doc in both languages", k.Name, v.Name)
		case v.do == nil:
			return fmt.Errorf("kind %s: make verb %s with On", k.Name, v.Name)
		}
		seen[v.Name] = true
		if err := labelled(k.Name, reflect.TypeOf(v.newInput()).Elem(), v.Name+" input"); err != nil {
			return err
		}
	}
	for _, f := range k.Finalizers {
		if !ValidName(f) {
			return fmt.Errorf("kind %s: finalizer %q is the name of a service", k.Name, f)
		}
	}
	return nil
}

// labelled says which field has a type that is not decoded or no label.
func labelled(kind string, t reflect.Type, part string) error {
	if err := supported(t, part); err != nil {
		return fmt.Errorf("kind %s: %w", kind, err)
	}
	for _, f := range describe(t, part) {
		if f.Label.En == "" || f.Label.Zh == "" {
			return fmt.Errorf("kind %s: field %s has no label in both languages", kind, f.Path)
		}
	}
	return nil
}
