// Package policy is the one place that decides: may this actor do this to
// that, here, now? It owns the Cedar vocabulary of formats.md, the built-in
// policies and the compiled snapshot of all policies, roles and bindings. It
// caches no decision, stores nothing, and allows nothing that no policy permits.
package policy

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
)

// Compiler turns access records into Snapshots. It is safe for concurrent use.
type Compiler struct {
	reg       *resource.Registry
	validator *validate.Validator
	builtin   []rule
}

// rule is one statement under its id.
type rule struct {
	id     cedar.PolicyID
	policy *cedar.Policy
}

// NewCompiler validates the built-in policies against the kinds' schema.
func NewCompiler(reg *resource.Registry) (*Compiler, error) {
	v, err := newValidator(reg)
	if err != nil {
		return nil, err
	}
	c := &Compiler{reg: reg, validator: v}
	list, err := Builtins()
	if err != nil {
		return nil, err
	}
	for _, b := range list {
		rules, err := c.parse(resource.Platform+"/"+b.Name, b.Text)
		if err != nil {
			return nil, fmt.Errorf("built-in policy %s: %w", b.Name, err)
		}
		c.builtin = append(c.builtin, rules...)
	}
	return c, nil
}

// Snapshot is the compiled state of all access records at one revision. It is
// immutable: decisions read it without locks.
type Snapshot struct {
	byTenant map[string][]rule                // policies of each tenant; platform's include the built-in ones
	people   map[cedar.EntityUID]cedar.Entity // principals: what their records say, and the roles they have
	disabled map[cedar.EntityUID]bool
}

// Compile reads every record of a kind with Access. A policy that does not
// parse or does not validate makes an invalid error that names its field.
func (c *Compiler) Compile(objects iter.Seq[*resource.Object]) (*Snapshot, error) {
	s := &Snapshot{
		byTenant: map[string][]rule{resource.Platform: slices.Clone(c.builtin)},
		people:   map[cedar.EntityUID]cedar.Entity{}, disabled: map[cedar.EntityUID]bool{},
	}
	granted := map[cedar.EntityUID][]cedar.EntityUID{}
	for o := range objects {
		k, err := c.reg.Kind(o.Kind)
		if err != nil {
			return nil, err
		}
		if isPrincipal(k.Name) {
			s.people[refUID(o.Ref())] = entityOf(o)
		}
		if k.Disabled(o) {
			s.disabled[refUID(o.Ref())] = true
		}
		for _, g := range k.Grants(o) {
			granted[refUID(g.Principal)] = append(granted[refUID(g.Principal)], refUID(g.Role))
		}
		text := k.Cedar(o)
		if text == "" || o.Metadata.Labels[resource.LabelBuiltin] != "" {
			continue // the built-in text of this release is in force, not a stored copy
		}
		rules, err := c.parse(o.Metadata.Tenant+"/"+o.Metadata.Name, text)
		if err != nil {
			return nil, err
		}
		s.byTenant[o.Metadata.Tenant] = append(s.byTenant[o.Metadata.Tenant], rules...)
	}
	for p, roles := range granted {
		e := s.people[p] // nothing but roles where there is no record
		e.UID = p
		s.people[p] = within(e, roles)
	}
	return s, nil
}

// Check says whether a policy's text could be put in force.
func (c *Compiler) Check(id, cedarText string) error {
	_, err := c.parse(id, cedarText)
	return err
}

func (c *Compiler) parse(id, source string) ([]rule, error) {
	list, err := cedar.NewPolicyListFromBytes(id, []byte(source))
	if err != nil {
		return nil, wrong("does not parse: %s", "无法解析:%s", err)
	}
	if len(list) == 0 {
		return nil, wrong("holds no policy%.0s", "没有任何策略%.0s", errors.New(""))
	}
	var out []rule
	for i, p := range list {
		pid := id
		if i > 0 {
			pid = fmt.Sprintf("%s#%d", id, i+1)
		}
		if err := c.validator.Policy(pid, (*ast.Policy)(p.AST())); err != nil {
			return nil, wrong("does not validate: %s", "未通过校验:%s", err)
		}
		out = append(out, rule{cedar.PolicyID(pid), p})
	}
	return out, nil
}

func wrong(en, zh string, err error) error {
	msg := strings.ReplaceAll(err.Error(), "\n", "; ")
	var r resource.Report
	r.Add("spec.cedar", en, zh, msg)
	return fault.Fields(r.Fields)
}

// Context is what a decision may depend on beside principal and resource.
type Context struct {
	Phase         string // old or new
	Door          string // api, cli, console, control …
	Source        string // address of the client, "" = none
	MFA           bool
	Time          time.Time
	Request       string
	ChangeRequest string
}

// Query is one question.
type Query struct {
	Principal resource.Ref
	Action    string           // as in "site.update"
	Object    *resource.Object // the record, or nil for the tenant as a whole
	Tenant    string           // used when Object is nil
	Context   Context
}

// Decision is the answer and what made it.
type Decision struct {
	Allowed  bool
	Policies []string // ids of the policies that decided; empty = none permits
}

// Decide answers q. A forbid that errs denies: cedar-go would skip it, and a
// skipped forbid fails open.
func (s *Snapshot) Decide(q Query) Decision {
	p := refUID(q.Principal)
	if s.disabled[p] {
		return Decision{Policies: []string{"disabled"}}
	}
	e := &entities{snap: s, action: cedar.NewEntityUID("Action", cedar.String(q.Action))}
	tenant := q.Tenant
	if q.Object != nil {
		e.resource, tenant = entityOf(q.Object), q.Object.Metadata.Tenant
		if known, ok := s.people[e.resource.UID]; ok { // schema and policies know the roles of who is acted upon, too
			e.resource = within(e.resource, known.Parents.Slice())
		}
	} else {
		e.resource = tenantEntity(tenant)
	}
	set := ruleSet{s.byTenant[resource.Platform], nil}
	if tenant != resource.Platform {
		set[1] = s.byTenant[tenant]
	}
	decision, diag := cedar.Authorize(set, e, cedar.Request{Principal: p, Action: e.action, Resource: e.resource.UID, Context: q.Context.record()})
	out := Decision{Allowed: decision == cedar.Allow}
	for _, r := range diag.Reasons {
		out.Policies = append(out.Policies, string(r.PolicyID))
	}
	for _, bad := range diag.Errors {
		if set.forbids(bad.PolicyID) {
			if out.Allowed {
				out = Decision{}
			}
			out.Policies = append(out.Policies, string(bad.PolicyID))
		}
	}
	slices.Sort(out.Policies)
	return out
}

// Same reports whether two snapshots are one, so that a decision made by the
// one still stands.
func (s *Snapshot) Same(o *Snapshot) bool { return s == o }

// ruleSet is the platform's rules and those of the tenant of the resource.
type ruleSet [2][]rule

// All implements cedar.PolicyIterator.
func (r ruleSet) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, part := range r {
			for _, x := range part {
				if !yield(x.id, x.policy) {
					return
				}
			}
		}
	}
}

// forbids reports whether a forbid has the id, also beside a permit of that id.
func (r ruleSet) forbids(id cedar.PolicyID) bool {
	for _, part := range r {
		for _, x := range part {
			if x.id == id && x.policy.Effect() == cedar.Forbid {
				return true
			}
		}
	}
	return false
}
