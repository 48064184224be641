package system

import (
	"encoding/hex"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// MaxTokenLife is how long a token may wait for its machine.
const MaxTokenLife = 24 * time.Hour

// TokenSpec lets one machine join the cell, once.
type TokenSpec struct {
	Roles    []string  `json:"roles" required:"true" max:"16" each:"enum:'edge,scrub'" en:"Roles" zh:"角色"`
	Tenants  []string  `json:"tenants,omitempty" max:"1000" each:"max:'63'" en:"Tenants" zh:"租户" help:"Whose records are placed on the machine; none named = every tenant's" help_zh:"放置在该机器上的租户;不填 = 全部租户"`
	Node     string    `json:"node,omitempty" max:"63" en:"Node" zh:"节点" help:"Name of the node; one that is there is replaced by the new machine. Empty = the next free n2, n3 …" help_zh:"节点名称;已存在时由新机器替换。为空 = 下一个空闲的 n2、n3……"`
	Expires  time.Time `json:"expires" required:"true" en:"Expires" zh:"过期时间"`
	Verifier string    `json:"verifier" required:"true" max:"64" en:"Verifier" zh:"校验值" help:"SHA-256 in hex of the secret, which dun token create makes and shows once; the cell never has it" help_zh:"机密的 SHA-256(十六进制);机密由 dun token create 生成并只显示一次,集群从不持有"`
}

// TokenState is whether it was used.
type TokenState struct {
	Used *time.Time `json:"used,omitempty" en:"Used" zh:"使用时间"`
	Node string     `json:"node,omitempty" en:"By node" zh:"使用节点"`
	From string     `json:"from,omitempty" en:"From" zh:"来源地址"`
}

// UseInput is what the service nodes tells of its use.
type UseInput struct {
	Node string `json:"node" required:"true" max:"63" en:"Node" zh:"节点"`
	From string `json:"from,omitempty" max:"64" en:"From" zh:"来源地址"`
}

// TokenStateOf is the state of a token's record, never nil.
func TokenStateOf(o *resource.Object) *TokenState {
	if s, ok := o.State.(*TokenState); ok && s != nil {
		return s
	}
	return &TokenState{}
}

// Token declares the kind.
func Token() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "Token", Plural: "tokens", Short: "token", Scope: resource.ScopePlatform, Nav: "system",
		Title:   resource.T("Join token", "加入令牌"),
		Doc:     resource.T("Lets one machine join the cell, once and soon. Made by dun token create; the record holds no secret.", "允许一台机器在短期内加入集群一次。由 dun token create 生成;记录中没有机密。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("Roles", "角色"), Value: func(o *resource.Object) string { return strings.Join(o.Spec.(*TokenSpec).Roles, ",") }},
			{Title: resource.T("Expires", "过期时间"), Value: func(o *resource.Object) string { return o.Spec.(*TokenSpec).Expires.UTC().Format(time.RFC3339) }},
			{Title: resource.T("Used by", "使用节点"), Value: func(o *resource.Object) string { return TokenStateOf(o).Node }},
		},
		Example: `kind: Token
metadata: {tenant: platform, name: t-edge}
spec:
  roles: [edge]
  expires: 2026-11-25T13:00:00Z
  verifier: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
`,
		Sensitivity: resource.SensitivityStaff, ApprovalClass: resource.ApprovalImportant, Retention: resource.Forever,
		NewState: func() any { return &TokenState{} },
		Verbs: []resource.Verb{resource.On(
			resource.Verb{Name: "use", By: NodeOwner, Title: resource.T("Use", "使用"), Doc: resource.T("Uses the token up.", "用掉令牌。")},
			func(a resource.Act[TokenSpec, TokenState, UseInput]) error {
				switch at := a.Time; {
				case a.State.Used != nil:
					return resource.Refuse("the token was used before", "令牌已被使用")
				case !at.Before(a.Spec.Expires):
					return resource.Refuse("the token has ended", "令牌已过期")
				case a.Metadata.Created.Add(MaxTokenLife).Before(at):
					return resource.Refuse("the token is older than %s", "令牌已超过 %s", MaxTokenLife)
				default:
					a.State.Used, a.State.Node, a.State.From = &at, a.Input.Node, a.Input.From
				}
				return nil
			})},
	}, resource.Behaviour[TokenSpec]{
		Refs: func(_ *resource.Metadata, s *TokenSpec) []resource.Reference { return tenantRefs(s.Tenants) },
		Validate: func(_ *resource.Metadata, s *TokenSpec, r *resource.Report) {
			twice(r, s.Roles, s.Tenants)
			if len(s.Roles) == 0 {
				r.Add("spec.roles", "name one at least", "至少填写一个")
			}
			if s.Node != "" && !resource.ValidName(s.Node) {
				r.Add("spec.node", "%q is no name, as in edge-2", "%q 不是有效名称(例如 edge-2)", s.Node)
			}
			if b, err := hex.DecodeString(s.Verifier); err != nil || len(b) != 32 || hex.EncodeToString(b) != s.Verifier {
				r.Add("spec.verifier", "want 64 small hexadecimal digits; dun token create makes them", "应为 64 位小写十六进制数字,由 dun token create 生成")
			}
		},
	})
}
