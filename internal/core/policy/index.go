package policy

import (
	"maps"
	"slices"

	"github.com/cedar-policy/cedar-go"
)

// What a rule is filed under, from the widest to the narrowest question. The
// zero key stands for anything.
const (
	byAction = iota
	byPrincipal
	byResource
	byTag // a label that the resource must carry, or what one of its attributes must be
	dimensions
)

// path is one place of a rule in the index: what its scope, and conditions
// that lead like a scope, ask for.
type path [dimensions]cedar.EntityUID

// typeKey is where rules for a type of entity are filed. An entity with an
// empty id has the same key: then a rule too many is evaluated, none too few.
func typeKey(t cedar.EntityType) cedar.EntityUID { return cedar.EntityUID{Type: t} }

// tagKey is where rules for a label are filed.
func tagKey(label string) cedar.EntityUID {
	return cedar.NewEntityUID("tag", cedar.String(label))
}

// valueKey is where rules for a value of an attribute are filed.
func valueKey(attribute, value string) cedar.EntityUID {
	return cedar.NewEntityUID(cedar.EntityType("="+attribute), cedar.String(value))
}

// edit owns the nodes that one compilation made, and may change them. It has a
// size, so that two of them never share an address.
type edit struct{ _ byte }

// node is one level of the index; the rules lie below the last level. Nodes
// are shared between snapshots: with copies a node that it does not own first.
type node struct {
	owner *edit
	next  map[cedar.EntityUID]*node
	rules []*rule
}

// owned returns n itself if by may change it, else a copy.
func (n *node) owned(by *edit) *node {
	switch {
	case n == nil:
		return &node{owner: by}
	case n.owner == by:
		return n
	}
	return &node{owner: by, next: maps.Clone(n.next), rules: slices.Clone(n.rules)}
}

// insert files r under the rest of its path and returns the changed node.
func (n *node) insert(by *edit, at []cedar.EntityUID, r *rule) *node {
	n = n.owned(by)
	if len(at) == 0 {
		n.rules = append(n.rules, r)
		return n
	}
	if n.next == nil {
		n.next = map[cedar.EntityUID]*node{}
	}
	n.next[at[0]] = n.next[at[0]].insert(by, at[1:], r)
	return n
}

// remove takes r out again; nil when nothing is left.
func (n *node) remove(by *edit, at []cedar.EntityUID, r *rule) *node {
	if n == nil {
		return nil
	}
	n = n.owned(by)
	if len(at) == 0 {
		n.rules = slices.DeleteFunc(n.rules, func(x *rule) bool { return x == r })
	} else if below := n.next[at[0]].remove(by, at[1:], r); below != nil {
		n.next[at[0]] = below
	} else {
		delete(n.next, at[0])
	}
	if len(n.rules) == 0 && len(n.next) == 0 {
		return nil
	}
	return n
}

// candidates are the keys that a question matches, by dimension.
type candidates [dimensions][]cedar.EntityUID

// collect appends the rules that may apply: all whose paths hold only keys of
// c, each once.
func (n *node) collect(c *candidates, level int, out []*rule) []*rule {
	if n == nil {
		return out
	}
	if level == dimensions {
		for _, r := range n.rules {
			if len(r.paths) == 1 || !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
		return out
	}
	for _, k := range c[level] {
		if below, ok := n.next[k]; ok {
			out = below.collect(c, level+1, out)
		}
	}
	return out
}

// nearby calls f with the rules for the action and the resource of c, whatever
// label or value they ask for, and for principals of c or of role; until f
// says false.
func (n *node) nearby(c *candidates, level int, role func(cedar.EntityUID) bool, f func(*rule) bool) bool {
	if n == nil {
		return true
	}
	if level == dimensions {
		for _, r := range n.rules {
			if !f(r) {
				return false
			}
		}
		return true
	}
	for k, below := range n.next {
		if (level == byTag || slices.Contains(c[level], k) || level == byPrincipal && role(k)) && !below.nearby(c, level+1, role, f) {
			return false
		}
	}
	return true
}
