package resource

import (
	"encoding/json"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/text"
)

// Text is a label in every language, so that a kind needs no other import.
type Text = text.Text

// T pairs the English with the Chinese wording.
func T(en, zh string) Text { return text.T(en, zh) }

// Scope says whose records a kind has.
type Scope string

// Platform-scoped records live in the tenant Platform only.
const (
	ScopePlatform Scope = "platform"
	ScopeTenant   Scope = "tenant"
)

// Sensitivity says who may come to see a kind's fields at most.
type Sensitivity string

// The sensitivities, from open to closed.
const (
	SensitivityPublic   Sensitivity = "public"
	SensitivityTenant   Sensitivity = "tenant"
	SensitivityStaff    Sensitivity = "staff"
	SensitivityPersonal Sensitivity = "personal"
)

// ApprovalClass says how much assent a change of the kind needs once approvals
// are on (design section 2).
type ApprovalClass string

// The approval classes.
const (
	ApprovalNone      ApprovalClass = "none"
	ApprovalImportant ApprovalClass = "important" // a second person
	ApprovalPolicy    ApprovalClass = "policy"    // a second person and the replayed decisions
)

// Column is one column of a table of records.
type Column struct {
	Title text.Text
	Wide  bool // only in wide tables
	Value func(*Object) string
}

// Reference is a record that another one needs.
type Reference struct {
	Path string // the field that names it
	To   Ref
	Line bool // of a line of descent: what begins at a record may not come back to it
}

// Kind declares one kind of record. From it follow API, command line, console,
// schema, validation, policy, history, watch and proof: one file, one line.
type Kind struct {
	Name   string // as in manifests: "Site"
	Plural string // as in paths: "sites"
	Short  string // as typed: "site"
	Scope  Scope
	Nav    string // navigation group of the console
	Title  text.Text
	Doc    text.Text

	Version int // of the spec's form, from 1
	// Upgrade turns a stored spec of an older version into the current form; it
	// is called on read and never rewrites what is stored. Nil while Version is 1.
	Upgrade func(version int, spec json.RawMessage) (json.RawMessage, error)

	Columns []Column
	Example string // a manifest in YAML, valid by test and used in docs

	Sensitivity   Sensitivity
	Verbs         []Verb   // on state, made with On
	Finalizers    []string // services that clean up before a record goes: each new record carries them
	StatusOwner   string   // service that alone reports status; "" = the kind has none
	ApprovalClass ApprovalClass
	Retention     time.Duration // of history; 0 = the default, 400 days; Forever = for ever
	NodeRoles     []string      // roles of nodes that watch and enforce it
	Presence      bool          // changed by whoever signed in, never by an access key
	Own           bool          // Dun itself makes the records: no quota counts them

	NewSpec   func() any // pointers to the kind's types
	NewState  func() any // as it is at creation; nil = the kind has no state
	NewStatus func() any
	// Settle is the state of next, whose spec is about to be written over that of
	// old, nil at a creation: what was decided about a part of the spec goes with
	// it in the same transaction. It changes neither. Nil = the state stays.
	Settle func(old, next *Object) any

	validate func(*Object, *Report)
	refs     func(*Object) []Reference
	unique   func(*Object) []Claim
	cedar    func(*Object) string
	grants   func(*Object) []Grant
	disabled func(*Object) bool
	quota    func(*Object) Quota
	class    func(*Object) *Class
	terms    func(*Object) *Terms
	asset    func(*Object) *Asset
	share    func(*Object) *Share
	holds    func(*Object) *Hold
	data     bool
	shares   bool
	classed  bool
	access   bool
}

// Claim is a value that one record of the kind may hold at a time, over all
// tenants: a second claim is a conflict that does not say whose the first is.
type Claim struct {
	Path   string // the field that makes it
	Value  string
	Within string // "" = over all tenants; else claims of the same word alone meet
	Weak   bool   // gives way to one who holds the value, and keeps nobody from it
	Most   int    // so many records may hold it; 0 = one
}

// Key is what the claim is held under.
func (c Claim) Key() string {
	if c.Within == "" {
		return c.Value
	}
	return c.Within + "\n" + c.Value
}

// Forever keeps history without limit.
const Forever = time.Duration(1<<63 - 1)

// Report collects wrong fields.
type Report struct{ Fields []fault.Field }

