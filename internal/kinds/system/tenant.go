// Package system holds the kinds that describe the cell itself; the first is
// Tenant. It owns their words and validation, never their enforcement.
package system

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/dun-sec/dun/internal/core/resource"
)

// TenantSpec is a customer or a department that lives apart from all others.
type TenantSpec struct {
	Title          string   `json:"title,omitempty" max:"128" en:"Title" zh:"名称" help:"Name for people" help_zh:"供人阅读的名称"`
	OriginNetworks []string `json:"originNetworks,omitempty" max:"64" each:"max:'64'" en:"Origin networks" zh:"源站网段" help:"Private networks that the tenant's origins may lie in; none by default" help_zh:"租户源站可使用的私有网段;默认没有"`
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
`,
		Sensitivity: resource.SensitivityStaff, ApprovalClass: resource.ApprovalImportant, NodeRoles: []string{"edge"},
	}, resource.Behaviour[TenantSpec]{Validate: func(_ *resource.Metadata, s *TenantSpec, r *resource.Report) {
		for i, n := range s.OriginNetworks {
			if p, err := netip.ParsePrefix(n); err != nil || p.Masked() != p || p.Bits() < 8 {
				r.Add(fmt.Sprintf("spec.originNetworks[%d]", i), "%q is not a network of /8 or smaller, as in 10.20.0.0/16", "%q 不是有效网段(须不大于 /8,例如 10.20.0.0/16)", n)
			}
		}
	}})
}
