package gate

import (
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
)

// How much is looked at when a class falls. It is work of the writer, for which
// others wait, and who only asks for it chooses how often: what is refused
// without anybody's assent is what is seen at a glance.
const (
	maxFall   = 50_000 // about 10 000 records that lie in what falls or take over its class, fewer where their lines are long
	maxGlance = 2_000
)

// fall follows a class that falls to what falls with it.
type fall struct {
	g             *Gate
	actor         identity.Actor
	s             *state
	before, after *policy.Snapshot
	todo          []resource.Ref
	seen          map[resource.Ref]bool
	left          int
	glance        bool // what is behind the bound is looked at later
}

// contains refuses a request that leaves something in a container that protects
// less than it must, because the container's class falls: by its own label, or
// that of what it lies in, is made from, or is a type or class of (control
// 4.0-3). Nobody's assent is enough for that. What only rises costs nothing
// here: that must always be possible.
func (g *Gate) contains(was, s *state, a identity.Actor, plans []*plan, glance bool) error {
	f := &fall{g: g, actor: a, s: s, before: was.snap, after: s.snap, left: maxFall, glance: glance}
	if glance {
		f.left = maxGlance
	}
	for i, p := range plans {
		if p.unchanged || p.next == nil || !p.kind.Classed() {
			continue
		}
		if ref := key(p.next.Ref()); f.falls(ref, f.level(ref)) {
			f.todo = append(f.todo[:0], ref)
			for j := 0; j < len(f.todo); j++ {
				if glance && f.left < 0 {
					return nil
				}
				if err := f.below(f.todo[j], ref); err != nil {
					return Numbered(err, i, len(plans))
				}
			}
		}
	}
	return nil
}

// level is that of a record once the request is done.
func (f *fall) level(r resource.Ref) int {
	level, steps := f.after.Level(r)
	f.left -= steps
	return level
}

// falls reports, once, whether a record is of a lower level than before; what
// was not there was of the highest.
func (f *fall) falls(r resource.Ref, now int) bool {
	if now == resource.HighestLevel || f.seen[r] {
		return false
	}
	old, steps := f.before.Level(r)
	if f.left -= steps; now >= old {
		return false
	}
	if f.seen == nil {
		f.seen = map[resource.Ref]bool{}
	}
	f.seen[r] = true
	return true
}

// below looks at what refers to at, which falls with first.
func (f *fall) below(at, first resource.Ref) error {
	level := f.level(at)
	var err error
	for _, k := range f.s.reg.All() {
		if !k.Classed() || k.Shares() || err != nil {
			continue
		}
		f.s.links.AscendGreaterOrEqual(link{to: at, from: resource.Ref{Kind: k.Name}}, func(l link) bool {
			if l.to != at || l.from.Kind != k.Name {
				return false
			}
			if f.left--; f.left < 0 {
				if f.glance {
					return false
				}
				err = fault.New(fault.Conflict, "too much lies in %s, or takes over its class, to see whether all of it may be in what protects less: about 10000 records are looked at; lower or move a part first", "%s 中所含或随其分类变化的记录过多,无法逐一确认能否存放在更低的级别中:至多查看约 10000 条;请先降低或移走一部分", first)
				return false
			}
			inner := f.level(l.from)
			if a := k.Asset(f.s.get(k.Name, l.from.Tenant, l.from.Name)); a != nil && key(a.Container) == at && inner > level {
				err = f.refuse(at, level, l.from, inner)
				return false
			}
			if f.falls(l.from, inner) {
				f.todo = append(f.todo, l.from)
			}
			return true
		})
	}
	return err
}

func (f *fall) refuse(outer resource.Ref, level int, inner resource.Ref, higher int) error {
	if o := f.s.get(inner.Kind, inner.Tenant, inner.Name); o == nil || !f.g.ask(f.s, f.actor, o, readAction(o.Kind), "old").Allowed {
		return fault.New(fault.Conflict, "%s would be of level %d, and something that lies in it is of level %d; lower or move that first", "%s 将降为级别 %d,而其中有级别 %d 的内容;请先降低或移走该内容", outer, level, higher)
	}
	return fault.New(fault.Conflict, "%s would be of level %d, and %s, which lies in it, is of level %d; lower or move that first", "%s 将降为级别 %d,而其中的 %s 为级别 %d;请先降低或移走该内容", outer, level, inner, higher)
}
