package access

import (
	"github.com/dun-sec/dun/internal/core/resource"
)

// RoleSpec is a name that policies grant to and bindings hand out.
type RoleSpec struct {
	Description string `json:"description,omitempty" max:"1024" en:"Description" zh:"说明"`
}

// Role declares the kind.
func Role() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "Role", Plural: "roles", Short: "role", Scope: resource.ScopeTenant, Nav: "access",
		Title:   resource.T("Role", "角色"),
		Doc:     resource.T("A set of duties. Policies say what a role may do; bindings say who has it.", "一组职责。策略规定角色的权限,绑定规定谁拥有角色。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("Description", "说明"), Value: func(o *resource.Object) string { return o.Spec.(*RoleSpec).Description }},
		},
		Example: `kind: Role
metadata: {tenant: platform, name: netops}
spec: {description: Runs the edge and its sites}
`,
		Sensitivity: resource.SensitivityStaff, ApprovalClass: resource.ApprovalPolicy, Retention: resource.Forever,
	}, resource.Behaviour[RoleSpec]{})
}
