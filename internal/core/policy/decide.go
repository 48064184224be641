package policy

import (
	"iter"
	"slices"
	"time"

	"github.com/cedar-policy/cedar-go"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
)

// Context is what a decision may depend on beside principal and resource.
type Context struct {
	Phase         string // old or new
	Door          string // api, cli, console, control …
	Source        string // address of the client, "" = none
	MFA           bool
	Time          time.Time
	Request       string
	ChangeRequest string

	// Of an act on data, as the door says it; "" = not said, which permits nothing.
	Purpose   string // what it is for
	Region    string // from where, or to where, it is done
	Recipient string // to whom data are shared
}

// Query is one question.
type Query struct {
	Principal resource.Ref
	Action    string           // as in "site.update"
	Object    *resource.Object // the record, or nil for the tenant as a whole
	Tenant    string           // used when Object is nil
	Context   Context
}

// tenant is whose policies are asked beside the platform's.
func (q *Query) tenant() string {
	if q.Object != nil {
		return q.Object.Metadata.Tenant
	}
	return q.Tenant
}

// resourceTenant is the tenant that the resource itself is of: a tenant as a
// whole is the platform's, as its record is.
func (q *Query) resourceTenant() string {
	if q.Object != nil {
		return q.Object.Metadata.Tenant
	}
	return resource.Platform
}

// Decision is the answer and what made it.
type Decision struct {
	Allowed  bool
	Policies []string // ids of the policies that decided; empty = none permits

	snap  *Snapshot // of a denial, so that it can be explained
	query Query
}

// byDisabled stands for a policy where the principal's own record refuses him.
const byDisabled = "disabled"

// Decide answers q. A forbid that errs denies: cedar-go would skip it, and a
// skipped forbid fails open.
func (s *Snapshot) Decide(q Query) Decision {
	e := s.entities(&q)
	if p := e.acting; p != nil && p.disabled {
		return Decision{Policies: []string{byDisabled}, snap: s, query: q}
	}
	var room [32]*rule
	set := ruleSet(s.rules(&q, e, room[:0]))
	decision, diag := cedar.Authorize(set, e, e.request(&q, set))
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
	if !out.Allowed {
		out.snap, out.query = s, q
	}
	return out
}

// Missing says what a denial lacked, in words for the principal; nil for what
// was allowed.
func (d Decision) Missing() []text.Text {
	if d.snap == nil {
		return nil
	}
	return d.snap.Explain(d.query, d.query.Principal).Missing
}

// rules appends what may apply: every rule whose scope matches, and few more.
func (s *Snapshot) rules(q *Query, e *entities, out []*rule) []*rule {
	var keys [48]cedar.EntityUID // on the stack, for most questions
	c := e.candidates(q, keys[:0])
	platform, _ := s.tenants.get(resource.Platform)
	out = platform.collect(&c, 0, out)
	if tenant := q.tenant(); tenant != resource.Platform {
		own, _ := s.tenants.get(tenant)
		out = own.collect(&c, 0, out)
	}
	return out
}

// ruleSet is what one question evaluates.
type ruleSet []*rule

// All implements cedar.PolicyIterator.
func (r ruleSet) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, x := range r {
			if !yield(x.id, x.policy) {
				return
			}
		}
	}
}

// forbids reports whether a forbid has the id, also beside a permit of that id.
func (r ruleSet) forbids(id cedar.PolicyID) bool {
	return slices.ContainsFunc(r, func(x *rule) bool { return x.id == id && x.policy.Effect() == cedar.Forbid })
}
