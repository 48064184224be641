package gate

import (
	"bytes"
	"strings"

	"github.com/dun-sec/dun/internal/core/audit"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// withhold takes out of a leaf what its reader may not read as a record: who
// reads the log learns what happened, and gets no data of a class by it that he
// would not get at any other door (control 1-1). The proof holds all the same.
func (b *Book) withhold(e *audit.Entry) {
	for _, f := range []audit.Field{audit.FieldOld, audit.FieldNew} {
		if v := e.Values[f]; v != nil && b.keeps(v) {
			e.Values[f], e.Salts[f] = nil, nil
		}
	}
}

// keeps reports whether the reader may not have a stored record. Most records
// say nothing about a class, and are not even decoded.
func (b *Book) keeps(stored []byte) bool {
	if !bytes.Contains(stored, []byte(resource.LabelClass)) && !bytes.Contains(stored, []byte(`"kind":"DataAsset"`)) && !bytes.Contains(stored, []byte(`"kind":"ThirdPartyDuty"`)) {
		return false
	}
	o, err := b.g.opt.Registry.Load(stored)
	if err != nil {
		return true // what cannot be read cannot be judged
	}
	s := b.g.state.Load()
	return classed(s, o) && !b.g.ask(s, b.actor, o, readAction(o.Kind), "old").Allowed
}

// classed reports whether the class of a record is said and not only absent.
func classed(s *state, o *resource.Object) bool {
	k, err := s.reg.Kind(o.Kind)
	return o.Metadata.Labels[resource.LabelClass] != "" || err == nil && k.Data()
}

// Sees says which events somebody may see who reads the events of a tenant: not
// those of a record that has a class and that he may not read. object is as in
// "site/shop".
func (g *Gate) Sees(a identity.Actor) func(tenant, object string) bool {
	return func(tenant, object string) bool {
		kind, name, ok := strings.Cut(object, "/")
		if !ok {
			return true
		}
		s := g.state.Load()
		k, err := s.reg.Find(kind)
		if err != nil {
			return true
		}
		o := s.get(k.Name, tenant, name)
		return o == nil || !classed(s, o) || g.ask(s, a, o, readAction(k.Name), "old").Allowed
	}
}
