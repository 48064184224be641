package policy

import (
	"cmp"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	plain "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// This file and schema.go alone touch cedar-go's experimental packages, so
// that a change of them stays here: this one reads the syntax tree of a
// statement and evaluates parts of it.

func astOf(p *cedar.Policy) *ast.Policy { return (*ast.Policy)(p.AST()) }

func validatePolicy(v *validator, id string, p *cedar.Policy) error {
	return v.Policy(id, astOf(p))
}

// maxPaths bounds in how many places one rule is filed; one that asks for more
// is filed where every question finds it.
const maxPaths = 64

// pathsOf says where the index files a statement. A statement with a path is
// false and cannot err for whatever does not match the path, so the index may
// leave it out then: the scope comes before every condition, and conditions
// are read only as far as each of them cannot err.
func pathsOf(p *cedar.Policy) []path {
	a := astOf(p)
	keys := [dimensions][]cedar.EntityUID{byAction: scopeKeys(a.Action), byPrincipal: scopeKeys(a.Principal), byResource: scopeKeys(a.Resource), byTag: {{}}}
	for n := range leading(a) {
		dim, narrower, ok := narrow(n)
		if !ok {
			break
		}
		// What the scope says is as good as what a condition says, and stands.
		if slices.Equal(keys[dim], []cedar.EntityUID{{}}) {
			keys[dim] = narrower
		}
	}
	total := 1
	for _, k := range keys {
		total *= len(k)
	}
	if total > maxPaths {
		return []path{{}}
	}
	out := []path{{}}
	for dim, list := range keys {
		var next []path
		for _, p := range out {
			for _, k := range list {
				p[dim] = k
				next = append(next, p)
			}
		}
		out = next
	}
	return out
}

func scopeKeys(s ast.IsScopeNode) []cedar.EntityUID {
	switch s := s.(type) {
	case ast.ScopeTypeEq:
		return []cedar.EntityUID{s.Entity}
	case ast.ScopeTypeIn:
		return []cedar.EntityUID{s.Entity}
	case ast.ScopeTypeIsIn:
		return []cedar.EntityUID{s.Entity}
	case ast.ScopeTypeIs:
		return []cedar.EntityUID{typeKey(s.Type)}
	case ast.ScopeTypeInSet:
		list := slices.Clone(s.Entities)
		slices.SortFunc(list, compareUID)
		return slices.Compact(list)
	}
	return []cedar.EntityUID{{}}
}

// leading yields the conjuncts of the when clauses up to the first unless.
func leading(a *ast.Policy) func(func(ast.IsNode) bool) {
	return func(yield func(ast.IsNode) bool) {
		for _, c := range a.Conditions {
			if c.Condition == ast.ConditionUnless {
				return
			}
			for _, n := range conjuncts(c.Body) {
				if !yield(n) {
					return
				}
			}
		}
	}
}

// conjuncts splits at the && that bind last, in the order of evaluation.
func conjuncts(n ast.IsNode) []ast.IsNode {
	if and, ok := n.(ast.NodeTypeAnd); ok {
		return append(conjuncts(and.Left), conjuncts(and.Right)...)
	}
	return []ast.IsNode{n}
}

func disjuncts(n ast.IsNode) []ast.IsNode {
	if or, ok := n.(ast.NodeTypeOr); ok {
		return append(disjuncts(or.Left), disjuncts(or.Right)...)
	}
	return []ast.IsNode{n}
}

// narrow reads a condition that says what a scope might say and cannot err.
func narrow(n ast.IsNode) (dim int, keys []cedar.EntityUID, ok bool) {
	for i, n := range disjuncts(n) {
		d, k, ok := narrowOne(n)
		if !ok || i > 0 && d != dim {
			return 0, nil, false
		}
		dim, keys = d, append(keys, k)
	}
	slices.SortFunc(keys, compareUID)
	return dim, slices.Compact(keys), true
}

func narrowOne(n ast.IsNode) (dim int, key cedar.EntityUID, ok bool) {
	switch n := n.(type) {
	case ast.NodeTypeIs:
		dim, ok = variable(n.Left)
		return dim, typeKey(n.EntityType), ok
	case ast.NodeTypeEquals:
		if key, ok = attributeIs(n); ok {
			return byTag, key, true
		}
		dim, ok = variable(n.Left)
		key, literal := entityLiteral(n.Right)
		return dim, key, ok && literal
	case ast.NodeTypeContains:
		key, ok = classesHave(n)
		return byTag, key, ok
	case ast.NodeTypeIn:
		dim, ok = variable(n.Left)
		key, literal := entityLiteral(n.Right)
		return dim, key, ok && literal
	case ast.NodeTypeHasTag:
		dim, ok = variable(n.Left)
		v, _ := n.Right.(ast.NodeValue)
		label, literal := v.Value.(cedar.String)
		return byTag, tagKey(string(label)), ok && literal && dim == byResource
	}
	return 0, key, false
}

// attributeIs reads a comparison of what every resource has, as in
// resource.class == "test"; it cannot err.
func attributeIs(n ast.NodeTypeEquals) (cedar.EntityUID, bool) {
	a, _ := n.Left.(ast.NodeTypeAccess)
	of, _ := a.Arg.(ast.NodeTypeVariable)
	v, _ := n.Right.(ast.NodeValue)
	s, ok := v.Value.(cedar.String)
	return valueKey(string(a.Value), string(s)), ok && of.Name == "resource" && (a.Value == "class" || a.Value == "tenant" || a.Value == "name")
}

// classesHave reads resource.classes.contains("production-user"); it cannot err.
func classesHave(n ast.NodeTypeContains) (cedar.EntityUID, bool) {
	a, _ := n.Left.(ast.NodeTypeAccess)
	of, _ := a.Arg.(ast.NodeTypeVariable)
	v, _ := n.Right.(ast.NodeValue)
	s, ok := v.Value.(cedar.String)
	return valueKey("classes", string(s)), ok && of.Name == "resource" && a.Value == "classes"
}

func variable(n ast.IsNode) (dim int, ok bool) {
	v, _ := n.(ast.NodeTypeVariable)
	switch v.Name {
	case "principal":
		return byPrincipal, true
	case "action":
		return byAction, true
	case "resource":
		return byResource, true
	}
	return 0, false
}

func entityLiteral(n ast.IsNode) (cedar.EntityUID, bool) {
	v, _ := n.(ast.NodeValue)
	u, ok := v.Value.(cedar.EntityUID)
	return u, ok
}

// needsOf reads what a statement names. A context that is taken as a whole, as
// in a comparison, needs all that it can hold.
func needsOf(p *cedar.Policy) needs {
	var out needs
	attribute := func(of ast.IsNode, name cedar.String) bool {
		out.others = out.others || looksAway(of)
		out.names |= bit(string(name))
		v, _ := of.(ast.NodeTypeVariable)
		return v.Name != "context" // else the variable itself is not a use of the whole
	}
	for _, c := range astOf(p).Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			switch n := n.(type) {
			case ast.NodeTypeVariable:
				if n.Name == "context" {
					out.names |= everything().names
				}
			case ast.NodeTypeIn:
				_, ok := variable(n.Left)
				out.others = out.others || !ok
			case ast.NodeTypeIsIn:
				_, ok := variable(n.Left)
				out.others = out.others || !ok
			case ast.NodeTypeAccess:
				return attribute(n.Arg, n.Value)
			case ast.NodeTypeHas:
				return attribute(n.Arg, n.Value)
			case ast.NodeTypeHasTag:
				out.others, out.tags = out.others || looksAway(n.Left), true
			case ast.NodeTypeGetTag:
				out.others, out.tags = out.others || looksAway(n.Left), true
			}
			return true
		})
	}
	return out
}

