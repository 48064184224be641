package system

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// NodeOwner is the service that lets nodes join and tells how they are.
const NodeOwner = "nodes"

// NodeSpec is a machine of the cell: what runs there, and for whom.
type NodeSpec struct {
	Roles    []string `json:"roles,omitempty" max:"16" each:"enum:'edge,scrub'" en:"Roles" zh:"角色" help:"What the node enforces; it sees the records of these roles alone" help_zh:"节点执行的角色;节点只能看到这些角色的记录"`
	Tenants  []string `json:"tenants,omitempty" max:"1000" each:"max:'63'" en:"Tenants" zh:"租户" help:"Whose records are placed here; none named = every tenant's" help_zh:"放置在此节点的租户;不填 = 全部租户"`
	Disabled bool     `json:"disabled,omitempty" en:"Disabled" zh:"已停用" help:"A disabled node is refused at once; it ends and forgets what it knew" help_zh:"停用的节点立即被拒绝;它会停止并清除所知内容"`
}

// NodeState is what was decided about it.
type NodeState struct {
	Key     string     `json:"key,omitempty" en:"Key" zh:"密钥" help:"SHA-256 of the public key of its certificate" help_zh:"节点证书公钥的 SHA-256"`
	Number  int        `json:"number,omitempty" en:"Number" zh:"编号" help:"In the request ids of the node" help_zh:"节点请求 ID 中的编号"`
	Joined  *time.Time `json:"joined,omitempty" en:"Joined" zh:"加入时间"`
	Drained bool       `json:"drained,omitempty" en:"Drained" zh:"已排空" help:"Its public doors take no new connections" help_zh:"其公开端口不再接受新连接"`
}

// NodeStatus is how it is, as it was told last.
type NodeStatus struct {
	State   string     `json:"state" en:"State" zh:"状态" help:"connected, silent or unknown" help_zh:"connected、silent 或 unknown"`
	Since   *time.Time `json:"since,omitempty" en:"Since" zh:"自"`
	Version string     `json:"version,omitempty" en:"Version" zh:"版本"`
	Address string     `json:"address,omitempty" en:"Address" zh:"地址"`
	Roles   []NodeRole `json:"roles,omitempty" en:"Roles" zh:"角色"`
}

// NodeRole is one role on it.
type NodeRole struct {
	Name    string   `json:"name" en:"Name" zh:"名称"`
	State   string   `json:"state" en:"State" zh:"状态"`
	Missing []string `json:"missing,omitempty" en:"Missing" zh:"缺失"`
}

// JoinInput is what the service nodes tells of a machine that joined.
type JoinInput struct {
	Key    string `json:"key" required:"true" max:"64" en:"Key" zh:"密钥"`
	Number int    `json:"number" required:"true" min:"1" max:"65535" en:"Number" zh:"编号"`
}

// NodeStateOf is the state of a node's record, never nil.
func NodeStateOf(o *resource.Object) *NodeState {
	if s, ok := o.State.(*NodeState); ok && s != nil {
		return s
	}
	return &NodeState{}
}

func nodeStatus(o *resource.Object) *NodeStatus {
	if s, ok := o.Status.(*NodeStatus); ok && s != nil {
		return s
	}
	return &NodeStatus{State: "unknown"}
}

