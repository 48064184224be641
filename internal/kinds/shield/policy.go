package shield

import (
	"fmt"
	"strings"

	"github.com/dun-sec/dun/internal/core/resource"
)

// Actions of a ScrubPolicy.
const (
	ActionPass      = "pass"
	ActionDrop      = "drop"
	ActionLimit     = "limit"
	ActionChallenge = "challenge"
)

// ScrubPolicySpec says what is done with packets of a vector.
type ScrubPolicySpec struct {
	Vectors  []VectorPolicy `json:"vectors,omitempty" max:"16" en:"Vectors" zh:"类型" help:"Those that are not named are treated as Dun does by itself" help_zh:"未列出的类型采用内置做法"`
	Allow    []string       `json:"allow,omitempty" max:"256" each:"max:'64'" en:"Always let in" zh:"始终放行" help:"Sources that are never judged" help_zh:"不作判断的来源"`
	Bogons   bool           `json:"bogons,omitempty" en:"No private sources" zh:"丢弃私有来源" help:"Drops packets from private and test networks (RFC 6890)" help_zh:"丢弃来自私有和测试网段的数据包(RFC 6890)"`
	Outbound []OutLimit     `json:"outbound,omitempty" max:"16" en:"Going out" zh:"出站" help:"What hosts behind the filter may send, connections apart" help_zh:"过滤器后的主机可发送的流量(已建立的连接除外)"`
}

// VectorPolicy is about one vector.
type VectorPolicy struct {
	Vector     string `json:"vector" required:"true" enum:"syn,ack,rst,synack,udp,dns,icmp,frag,amp,other" en:"Vector" zh:"类型"`
	Action     string `json:"action" required:"true" enum:"pass,drop,limit,challenge" en:"Action" zh:"动作" help:"challenge: a SYN is answered by a cookie and TCP without a proof is dropped; a DNS query is asked to come by TCP; a ping is answered by the filter" help_zh:"challenge:以 cookie 应答 SYN,丢弃未经证明的 TCP;要求 DNS 查询改用 TCP;由过滤器应答 ping"`
	When       string `json:"when,omitempty" enum:"attack,always" en:"When" zh:"时机" help:"attack (default): while one lasts" help_zh:"attack(默认):仅在攻击期间"`
	Packets    int    `json:"packets,omitempty" min:"1" max:"1000000000" en:"Packets" zh:"包数" help:"A second, of the whole network; of limit" help_zh:"整个网段每秒;用于 limit"`
	PerAddress int    `json:"perAddress,omitempty" min:"1" max:"1000000000" en:"Packets for each address" zh:"单地址包数" help:"A second; of limit" help_zh:"每秒;用于 limit"`
}

// OutLimit bounds what goes out.
type OutLimit struct {
	Vector  string `json:"vector" required:"true" enum:"syn,rst,synack,udp,dns,icmp,frag,amp,other" en:"Vector" zh:"类型"`
	Packets int    `json:"packets" required:"true" min:"1" max:"1000000000" en:"Packets" zh:"包数" help:"A second" help_zh:"每秒"`
}

// ScrubPolicy declares the kind.
func ScrubPolicy() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "ScrubPolicy", Plural: "scrubpolicies", Short: "scrubpolicy", Scope: resource.ScopeTenant, Nav: "shield",
		Title:   resource.T("Scrub policy", "清洗策略"),
		Doc:     resource.T("What the scrubbing centre does with each vector of a flood, during an attack or always.", "清洗中心在攻击期间或始终对各类洪水采取的动作。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("Vectors", "类型"), Value: vectorActions},
			{Title: resource.T("Always let in", "始终放行"), Wide: true, Value: func(o *resource.Object) string { return strings.Join(o.Spec.(*ScrubPolicySpec).Allow, ",") }},
		},
		Example: `kind: ScrubPolicy
metadata: {tenant: platform, name: game}
spec:
  vectors:
    - {vector: udp, action: limit, perAddress: 50000}
    - {vector: amp, action: drop, when: always}
  allow: [203.0.113.0/24]
  outbound:
    - {vector: udp, packets: 100000}
`,
		Sensitivity: resource.SensitivityTenant, ApprovalClass: resource.ApprovalImportant, NodeRoles: []string{"scrub"},
	}, resource.Behaviour[ScrubPolicySpec]{Validate: validatePolicy})
}

func vectorActions(o *resource.Object) string {
	var out []string
	for _, v := range o.Spec.(*ScrubPolicySpec).Vectors {
		out = append(out, v.Vector+":"+v.Action)
	}
	return strings.Join(out, ",")
}

func validatePolicy(_ *resource.Metadata, s *ScrubPolicySpec, r *resource.Report) {
	seen := map[string]bool{}
	for i, v := range s.Vectors {
		path := fmt.Sprintf("spec.vectors[%d]", i)
		if seen[v.Vector] {
			r.Add(path+".vector", "%q is given twice", "%q 重复", v.Vector)
		}
		seen[v.Vector] = true
		if v.Action == ActionLimit && v.Packets == 0 && v.PerAddress == 0 {
			r.Add(path, "limit needs packets or perAddress", "limit 需要 packets 或 perAddress")
		}
		if v.Action == ActionChallenge && !challenged(v.Vector) {
			r.Add(path+".action", "only TCP and dns can be challenged", "只有 TCP 和 dns 可以质询")
		}
	}
	out := map[string]bool{}
	for i, v := range s.Outbound {
		if out[v.Vector] {
			r.Add(fmt.Sprintf("spec.outbound[%d].vector", i), "%q is given twice", "%q 重复", v.Vector)
		}
		out[v.Vector] = true
	}
	for i, a := range s.Allow {
		if p, err := ParsePrefix(a); err != nil || p.Bits() == 0 {
			r.Add(fmt.Sprintf("spec.allow[%d]", i), "%q is neither an address nor a network without host bits", "%q 既不是地址,也不是主机位为零的网段", a)
		}
	}
}

func challenged(vector string) bool {
	return vector == "syn" || vector == "ack" || vector == "rst" || vector == "synack" || vector == "dns" || vector == "icmp"
}

// When a VectorPolicy holds.
const (
	WhenAttack = "attack"
	WhenAlways = "always"
)

// WhenInForce is when it holds; absent means during an attack.
func (v VectorPolicy) WhenInForce() string {
	if v.When == "" {
		return WhenAttack
	}
	return v.When
}
