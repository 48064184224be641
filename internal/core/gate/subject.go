package gate

import (
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// Subject gives the uid of somebody for whom a session may be opened; false for
// nobody and for the disabled. It tells a door that asks for a proof, and
// nobody else, whom there is.
func (g *Gate) Subject(p resource.Ref) (uid string, ok bool) {
	s := g.state.Load()
	o := s.get(p.Kind, p.Tenant, p.Name)
	if o == nil {
		return "", false
	}
	if k, err := s.reg.Kind(p.Kind); err != nil || k.Disabled(o) {
		return "", false
	}
	return o.Metadata.UID, true
}

// Holder is the record of a kind that holds a claim; nil = none does. Like
// Subject it tells a door that asks for a proof, and nobody else.
func (g *Gate) Holder(kind, value string) *resource.Object {
	s := g.state.Load()
	held, ok := s.claims.Get(claim{kind: kind, value: value})
	if !ok {
		return nil
	}
	return s.get(kind, held.by.Tenant, held.by.Name)
}

// LastTime is the time of the newest change; no later one is dated before it,
// whatever the clock of the machine says.
func (g *Gate) LastTime() time.Time { return time.UnixMicro(g.state.Load().time).UTC() }

// Labelled is the value of a label of somebody for whom a session may be opened;
// "" for nobody, and for the disabled. It is for doors, as Subject is.
func (g *Gate) Labelled(p resource.Ref, key string) string {
	s := g.state.Load()
	o := s.get(p.Kind, p.Tenant, p.Name)
	if o == nil {
		return ""
	}
	if k, err := s.reg.Kind(p.Kind); err != nil || k.Disabled(o) {
		return ""
	}
	return o.Metadata.Labels[key]
}