// Add notes that the field at path is wrong and why, in both languages.
func (r *Report) Add(path, en, zh string, args ...any) {
	if len(r.Fields) < maxFaults {
		r.Fields = append(r.Fields, fault.Field{Path: path, Reason: text.F(en, zh, args...)})
	}
}

// Behaviour is what a kind decides about its own spec, beyond its tags.
type Behaviour[S any] struct {
	Validate func(m *Metadata, s *S, r *Report) // nil = the tags say all
	Refs     func(m *Metadata, s *S) []Reference
	Unique   func(m *Metadata, s *S) []Claim
	Claims   func(o *Object) []Claim // instead of Unique, of a kind whose state decides what it claims

	// What the record adds to decisions. A kind with one of these moves policy:
	// the gate decides everything after such a change anew.
	Cedar    func(m *Metadata, s *S) string  // policies in Cedar
	Grants   func(m *Metadata, s *S) []Grant // roles handed out
	Disabled func(m *Metadata, s *S) bool    // the record is a principal; true = refused everywhere
	Class    func(m *Metadata, s *S) *Class  // the record is a class of data
	Terms    func(m *Metadata, s *S) *Terms  // the record is a type of data
	Asset    func(m *Metadata, s *S) *Asset  // the record is data, or holds them

	Share func(m *Metadata, s *S) *Share // the record gives an asset away, which it refers to
	Holds func(o *Object) *Hold          // keeps other records from deletion; nil = nothing

	Quota func(m *Metadata, s *S) Quota // the record is a tenant
}

// Quota is how much a tenant may have; 0 = without a limit.
type Quota struct {
	Records  int            // of all kinds that people make
	Each     map[string]int // of a kind, by its short name
	Requests int            // of the API a second
}

// Grant gives a principal a role.
type Grant struct{ Principal, Role Ref }

// Define binds a declaration to the Go type of its spec.
func Define[S any](k Kind, b Behaviour[S]) *Kind {
	k.NewSpec = func() any { return new(S) }
	k.validate = func(o *Object, r *Report) {
		s, ok := o.Spec.(*S)
		if !ok || s == nil {
			r.Add("spec", "is not the spec of a %s", "不是 %s 的 spec", k.Name)
		} else if b.Validate != nil {
			b.Validate(&o.Metadata, s, r)
		}
	}
	k.refs = ask(b.Refs)
	k.unique = ask(b.Unique)
	if b.Claims != nil {
		k.unique = b.Claims
	}
	k.cedar = ask(b.Cedar)
	k.grants = ask(b.Grants)
	k.disabled = ask(b.Disabled)
	k.quota = ask(b.Quota)
	k.class, k.terms, k.asset, k.holds = ask(b.Class), ask(b.Terms), ask(b.Asset), b.Holds
	k.share, k.shares, k.data = ask(b.Share), b.Share != nil, b.Asset != nil
	k.classed = b.Class != nil || b.Terms != nil || b.Asset != nil
	k.access = b.Cedar != nil || b.Grants != nil || b.Disabled != nil || k.classed
	return &k
}

// ask turns a question about a typed spec into one about a record; a kind that
// has no answer answers with the zero value.
func ask[S, A any](f func(*Metadata, *S) A) func(*Object) A {
	return func(o *Object) A {
		if s, ok := o.Spec.(*S); ok && f != nil {
			return f(&o.Metadata, s)
		}
		var none A
		return none
	}
}

// Refs lists the records that o needs to exist; its class of data is one.
func (k *Kind) Refs(o *Object) []Reference {
	out := k.refs(o)
	if c := o.Metadata.Labels[LabelClass]; c != "" {
		out = append(out, Reference{Path: "metadata.labels." + LabelClass, To: Ref{Kind: ClassKind, Tenant: Platform, Name: c}})
	}
	return out
}

// Unique lists what no other record of the kind may claim.
func (k *Kind) Unique(o *Object) []Claim { return k.unique(o) }

// Access reports whether records of the kind move policy.
func (k *Kind) Access() bool { return k.access }

// Cedar is the policy text that o adds, "" for none.
func (k *Kind) Cedar(o *Object) string { return k.cedar(o) }

// Grants lists the roles that o hands out.
func (k *Kind) Grants(o *Object) []Grant { return k.grants(o) }

// Disabled reports whether o is a principal that is refused everywhere.
func (k *Kind) Disabled(o *Object) bool { return k.disabled(o) }

// Quota is what the tenant o may have.
func (k *Kind) Quota(o *Object) Quota { return k.quota(o) }
