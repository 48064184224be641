package policy

import "slices"

// needs says what rules can see. Nothing is built that no rule of a question
// names: Cedar has no other way to ask for an attribute, and entities compare
// by their names alone.
type needs struct {
	names  uint32 // attributes of entities and of the context, by bit
	tags   bool
	others bool // entities beside principal, action and resource
}

// attributes that a rule may name; each has the bit of its place. Names inside
// of a spec are not here: a spec is built as a whole.
func attributes() [19]string {
	return [...]string{"name", "tenant", "owner", "class", "spec", "phase", "door", "mfa", "time", "request", "source", "changeRequest",
		"level", "classes", "data", "act", "purpose", "region", "recipient"}
}

func bit(name string) uint32 {
	list := attributes()
	if i := slices.Index(list[:], name); i >= 0 {
		return 1 << i
	}
	return 0
}

func (n needs) name(s string) bool { return n.names&bit(s) != 0 }

func (n needs) with(o needs) needs {
	return needs{n.names | o.names, n.tags || o.tags, n.others || o.others}
}

// everything is what a rule could need.
func everything() needs { return needs{names: 1<<len(attributes()) - 1, tags: true, others: true} }
