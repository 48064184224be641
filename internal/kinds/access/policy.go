package access

import (
	"strings"

	"github.com/dun-sec/dun/internal/core/resource"
)

// PolicySpec is Cedar source text. A tenant's policies are asked about that
// tenant's records only; those of platform about every record.
type PolicySpec struct {
	Description string `json:"description,omitempty" max:"1024" en:"Description" zh:"说明"`
	Cedar       string `json:"cedar" required:"true" max:"32768" en:"Cedar policies" zh:"Cedar 策略" help:"permit and forbid statements in the Cedar language" help_zh:"Cedar 语言的 permit 与 forbid 语句"`
}

// Policy declares the kind.
func Policy() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "Policy", Plural: "policies", Short: "policy", Scope: resource.ScopeTenant, Nav: "access",
		Title:   resource.T("Policy", "策略"),
		Doc:     resource.T("What roles and principals may do, in the Cedar language. Nothing is allowed that no policy permits; a forbid wins over every permit.", "用 Cedar 语言写明角色和主体的权限。未经允许的一律拒绝;forbid 优先于任何 permit。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("Description", "说明"), Value: func(o *resource.Object) string { return o.Spec.(*PolicySpec).Description }},
			{Title: resource.T("Built in", "内置"), Value: func(o *resource.Object) string { return o.Metadata.Labels[resource.LabelBuiltin] }},
			{Title: resource.T("Text", "文本"), Wide: true, Value: func(o *resource.Object) string {
				return strings.Join(strings.Fields(o.Spec.(*PolicySpec).Cedar), " ")
			}},
		},
		Example: `kind: Policy
metadata: {tenant: platform, name: netops-sites}
spec:
  description: Network operators run the sites
  cedar: |
    permit (
      principal in Role::"platform/netops",
      action in [Action::"site.read", Action::"site.create", Action::"site.update"],
      resource
    );
`,
		Sensitivity: resource.SensitivityStaff, ApprovalClass: resource.ApprovalPolicy, Retention: resource.Forever,
	}, resource.Behaviour[PolicySpec]{
		Cedar: func(_ *resource.Metadata, s *PolicySpec) string { return s.Cedar },
	})
}
