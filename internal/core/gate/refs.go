package gate

import (
	"cmp"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
)

// link says that one record needs another one.
type link struct{ to, from resource.Ref } // UIDs left out

func linkLess(a, b link) bool {
	return cmp.Or(compareRefs(a.to, b.to), compareRefs(a.from, b.from)) < 0
}

func compareRefs(a, b resource.Ref) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Name, b.Name))
}

// related holds a whole request to what records need of each other. It looks
// at the records as the request leaves them, so that its order does not
// matter: a tenant may come after its site, and a site go before its exception.
func (g *Gate) related(s *state, a identity.Actor, plans []*plan) error {
	for i, p := range plans {
		var err error
		switch {
		case p.unchanged:
		case p.next == nil:
			err = g.unneeded(s, a, p)
		default:
			err = g.grounded(s, a, p)
		}
		if err != nil {
			return Numbered(err, i, len(plans))
		}
	}
	return nil
}

// grounded checks that what the record needs is there. A record that the actor
// may not read is to him as one that does not exist.
func (g *Gate) grounded(s *state, a identity.Actor, p *plan) error {
	var r resource.Report
	m := &p.next.Metadata
	if m.Tenant != resource.Platform && s.get("Tenant", resource.Platform, m.Tenant) == nil {
		r.Add("metadata.tenant", "there is no tenant %q; create it first", "租户 %q 不存在;请先创建", m.Tenant)
	}
	had := map[resource.Ref]bool{}
	if p.old != nil {
		for _, ref := range p.kind.Refs(p.old) {
			had[key(ref.To)] = true
		}
	}
	for _, ref := range p.kind.Refs(p.next) {
		to := key(ref.To)
		if back := s.comesBack(key(p.next.Ref()), ref); back != "" {
			r.Add(ref.Path, "comes back to where it begins: %s", "形成循环:%s", back)
		}
		if had[to] {
			continue // it was checked when it was written, perhaps by somebody else
		}
		o := s.get(to.Kind, to.Tenant, to.Name)
		switch {
		case o == nil || !g.ask(s, a, o, readAction(to.Kind), "old").Allowed:
			r.Add(ref.Path, "there is no %s", "%s 不存在", to)
		case o.Metadata.Deleting != nil:
			r.Add(ref.Path, "%s is being deleted", "%s 正在删除", to)
		}
	}
	return fault.Fields(r.Fields)
}

// unneeded checks that nothing needs the record that went.
func (g *Gate) unneeded(s *state, a identity.Actor, p *plan) error {
	gone := key(p.old.Ref())
	if s.get(gone.Kind, gone.Tenant, gone.Name) != nil {
		return nil // made anew in the same request
	}
	if p.kind.Name == "Tenant" && s.occupied(gone.Name) {
		return fault.New(fault.Conflict, "the tenant %s still has records; delete them first", "租户 %s 仍有记录;请先删除", gone.Name)
	}
	n := 0
	var shown resource.Ref
	s.links.AscendGreaterOrEqual(link{to: gone}, func(l link) bool {
		if l.to != gone {
			return false
		}
		if o := s.get(l.from.Kind, l.from.Tenant, l.from.Name); o != nil {
			n++
			if shown.Name == "" && g.ask(s, a, o, readAction(o.Kind), "old").Allowed {
				shown = l.from
			}
		}
		return n < 1000 // who counts on does so at our cost
	})
	switch {
	case n == 0:
		return nil
	case shown.Name == "":
		return fault.New(fault.Conflict, "%s is needed by %d other records", "%s 仍被 %d 条其他记录引用", gone, n)
	case n == 1:
		return fault.New(fault.Conflict, "%s is needed by %s; delete that first, or both in one request", "%s 仍被 %s 引用;请先删除它,或在同一请求中删除两者", gone, shown)
	}
	return fault.New(fault.Conflict, "%s is needed by %s and %d more; delete them first, or all in one request", "%s 仍被 %s 及另外 %d 条记录引用;请先删除它们,或在同一请求中一并删除", gone, shown, n-1)
}
