package gate

import "github.com/dun-sec/dun/internal/core/resource"

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
