package access

import (
	"fmt"
	"strings"

	"github.com/dun-sec/dun/internal/core/resource"
)

// RoleBindingSpec gives a role of the tenant to principals of the tenant.
type RoleBindingSpec struct {
	Role     string    `json:"role" required:"true" format:"name" en:"Role" zh:"角色"`
	Subjects []Subject `json:"subjects" required:"true" min:"1" max:"256" en:"Subjects" zh:"主体"`
}

// Subject is one principal of the tenant.
type Subject struct {
	Kind string `json:"kind" required:"true" enum:"User,Service,Node" en:"Kind" zh:"类型"`
	Name string `json:"name" required:"true" format:"name" en:"Name" zh:"名称"`
}

// RoleBinding declares the kind.
func RoleBinding() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "RoleBinding", Plural: "rolebindings", Short: "binding", Scope: resource.ScopeTenant, Nav: "access",
		Title:   resource.T("Role binding", "角色绑定"),
		Doc:     resource.T("Who has a role. Binding and principals belong to one tenant.", "谁拥有某个角色。绑定与主体同属一个租户。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("Role", "角色"), Value: func(o *resource.Object) string { return o.Spec.(*RoleBindingSpec).Role }},
			{Title: resource.T("Subjects", "主体"), Value: func(o *resource.Object) string {
				var out []string
				for _, s := range o.Spec.(*RoleBindingSpec).Subjects {
					out = append(out, strings.ToLower(s.Kind)+"/"+s.Name)
				}
				return strings.Join(out, ",")
			}},
		},
		Example: `kind: RoleBinding
metadata: {tenant: platform, name: netops}
spec:
  role: netops
  subjects: [{kind: User, name: zhou-min}]
`,
		Sensitivity: resource.SensitivityStaff, ApprovalClass: resource.ApprovalPolicy, Retention: resource.Forever,
	}, resource.Behaviour[RoleBindingSpec]{
		Validate: func(_ *resource.Metadata, s *RoleBindingSpec, r *resource.Report) {
			seen := map[Subject]bool{}
			for i, sub := range s.Subjects {
				if seen[sub] {
					r.Add(fmt.Sprintf("spec.subjects[%d]", i), "is given twice", "重复")
				}
				seen[sub] = true
			}
		},
		Grants: func(m *resource.Metadata, s *RoleBindingSpec) []resource.Grant {
			var out []resource.Grant
			for _, sub := range s.Subjects {
				out = append(out, resource.Grant{
					Principal: resource.Ref{Kind: sub.Kind, Tenant: m.Tenant, Name: sub.Name},
					Role:      resource.Ref{Kind: "Role", Tenant: m.Tenant, Name: s.Role},
				})
			}
			return out
		},
		Refs: func(m *resource.Metadata, s *RoleBindingSpec) []resource.Reference {
			return []resource.Reference{{Path: "spec.role", To: resource.Ref{Kind: "Role", Tenant: m.Tenant, Name: s.Role}}}
		},
	})
}
