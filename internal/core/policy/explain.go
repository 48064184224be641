package policy

import (
	"cmp"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
)

// Limits of an explanation: a refusal must not cost more than what it refuses.
const (
	maxNearest = 3  // permits that it tells of
	maxLooks   = 64 // permits that it looks at
)

// Explanation says why a question has its answer.
type Explanation struct {
	Allowed bool
	Decided []Ruling    // what decided, by id; empty = no policy permits it
	Missing []text.Text // what a denial lacked, the nearest permit first
	Roles   []string    // of the principal, as in "platform/operator"
}

// Ruling is one statement that decided.
type Ruling struct {
	ID     string `json:"id"`
	Effect string `json:"effect"`           // permit or forbid
	Text   string `json:"text,omitempty"`   // in Cedar; "" where the reader may not see it
	Note   string `json:"note,omitempty"`   // its annotation @description
	Failed bool   `json:"failed,omitempty"` // it could not be evaluated; a forbid denies then
}

// Explain answers q as Decide does, and says why. The words are for reader: of
// a policy that he may not read he learns the id, and the names of roles and
// attributes, but not what they are compared to: that may be another tenant's
// business.
func (s *Snapshot) Explain(q Query, reader resource.Ref) Explanation {
	d := s.Decide(q)
	out := Explanation{Allowed: d.Allowed, Roles: s.rolesOf(refUID(q.Principal))}
	if slices.Equal(d.Policies, []string{byDisabled}) {
		out.Decided = []Ruling{{ID: byDisabled, Effect: "forbid"}}
		out.Missing = []text.Text{text.F("%s is disabled", "%s 已停用", q.Principal)}
		return out
	}
	x := explainer{snap: s, q: &q, e: s.entities(&q), reader: reader, readable: map[string]bool{}}
	set := ruleSet(s.rules(&q, x.e, nil))
	slices.SortFunc(set, func(a, b *rule) int { return cmp.Compare(a.id, b.id) })
	x.e.needs = everything()
	x.request = x.e.request(&q, set)
	for _, r := range set {
		effect := r.policy.Effect() == cedar.Permit
		if effect != d.Allowed || !slices.Contains(d.Policies, string(r.id)) {
			continue
		}
		ruling := Ruling{ID: string(r.id), Effect: "forbid"}
		if effect {
			ruling.Effect = "permit"
		}
		if x.full(r) {
			ruling.Text = strings.TrimSpace(string(r.policy.MarshalCedar()))
			ruling.Note = string(r.policy.Annotations()["description"])
		}
		if !d.Allowed {
			why, failed := x.forbidden(r)
			ruling.Failed = failed
			out.Missing = append(out.Missing, why...)
		}
		out.Decided = append(out.Decided, ruling)
	}
	if !d.Allowed && len(out.Decided) == 0 {
		out.Missing = x.nearest(s)
	}
	return out
}

func (s *Snapshot) rolesOf(u cedar.EntityUID) []string {
	e := &entities{snap: s, principal: u}
	e.acting, _ = s.people.get(u)
	var out []string
	for _, up := range e.line([]cedar.EntityUID{u})[1:] {
		if up.Type == roleKind {
			out = append(out, string(up.ID))
		}
	}
	slices.Sort(out)
	return out
}

// explainer judges single rules for one question.
type explainer struct {
	snap     *Snapshot
	q        *Query
	e        *entities
	request  cedar.Request
	reader   resource.Ref
	readable map[string]bool // policies that the reader may read
}

// full reports whether the reader may see the words of a rule: whether he may
// read the policy's record.
func (x *explainer) full(r *rule) bool {
	name, _, _ := strings.Cut(strings.TrimPrefix(string(r.id), r.tenant+"/"), "#")
	may, known := x.readable[r.tenant+"/"+name]
	if !known {
		o := &resource.Object{Kind: "Policy", Metadata: resource.Metadata{Tenant: r.tenant, Name: name}}
		if kept, ok := x.snap.records.get(refUID(o.Ref())); ok {
			o = kept.object
		}
		q := Query{Principal: x.reader, Action: "policy." + Read, Object: o, Context: x.q.Context}
		q.Context.Phase = "old"
		may = x.snap.Decide(q).Allowed
		x.readable[r.tenant+"/"+name] = may
	}
	return may
}

