package gate

import (
	"slices"
	"strings"

	"github.com/dun-sec/dun/internal/core/resource"
)

// maxLine bounds how many records a line of descent may pass.
const maxLine = 1000

// comesBack follows a reference of a line of descent, and says by which way it
// leads back to where it begins; "" = it does not. A line that is too long to
// be followed is refused like one that does.
func (s *state) comesBack(start resource.Ref, first resource.Reference) string {
	if !first.Line {
		return ""
	}
	from := map[resource.Ref]resource.Ref{}
	way := func(r resource.Ref) string {
		names := []string{start.Name}
		for ; r != start && len(names) < 8; r = from[r] {
			names = append(names, r.Name)
		}
		names = append(names, start.Name)
		slices.Reverse(names)
		return strings.Join(names, " > ")
	}
	todo := []resource.Ref{key(first.To)}
	from[todo[0]] = start
	for i := 0; i < len(todo); i++ {
		at := todo[i]
		if at == start {
			return start.Name + " > " + start.Name
		}
		if i >= maxLine {
			return "…"
		}
		o := s.get(at.Kind, at.Tenant, at.Name)
		k, err := s.reg.Kind(at.Kind)
		if o == nil || err != nil {
			continue
		}
		for _, ref := range k.Refs(o) {
			to := key(ref.To)
			if !ref.Line {
				continue
			}
			if to == start {
				return way(at)
			}
			if _, seen := from[to]; !seen {
				from[to] = at
				todo = append(todo, to)
			}
		}
	}
	return ""
}
