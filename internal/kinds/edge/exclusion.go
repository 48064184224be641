package edge

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// ExclusionSpec switches a rule, or the rules with a tag, off for one site;
// route and argument narrow it.
type ExclusionSpec struct {
	Site     string     `json:"site" required:"true" format:"name" en:"Site" zh:"站点" help:"Name of the site in the same tenant" help_zh:"同一租户中的站点名"`
	Rule     int        `json:"rule,omitempty" min:"100000" max:"999999999" en:"Rule" zh:"规则" help:"Id of the rule, as dun explain block shows it" help_zh:"规则编号,见 dun explain block"`
	Tag      string     `json:"tag,omitempty" max:"128" en:"Tag" zh:"标签" help:"Every rule with the tag, instead of one rule" help_zh:"带此标签的全部规则,代替单条规则"`
	Route    string     `json:"route,omitempty" max:"512" en:"Route" zh:"路径" help:"Only below this path; a trailing * matches any rest" help_zh:"仅限此路径;末尾 * 匹配任意后缀"`
	Argument string     `json:"argument,omitempty" max:"256" en:"Argument" zh:"参数" help:"Only for this part, as in ARGS:comment or REQUEST_HEADERS:User-Agent" help_zh:"仅限此部分,例如 ARGS:comment 或 REQUEST_HEADERS:User-Agent"`
	Expires  *time.Time `json:"expires,omitempty" en:"Expires" zh:"到期" help:"No longer in force after this time" help_zh:"此时间之后失效"`
}

var argumentForm = regexp.MustCompile(`^[A-Z_]+(:[^\s|,"']{1,200})?$`)

// Exclusion declares the kind.
func Exclusion() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "Exclusion", Plural: "exclusions", Short: "exclusion", Scope: resource.ScopeTenant, Nav: "edge",
		Title:   resource.T("Exclusion", "排除项"),
		Doc:     resource.T("A narrow exception from the web application firewall: one rule, on one site, as tightly as route and argument say.", "Web 应用防火墙的精确例外:针对一个站点的一条规则,可用路径和参数进一步收窄。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("Site", "站点"), Value: func(o *resource.Object) string { return o.Spec.(*ExclusionSpec).Site }},
			{Title: resource.T("Rule", "规则"), Value: ruleOrTag},
			{Title: resource.T("Route", "路径"), Value: func(o *resource.Object) string { return o.Spec.(*ExclusionSpec).Route }},
			{Title: resource.T("Argument", "参数"), Value: func(o *resource.Object) string { return o.Spec.(*ExclusionSpec).Argument }},
			{Title: resource.T("Expires", "到期"), Value: func(o *resource.Object) string { return when(o.Spec.(*ExclusionSpec).Expires) }},
		},
		Example: `kind: Exclusion
metadata: {tenant: platform, name: shop-comments}
spec:
  site: shop
  rule: 942100
  route: /comments/*
  argument: ARGS:text
`,
		Sensitivity: resource.SensitivityTenant, ApprovalClass: resource.ApprovalImportant, NodeRoles: []string{"edge"},
	}, resource.Behaviour[ExclusionSpec]{
		Validate: validateExclusion,
		Refs: func(m *resource.Metadata, s *ExclusionSpec) []resource.Reference {
			return []resource.Reference{{Path: "spec.site", To: resource.Ref{Kind: "Site", Tenant: m.Tenant, Name: s.Site}}}
		},
	})
}

func validateExclusion(_ *resource.Metadata, s *ExclusionSpec, r *resource.Report) {
	if (s.Rule == 0) == (s.Tag == "") {
		r.Add("spec.rule", "want either rule or tag", "rule 与 tag 须且只须给出一个")
	}
	if s.Route != "" && (!strings.HasPrefix(s.Route, "/") || strings.Contains(strings.TrimSuffix(s.Route, "*"), "*")) {
		r.Add("spec.route", "want a path that begins with /, with * at its end at most", "路径须以 / 开头,* 只能在末尾")
	}
	if s.Argument != "" && !argumentForm.MatchString(s.Argument) {
		r.Add("spec.argument", "want a variable as in ARGS:comment or REQUEST_COOKIES", "应为变量,例如 ARGS:comment 或 REQUEST_COOKIES")
	}
}

func ruleOrTag(o *resource.Object) string {
	s := o.Spec.(*ExclusionSpec)
	if s.Rule != 0 {
		return fmt.Sprint(s.Rule)
	}
	return s.Tag
}

func when(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