// looksAway reports whether an attribute is asked of something that may be
// another entity: only the variables, and attributes of them, are not.
func looksAway(n ast.IsNode) bool {
	for {
		switch x := n.(type) {
		case ast.NodeTypeAccess:
			n = x.Arg
		case ast.NodeTypeVariable:
			return false
		default:
			return true
		}
	}
}

// part is one condition of a statement that can be judged apart.
type part struct {
	node   ast.IsNode
	wanted bool // the value that lets the statement apply
}

// partsOf splits the conditions: a when into what && joins, an unless into
// what || joins.
func partsOf(p *cedar.Policy) []part {
	var out []part
	for _, c := range astOf(p).Conditions {
		list, wanted := conjuncts(c.Body), true
		if c.Condition == ast.ConditionUnless {
			list, wanted = disjuncts(c.Body), false
		}
		for _, n := range list {
			wanted := wanted
			for not, ok := n.(ast.NodeTypeNot); ok; not, ok = n.(ast.NodeTypeNot) {
				n, wanted = not.Arg, !wanted
			}
			out = append(out, part{n, wanted})
		}
	}
	return out
}

// holds evaluates the part; ok is false when it errs.
func (p part) holds(e *entities, r cedar.Request) (value, ok bool) {
	decision, diag := cedar.Authorize(ruleSet{{policy: p.alone()}}, e, r)
	return decision == cedar.Allow, len(diag.Errors) == 0
}

