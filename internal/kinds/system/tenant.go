// Package system holds the kinds that describe the cell itself; the first is
// Tenant. It owns their words and validation, never their enforcement.
package system

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"github.com/dun-sec/dun/internal/core/resource"
)

// TenantSpec is a customer or a department that lives apart from all others.
type TenantSpec struct {
	Title          string   `json:"title,omitempty" max:"128" en:"Title" zh:"名称" help:"Name for people" help_zh:"供人阅读的名称"`
	OriginNetworks []string `json:"originNetworks,omitempty" max:"64" each:"max:'64'" en:"Origin networks" zh:"源站网段" help:"Private networks that the tenant's origins may lie in; none by default" help_zh:"租户源站可使用的私有网段;默认没有"`
	Addresses      []string `json:"addresses,omitempty" max:"256" each:"max:'64'" en:"Addresses" zh:"地址" help:"Networks that are the tenant's: its protected addresses lie in them; none by default" help_zh:"属于该租户的网段,其受保护地址须在其中;默认没有"`

	Limits *TenantLimits `json:"limits,omitempty" en:"Limits" zh:"限额" help:"How much the tenant may have" help_zh:"租户可使用的数量"`
}

// TenantLimits bound what a tenant may keep and ask. The platform has only those
// that are given.
type TenantLimits struct {
	Records  int         `json:"records,omitempty" min:"1" max:"1000000" en:"Records" zh:"记录" help:"Of all kinds together but those that Dun makes by itself; default 100000" help_zh:"各类记录合计(Dun 自动生成的除外);默认 100000"`
	Each     []KindLimit `json:"each,omitempty" max:"64" en:"Of a kind" zh:"按类型"`
	Requests int         `json:"requests,omitempty" min:"1" max:"100000" en:"Requests" zh:"请求" help:"Of the API a second, twice as many at once; default 200" help_zh:"每秒 API 请求数,瞬时可达两倍;默认 200"`
}

// KindLimit bounds the records of one kind.
type KindLimit struct {
	Kind string `json:"kind" required:"true" format:"name" en:"Kind" zh:"类型" help:"As it is typed, as in site" help_zh:"类型的短名,例如 site"`
	Most int    `json:"most" required:"true" min:"1" max:"1000000" en:"At most" zh:"至多"`
}

// Limits of a tenant that names none.
const (
	DefaultRecords  = 100_000
	DefaultRequests = 200
)

// Quota is what the limits come to.
func (s *TenantSpec) Quota(name string) resource.Quota {
	q := resource.Quota{Records: DefaultRecords, Requests: DefaultRequests}
	if name == resource.Platform {
		q = resource.Quota{}
	}
	if s.Limits == nil {
		return q
	}
	q.Records, q.Requests = cmp.Or(s.Limits.Records, q.Records), cmp.Or(s.Limits.Requests, q.Requests)
	q.Each = map[string]int{}
	for _, l := range s.Limits.Each {
		q.Each[l.Kind] = l.Most
	}
	return q
}

// Tenant declares the kind.
func Tenant() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "Tenant", Plural: "tenants", Short: "tenant", Scope: resource.ScopePlatform, Nav: "system",
		Title:   resource.T("Tenant", "租户"),
		Doc:     resource.T("A customer or department whose records, events and data no other tenant sees. The operator's own is platform.", "客户或部门,其记录、事件和数据对其他租户不可见。运营方自己的租户为 platform。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("Title", "名称"), Value: func(o *resource.Object) string { return o.Spec.(*TenantSpec).Title }},
			{Title: resource.T("Origin networks", "源站网段"), Wide: true, Value: func(o *resource.Object) string {
				return strings.Join(o.Spec.(*TenantSpec).OriginNetworks, ",")
			}},
		},
		Example: `kind: Tenant
metadata: {tenant: platform, name: acme}
spec:
  title: Acme Ltd
  originNetworks: [10.20.0.0/16]
  limits: {records: 1000, each: [{kind: site, most: 20}], requests: 50}
`,
		Sensitivity: resource.SensitivityStaff, ApprovalClass: resource.ApprovalImportant, NodeRoles: []string{"edge", "scrub"},
	}, resource.Behaviour[TenantSpec]{Quota: func(m *resource.Metadata, s *TenantSpec) resource.Quota { return s.Quota(m.Name) }, Validate: func(_ *resource.Metadata, s *TenantSpec, r *resource.Report) {
		if s.Limits != nil {
			seen := map[string]bool{}
			for i, l := range s.Limits.Each {
				if seen[l.Kind] {
					r.Add(fmt.Sprintf("spec.limits.each[%d]", i), "the kind is given twice", "类型重复")
				}
				seen[l.Kind] = true
			}
		}
		for i, n := range s.Addresses {
			if p, err := netip.ParsePrefix(n); err != nil || p.Masked() != p || p.Addr().Is4In6() || p.Bits() < 8 {
				r.Add(fmt.Sprintf("spec.addresses[%d]", i), "%q is not a network of /8 or smaller, as in 198.51.100.0/24", "%q 不是有效网段(须不大于 /8,例如 198.51.100.0/24)", n)
			}
		}
		for i, n := range s.OriginNetworks {
			if p, err := netip.ParsePrefix(n); err != nil || p.Masked() != p || p.Bits() < 8 {
				r.Add(fmt.Sprintf("spec.originNetworks[%d]", i), "%q is not a network of /8 or smaller, as in 10.20.0.0/16", "%q 不是有效网段(须不大于 /8,例如 10.20.0.0/16)", n)
			}
		}
	}})
}