// Node declares the kind.
func Node() *resource.Kind {
	drain := func(v resource.Verb, to bool) resource.Verb {
		return resource.On(v, func(a resource.Act[NodeSpec, NodeState, resource.None]) error {
			if a.State.Drained == to {
				return resource.Refuse("it is so already", "已经如此")
			}
			a.State.Drained = to
			return nil
		})
	}
	return resource.Define(resource.Kind{
		Name: "Node", Plural: "nodes", Short: "node", Scope: resource.ScopePlatform, Nav: "system",
		Title:   resource.T("Node", "节点"),
		Doc:     resource.T("A machine of the cell. It joins by a token, sees what its roles and tenants allow, and is refused as soon as its record is gone.", "集群中的一台机器。以令牌加入,只看到其角色和租户允许的内容;记录删除后立即被拒绝。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("Roles", "角色"), Value: func(o *resource.Object) string { return strings.Join(o.Spec.(*NodeSpec).Roles, ",") }},
			{Title: resource.T("Tenants", "租户"), Value: func(o *resource.Object) string {
				if t := o.Spec.(*NodeSpec).Tenants; len(t) > 0 {
					return strings.Join(t, ",")
				}
				return "*"
			}},
			{Title: resource.T("State", "状态"), Value: func(o *resource.Object) string {
				switch {
				case o.Spec.(*NodeSpec).Disabled:
					return "disabled"
				case NodeStateOf(o).Drained:
					return "drained, " + nodeStatus(o).State
				}
				return nodeStatus(o).State
			}},
			{Title: resource.T("Version", "版本"), Value: func(o *resource.Object) string { return nodeStatus(o).Version }},
			{Title: resource.T("Address", "地址"), Wide: true, Value: func(o *resource.Object) string { return nodeStatus(o).Address }},
		},
		Example: `kind: Node
metadata: {tenant: platform, name: n2}
spec: {roles: [edge], tenants: [acme]}
`,
		Sensitivity: resource.SensitivityStaff, ApprovalClass: resource.ApprovalImportant, Retention: resource.Forever, NodeRoles: []string{"edge", "scrub"},
		NewState: func() any { return &NodeState{} }, NewStatus: func() any { return &NodeStatus{} }, StatusOwner: NodeOwner,
		Verbs: []resource.Verb{
			drain(resource.Verb{Name: "drain", Title: resource.T("Drain", "排空"), Doc: resource.T("Its public doors take no new connections; what runs ends in its time.", "公开端口不再接受新连接;进行中的请求正常结束。")}, true),
			drain(resource.Verb{Name: "resume", Title: resource.T("Resume", "恢复"), Doc: resource.T("Opens the doors again after a drain.", "排空后重新打开端口。")}, false),
			resource.On(
				resource.Verb{Name: "join", By: NodeOwner, Title: resource.T("Join", "加入"), Doc: resource.T("Takes the key of the machine that came with the token; the key before is refused from then on.", "记录持令牌加入的机器的密钥;此前的密钥随即失效。")},
				func(a resource.Act[NodeSpec, NodeState, JoinInput]) error {
					at := a.Time
					a.State.Key, a.State.Number, a.State.Joined = a.Input.Key, a.Input.Number, &at
					return nil
				}),
		},
	}, resource.Behaviour[NodeSpec]{
		Disabled: func(_ *resource.Metadata, s *NodeSpec) bool { return s.Disabled },
		Refs:     func(_ *resource.Metadata, s *NodeSpec) []resource.Reference { return tenantRefs(s.Tenants) },
		Validate: func(_ *resource.Metadata, s *NodeSpec, r *resource.Report) { twice(r, s.Roles, s.Tenants) },
	})
}

// tenantRefs are the tenants that must exist.
func tenantRefs(list []string) []resource.Reference {
	var out []resource.Reference
	for i, t := range list {
		out = append(out, resource.Reference{Path: fmt.Sprintf("spec.tenants[%d]", i), To: resource.Ref{Kind: "Tenant", Tenant: resource.Platform, Name: t}})
	}
	return out
}

// twice reports a role or a tenant that is named again.
func twice(r *resource.Report, roles, tenants []string) {
	for _, x := range []struct {
		path string
		list []string
	}{{"spec.roles", roles}, {"spec.tenants", tenants}} {
		for i, v := range x.list {
			if slices.Contains(x.list[:i], v) {
				r.Add(fmt.Sprintf("%s[%d]", x.path, i), "%q is named twice", "%q 重复", v)
			}
		}
	}
}
