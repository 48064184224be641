package access

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// ApprovalRuleSpec says which changes need the assent of whom.
type ApprovalRuleSpec struct {
	Description string            `json:"description,omitempty" max:"256" en:"Description" zh:"说明"`
	Tenants     string            `json:"tenants,omitempty" enum:"own,all" en:"Tenants" zh:"租户" help:"own: records of the rule's tenant (default); all: of every tenant, for rules of the platform" help_zh:"own:规则所在租户的记录(默认);all:所有租户的记录,仅限平台的规则"`
	Classes     []string          `json:"classes,omitempty" max:"2" each:"enum:'important,policy'" en:"Approval classes" zh:"审批级别" help:"Of the kinds that it is about; empty = any" help_zh:"适用类型的审批级别;空 = 任意"`
	Kinds       []string          `json:"kinds,omitempty" max:"64" each:"max:'64'" en:"Kinds" zh:"类型" help:"As in Policy; empty = any" help_zh:"例如 Policy;空 = 任意"`
	Verbs       []string          `json:"verbs,omitempty" max:"32" each:"max:'64'" en:"Verbs" zh:"操作" help:"As in create, update, delete; empty = any change" help_zh:"例如 create、update、delete;空 = 任意更改"`
	Labels      map[string]string `json:"labels,omitempty" en:"Labels" zh:"标签" help:"That the record has before or after; empty = any" help_zh:"记录在更改前或更改后具有的标签;空 = 任意"`
	Steps       []ApprovalStep    `json:"steps" required:"true" min:"1" max:"8" en:"Steps" zh:"步骤" help:"One after the other" help_zh:"依次进行"`
	Expires     resource.Duration `json:"expires,omitempty" en:"Expires" zh:"有效期" help:"After which an open request ends; default 7d" help_zh:"未决请求的有效期;默认 7d"`
}

// ApprovalStep is who has to assent, and how many of them.
type ApprovalStep struct {
	Name       string            `json:"name" required:"true" format:"name" en:"Name" zh:"名称"`
	Roles      []string          `json:"roles,omitempty" max:"16" each:"max:'127'" en:"Roles" zh:"角色" help:"Whose holders may assent: a role of the rule's tenant" help_zh:"其成员可审批的角色:规则所在租户的角色"`
	Users      []string          `json:"users,omitempty" max:"32" each:"format:'name'" en:"Users" zh:"用户" help:"Who may assent, too: users of the rule's tenant" help_zh:"同样可审批的用户:规则所在租户的用户"`
	Owner      bool              `json:"owner,omitempty" en:"Owner" zh:"所有者" help:"The record's owner may assent" help_zh:"记录的所有者可审批"`
	Count      int               `json:"count,omitempty" min:"1" max:"8" en:"Count" zh:"人数" help:"Default 1" help_zh:"默认 1"`
	EscalateTo []string          `json:"escalateTo,omitempty" max:"16" each:"max:'127'" en:"Escalate to" zh:"升级至" help:"Roles whose holders may assent, too, once the step has waited too long" help_zh:"步骤等待过久后,其成员也可审批的角色"`
	After      resource.Duration `json:"after,omitempty" en:"After" zh:"升级时限" help:"How long that is; default 24h" help_zh:"等待时限;默认 24h"`
}

// Defaults of rules.
const (
	DefaultExpiry   = 7 * 24 * time.Hour
	DefaultEscalate = 24 * time.Hour
	longestExpiry   = 90 * 24 * time.Hour
)

// ApprovalRule declares the kind.
func ApprovalRule() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "ApprovalRule", Plural: "approvalrules", Short: "approvalrule", Scope: resource.ScopeTenant, Nav: "access",
		Title:   resource.T("Approval rule", "审批规则"),
		Doc:     resource.T("Which changes wait for the assent of others, and of whom. A change that a rule is about becomes a change request; of several rules every step counts. Rules change by approved requests only.", "哪些更改须由他人审批,以及由谁审批。规则适用的更改会成为变更请求;若适用多条规则,则须完成全部步骤。规则本身只能通过已批准的请求更改。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("About", "适用范围"), Value: func(o *resource.Object) string {
				s := o.Spec.(*ApprovalRuleSpec)
				about := append(slices.Clone(s.Kinds), s.Classes...)
				if len(about) == 0 {
					return "*"
				}
				return strings.Join(about, ",")
			}},
			{Title: resource.T("Steps", "步骤"), Value: func(o *resource.Object) string {
				var out []string
				for _, s := range o.Spec.(*ApprovalRuleSpec).Steps {
					out = append(out, s.Name)
				}
				return strings.Join(out, " > ")
			}},
		},
		Example: `kind: ApprovalRule
metadata: {tenant: platform, name: sites-of-shops}
spec:
  kinds: [Site]
  labels: {stage: production}
  steps: [{name: owner, owner: true, roles: [security]}]
`,
		Sensitivity: resource.SensitivityStaff, ApprovalClass: resource.ApprovalPolicy, Retention: resource.Forever,
	}, resource.Behaviour[ApprovalRuleSpec]{Validate: validateRule})
}

func validateRule(m *resource.Metadata, s *ApprovalRuleSpec, r *resource.Report) {
	if s.Tenants == "all" && m.Tenant != resource.Platform {
		r.Add("spec.tenants", "only a rule of the platform is about all tenants", "只有平台的规则可适用于所有租户")
	}
	if d := time.Duration(s.Expires); d < 0 || d > longestExpiry {
		r.Add("spec.expires", "want at most 90d", "最长 90d")
	}
	seen := map[string]bool{}
	for i, step := range s.Steps {
		path := fmt.Sprintf("spec.steps[%d]", i)
		if len(step.Roles) == 0 && len(step.Users) == 0 && !step.Owner {
			r.Add(path, "names nobody who may assent", "未指明任何审批人")
		}
		if seen[step.Name] {
			r.Add(path+".name", "%q is given twice", "%q 重复", step.Name)
		}
		seen[step.Name] = true
		if step.After < 0 {
			r.Add(path+".after", "want a positive time", "应为正的时长")
		}
	}
}
