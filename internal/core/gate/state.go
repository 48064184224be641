package gate

import (
	"cmp"
	"maps"
	"strings"

	"github.com/google/btree"

	"github.com/dun-sec/dun/internal/core/policy"
	"github.com/dun-sec/dun/internal/core/resource"
)

const treeDegree = 32

// state is the memory copy of all records at one revision. A published state
// is immutable; the writer forks it, and the fork is at once the overlay
// through which a group sees its own writes.
type state struct {
	reg    *resource.Registry
	trees  map[string]*btree.BTreeG[*resource.Object] // by kind, ordered by tenant and name
	claims *btree.BTreeG[claim]
	counts *btree.BTreeG[count]
	links  *btree.BTreeG[link] // what records need of each other, by what is needed
	snap   *policy.Snapshot
	ruled  uint64 // revision since which snap is in force; at a start that of the start
	at     resource.Position
	time   int64 // µs, of at
	weight int64 // bytes of all records as stored, statuses among them
}

type claim struct {
	kind, value string
	by          resource.Ref
}

func claimLess(a, b claim) bool {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.value, b.value)) < 0
}

func objectLess(a, b *resource.Object) bool {
	return cmp.Or(cmp.Compare(a.Metadata.Tenant, b.Metadata.Tenant), cmp.Compare(a.Metadata.Name, b.Metadata.Name)) < 0
}

func newState(reg *resource.Registry, at resource.Position, time int64) *state {
	s := &state{reg: reg, trees: map[string]*btree.BTreeG[*resource.Object]{}, claims: btree.NewG(treeDegree, claimLess), counts: btree.NewG(treeDegree, countLess), links: btree.NewG(treeDegree, linkLess), ruled: at.Revision, at: at, time: time}
	for _, k := range reg.All() {
		s.trees[k.Name] = btree.NewG(treeDegree, objectLess)
	}
	return s
}

// fork returns a copy that may be changed. Only the writer forks: Clone is
// cheap but not safe beside another Clone of the same tree.
func (s *state) fork() *state {
	c := *s
	c.trees = maps.Clone(s.trees)
	for k, t := range c.trees {
		c.trees[k] = t.Clone()
	}
	c.claims, c.counts, c.links = s.claims.Clone(), s.counts.Clone(), s.links.Clone()
	return &c
}

func (s *state) get(kind, tenant, name string) *resource.Object {
	t := s.trees[kind]
	if t == nil {
		return nil
	}
	o, _ := t.Get(&resource.Object{Metadata: resource.Metadata{Tenant: tenant, Name: name}})
	return o
}

func (s *state) put(o *resource.Object) {
	old, replaced := s.trees[o.Kind].ReplaceOrInsert(o)
	s.forget(old)
	if !replaced {
		s.count(o, 1)
	}
	k, err := s.reg.Kind(o.Kind)
	if err != nil {
		return
	}
	for _, c := range k.Unique(o) {
		if !c.Weak {
			s.claims.ReplaceOrInsert(claim{o.Kind, place(&c, o), o.Ref()})
		}
	}
	for _, r := range k.Refs(o) {
		s.links.ReplaceOrInsert(link{key(r.To), key(o.Ref())})
	}
}

func (s *state) remove(o *resource.Object) {
	old, gone := s.trees[o.Kind].Delete(o)
	s.forget(old)
	if gone {
		s.count(old, -1)
	}
}

// forget drops what o claimed and needed.
func (s *state) forget(o *resource.Object) {
	if o == nil {
		return
	}
	if k, err := s.reg.Kind(o.Kind); err == nil {
		for _, c := range k.Unique(o) {
			if !c.Weak {
				s.claims.Delete(claim{kind: o.Kind, value: place(&c, o)})
			}
		}
		for _, r := range k.Refs(o) {
			s.links.Delete(link{key(r.To), key(o.Ref())})
		}
	}
}

// taken returns the first claim of o that another record holds.
func (s *state) taken(k *resource.Kind, o *resource.Object) (resource.Claim, bool) {
	for _, c := range k.Unique(o) {
		if c.Most > 0 {
			if s.crowded(&c, o) {
				return c, true
			}
			continue
		}
		if held, ok := s.claims.Get(claim{kind: o.Kind, value: c.Key()}); ok &&
			(held.by.Tenant != o.Metadata.Tenant || held.by.Name != o.Metadata.Name) {
			return c, true
		}
	}
	return resource.Claim{}, false
}

// place is where the claim of o lies: that of a value which several may hold has
// its holder in it.
func place(c *resource.Claim, o *resource.Object) string {
	if c.Most == 0 {
		return c.Key()
	}
	return c.Key() + "\x00" + o.Metadata.Tenant + "/" + o.Metadata.Name
}

// crowded reports whether as many others as may hold the value.
func (s *state) crowded(c *resource.Claim, o *resource.Object) bool {
	n, prefix := 0, c.Key()+"\x00"
	s.claims.AscendGreaterOrEqual(claim{kind: o.Kind, value: prefix}, func(x claim) bool {
		if x.kind != o.Kind || !strings.HasPrefix(x.value, prefix) {
			return false
		}
		if x.value != place(c, o) {
			n++
		}
		return n < c.Most
	})
	return n >= c.Most
}

// occupied reports whether any record lives in the tenant.
func (s *state) occupied(tenant string) bool {
	found := false
	for _, t := range s.trees {
		t.AscendGreaterOrEqual(&resource.Object{Metadata: resource.Metadata{Tenant: tenant}}, func(o *resource.Object) bool {
			found = o.Metadata.Tenant == tenant
			return false
		})
		if found {
			return true
		}
	}
	return false
}