// alone is a statement that the part decides.
func (p part) alone() *cedar.Policy {
	return cedar.NewPolicyFromAST((*plain.Policy)(ast.Permit().When(ast.NewNode(p.node))))
}

// text is the part in the Cedar language.
func (p part) text() string {
	_, s, _ := strings.Cut(string(p.alone().MarshalCedar()), "when {")
	return strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(s), "};"))
}

// absent names the attribute that the part asks to be there, "" for none.
func (p part) absent() string {
	switch n := p.node.(type) {
	case ast.NodeTypeHas:
		if owner := nameOf(n.Arg); owner != "" {
			return owner + "." + string(n.Value)
		}
	case ast.NodeTypeHasTag:
		v, _ := n.Right.(ast.NodeValue)
		if label, ok := v.Value.(cedar.String); ok {
			if v, _ := n.Left.(ast.NodeTypeVariable); v.Name == "resource" {
				return "labels." + string(label)
			} else if v.Name != "" {
				return string(v.Name) + ".labels." + string(label)
			}
		}
	}
	return ""
}

// asks names the attributes that the part reads, without what it compares
// them to: that may be another tenant's business.
func (p part) asks() []string {
	var out []string
	ast.Inspect(ast.NewNode(p.node), func(n ast.IsNode) bool {
		name := nameOf(n)
		if a := (part{node: n}).absent(); a != "" {
			name = a
		}
		if g, ok := n.(ast.NodeTypeGetTag); ok {
			name = part{node: ast.NodeTypeHasTag{BinaryNode: g.BinaryNode}}.absent()
		}
		if name == "" {
			return true
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
		return false
	})
	return out
}

// nameOf writes a chain of attributes, as in context.mfa.
func nameOf(n ast.IsNode) string {
	switch n := n.(type) {
	case ast.NodeTypeVariable:
		return string(n.Name)
	case ast.NodeTypeAccess:
		if owner := nameOf(n.Arg); owner != "" {
			return owner + "." + string(n.Value)
		}
	}
	return ""
}

// fits reports whether the three parts of the scope match, and which role the
// principal would have to hold where only that is wrong.
func fits(p *cedar.Policy, e *entities, r cedar.Request) (principal, action, resource bool, role cedar.EntityUID) {
	a := astOf(p)
	is := func(n ast.Node) bool {
		v, ok := part{node: n.AsIsNode()}.holds(e, r)
		return v && ok
	}
	scope := func(on ast.Node, s ast.IsScopeNode) bool {
		switch s := s.(type) {
		case ast.ScopeTypeEq:
			return is(on.Equal(ast.Value(s.Entity)))
		case ast.ScopeTypeIn:
			return is(on.In(ast.Value(s.Entity)))
		case ast.ScopeTypeInSet:
			return slices.ContainsFunc(s.Entities, func(u cedar.EntityUID) bool { return is(on.In(ast.Value(u))) })
		case ast.ScopeTypeIs:
			return is(on.Is(s.Type))
		case ast.ScopeTypeIsIn:
			return is(on.IsIn(s.Type, ast.Value(s.Entity)))
		}
		return true
	}
	principal, action, resource = scope(ast.Principal(), a.Principal), scope(ast.Action(), a.Action), scope(ast.Resource(), a.Resource)
	switch s := a.Principal.(type) {
	case ast.ScopeTypeIn:
		role = s.Entity
	case ast.ScopeTypeIsIn:
		if s.Type == r.Principal.Type {
			role = s.Entity
		}
	}
	return principal, action, resource, role
}

func compareUID(a, b cedar.EntityUID) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.ID, b.ID))
}
