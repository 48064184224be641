package gate

import (
	"cmp"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
)

// count is how many records of a kind a tenant has.
type count struct {
	tenant, kind string
	n            int
}

func countLess(a, b count) bool {
	return cmp.Or(cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.kind, b.kind)) < 0
}

func (s *state) count(o *resource.Object, by int) {
	c := count{tenant: o.Metadata.Tenant, kind: o.Kind}
	if had, ok := s.counts.Get(c); ok {
		c.n = had.n
	}
	if c.n += by; c.n == 0 {
		s.counts.Delete(c)
	} else {
		s.counts.ReplaceOrInsert(c)
	}
}

// quota is what a tenant may have; one whose record is not there yet has none.
func (s *state) quota(tenant string) resource.Quota {
	o := s.get("Tenant", resource.Platform, tenant)
	k, err := s.reg.Kind("Tenant")
	if o == nil || err != nil {
		return resource.Quota{}
	}
	return k.Quota(o)
}

// room refuses a record that its tenant has no place for. What Dun itself makes,
// it makes: an attacker would choose what a tenant can keep.
func (s *state) room(k *resource.Kind, tenant string) error {
	if k.Own {
		return nil
	}
	q := s.quota(tenant)
	if most := q.Each[k.Short]; most > 0 {
		if c, _ := s.counts.Get(count{tenant: tenant, kind: k.Name}); c.n >= most {
			return fault.New(fault.Exhausted, "the tenant %s has %d %s, and may have no more; delete some, or ask the operator", "租户 %s 已有 %d 个 %s,达到上限;请删除一部分,或联系运营方", tenant, c.n, k.Plural)
		}
	}
	if q.Records == 0 {
		return nil
	}
	n := 0
	s.counts.AscendGreaterOrEqual(count{tenant: tenant}, func(c count) bool {
		if c.tenant != tenant {
			return false
		}
		if other, err := s.reg.Kind(c.kind); err == nil && !other.Own {
			n += c.n
		}
		return true
	})
	if n >= q.Records {
		return fault.New(fault.Exhausted, "the tenant %s has %d records, and may have no more; delete some, or ask the operator", "租户 %s 已有 %d 条记录,达到上限;请删除一部分,或联系运营方", tenant, n)
	}
	return nil
}

// limited checks that the limits of a tenant name kinds that there are.
func (s *state) limited(p *plan) error {
	var r resource.Report
	for kind := range p.kind.Quota(p.next).Each {
		if k, err := s.reg.Find(kind); err != nil || k.Short != kind {
			r.Add("spec.limits.each", "there is no kind %q; see dun explain kind", "没有类型 %q;见 dun explain kind", kind)
		}
	}
	return fault.Fields(r.Fields)
}

// Requests is how many requests of the API a second a tenant may make; 0 =
// without a limit.
func (g *Gate) Requests(tenant string) int { return g.state.Load().quota(tenant).Requests }
