// Package access holds the kinds that say who may do what: User, Role,
// RoleBinding and Policy. It owns their words and validation; the decision is
// core/policy's, and no secret of a user is ever in a record.
package access

import (
	"strings"

	"github.com/dun-sec/dun/internal/core/resource"
)

// UserSpec is a person who can sign in.
type UserSpec struct {
	DisplayName string `json:"displayName,omitempty" max:"128" en:"Display name" zh:"显示名"`
	Email       string `json:"email,omitempty" max:"254" en:"E-mail" zh:"邮箱"`
	Disabled    bool   `json:"disabled,omitempty" en:"Disabled" zh:"已停用" help:"A disabled user is refused at once, with every session" help_zh:"停用后立即拒绝其全部会话"`
}

// User declares the kind.
func User() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "User", Plural: "users", Short: "user", Scope: resource.ScopeTenant, Nav: "access",
		Title:   resource.T("User", "用户"),
		Doc:     resource.T("A person who can sign in. Rights come from roles by RoleBinding; passwords and codes are kept elsewhere, sealed.", "可以登录的人员。权限由 RoleBinding 授予的角色决定;密码和验证码另行密封保存。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("Display name", "显示名"), Value: func(o *resource.Object) string { return o.Spec.(*UserSpec).DisplayName }},
			{Title: resource.T("E-mail", "邮箱"), Wide: true, Value: func(o *resource.Object) string { return o.Spec.(*UserSpec).Email }},
			{Title: resource.T("State", "状态"), Value: func(o *resource.Object) string {
				if o.Spec.(*UserSpec).Disabled {
					return "disabled"
				}
				return "active"
			}},
		},
		Example: `kind: User
metadata: {tenant: platform, name: zhou-min}
spec: {displayName: Zhou Min, email: zhou.min@example.com}
`,
		Sensitivity: resource.SensitivityPersonal, ApprovalClass: resource.ApprovalImportant, Retention: resource.Forever,
	}, resource.Behaviour[UserSpec]{
		Disabled: func(_ *resource.Metadata, s *UserSpec) bool { return s.Disabled },
		Validate: func(_ *resource.Metadata, s *UserSpec, r *resource.Report) {
			if local, domain, ok := strings.Cut(s.Email, "@"); s.Email != "" && (!ok || local == "" || domain == "" || strings.ContainsAny(s.Email, " \t\n<>,;")) {
				r.Add("spec.email", "want an address as in name@example.com", "应为邮箱地址,例如 name@example.com")
			}
		}})
}