// forbidden says what would have kept a forbid away.
func (x *explainer) forbidden(r *rule) (why []text.Text, failed bool) {
	for _, p := range partsOf(r.policy) {
		value, ok := p.holds(x.e, x.request)
		switch {
		case !ok:
			failed = true
			why = append(why, text.F("%s: %s cannot be evaluated, so the policy forbids", "%s:%s 无法求值,因此该策略拒绝", r.id, x.words(r, p)))
		case p.absent() != "" && !p.wanted:
			why = append(why, text.F("%s: attribute %s is absent", "%s:缺少属性 %s", r.id, p.absent()))
		default:
			why = append(why, text.F("%s forbids while %s is %s", "%s 在 %s 为 %s 时拒绝", r.id, x.words(r, p), truth(value)))
		}
	}
	if len(why) == 0 {
		why = []text.Text{text.F("%s forbids it without a condition", "%s 无条件拒绝", r.id)}
	}
	return why, failed
}

func truth(v bool) string {
	if v {
		return "true"
	}
	return "false"
}

// words is a condition as the reader may see it.
func (x *explainer) words(r *rule, p part) any {
	if x.full(r) {
		return p.text()
	}
	if names := p.asks(); len(names) > 0 {
		return text.F("a condition on %s", "关于 %s 的条件", strings.Join(names, ", "))
	}
	return text.T("a condition", "某个条件")
}

// near is a permit that would have allowed it, had the why been otherwise.
type near struct {
	id   string
	role bool // the principal lacks the role; else only conditions are in the way
	why  []text.Text
}

func (n near) rank() int {
	if n.role {
		return 1<<16 + len(n.why)
	}
	return len(n.why)
}

// attainable reports whether a binding could give u to the principal: roles and
// those who have them are of one tenant.
func (x *explainer) attainable(u cedar.EntityUID) bool {
	tenant, _, _ := strings.Cut(string(u.ID), "/")
	return u.Type == roleKind && tenant == x.q.Principal.Tenant
}

// nearest looks at the permits for the action and tells of those that lack
// least. One that names another principal, or a role that the principal cannot
// get, lacks something that nobody can give.
func (x *explainer) nearest(s *Snapshot) []text.Text {
	var found []near
	seen := map[*rule]bool{}
	look := func(r *rule) bool {
		if seen[r] || r.policy.Effect() != cedar.Permit {
			return true
		}
		seen[r] = true
		if n, ok := x.lacks(r); ok {
			found = append(found, n)
		}
		return len(seen) < maxLooks
	}
	c := x.e.candidates(x.q, nil)
	platform, _ := s.tenants.get(resource.Platform)
	platform.nearby(&c, 0, x.attainable, look)
	if tenant := x.q.tenant(); tenant != resource.Platform {
		own, _ := s.tenants.get(tenant)
		own.nearby(&c, 0, x.attainable, look)
	}
	slices.SortFunc(found, func(a, b near) int { return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.id, b.id)) })
	var out []text.Text
	for i, n := range found {
		if i == maxNearest || n.rank() > found[0].rank() {
			break
		}
		out = append(out, n.why...)
	}
	if len(out) == 0 {
		out = []text.Text{text.F("no policy permits %s here", "此处没有策略允许 %s", x.q.Action)}
	}
	return out
}

// lacks lists what keeps a permit from applying; ok is false where the permit
// is about something else.
func (x *explainer) lacks(r *rule) (n near, ok bool) {
	principal, action, resource, role := fits(r.policy, x.e, x.request)
	if !action || !resource {
		return n, false
	}
	var why []text.Text
	if !principal {
		if !x.attainable(role) {
			return n, false
		}
		why = append(why, text.F("%s: %s is not held by %s", "%s:%[3]s 不具有 %[2]s", r.id, role.String(), x.q.Principal))
	}
	var erring []text.Text
	begin := len(why)
	for _, p := range partsOf(r.policy) {
		value, ok := p.holds(x.e, x.request)
		switch {
		case ok && value == p.wanted:
		case !ok:
			erring = append(erring, text.F("%s: %s cannot be evaluated", "%s:%s 无法求值", r.id, x.words(r, p)))
		case p.absent() != "" && p.wanted:
			why = append(why, text.F("%s: attribute %s is absent", "%s:缺少属性 %s", r.id, p.absent()))
		default:
			why = append(why, text.F("%s: %s is %s", "%s:%s 为 %s", r.id, x.words(r, p), truth(value)))
		}
	}
	// What guards the others, as in context has source && …, says it all.
	if len(why) == begin {
		why = append(why, erring...)
	}
	return near{string(r.id), !principal, why}, len(why) > 0
}
