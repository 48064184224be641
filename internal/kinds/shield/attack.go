// Package shield holds the kinds of attacks: what was done to the sites and
// networks of a tenant. It owns their words; who finds attacks is govern's.
package shield

import (
	"fmt"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// AttackOwner is the service that writes attacks.
const AttackOwner = "attacks"

// AttackSpec is an attack as it began.
type AttackSpec struct {
	Site    string    `json:"site,omitempty" format:"name" en:"Site" zh:"站点" help:"That was attacked; empty = the network" help_zh:"被攻击的站点;空 = 网络"`
	Address string    `json:"address,omitempty" max:"64" en:"Address" zh:"地址" help:"That was attacked, of a ProtectedAddress" help_zh:"被攻击的受保护地址"`
	Vectors []string  `json:"vectors" required:"true" min:"1" max:"16" each:"enum:'syn,ack,rst,synack,udp,dns,icmp,frag,amp,other,http_get,http_post,slow,h2_reset,tls,web'" en:"Vectors" zh:"攻击类型" help:"syn ack rst synack udp dns icmp frag amp other http_get http_post slow h2_reset tls, or web: a burst of refused requests" help_zh:"syn ack rst synack udp dns icmp frag amp other http_get http_post slow h2_reset tls,或 web:大量请求被拦截"`
	Start   time.Time `json:"start" required:"true" en:"Start" zh:"开始"`
}

// AttackState is whether it lasts.
type AttackState struct {
	End      *time.Time `json:"end,omitempty" en:"End" zh:"结束"`
	Evidence *Evidence  `json:"evidence,omitempty" en:"Evidence" zh:"证据"`
}

// Evidence names some of the attack's packets, which core/bytes keeps sealed.
type Evidence struct {
	Reference string    `json:"reference" required:"true" max:"64" en:"Reference" zh:"引用" help:"Of the sealed bytes; they are read at …/evidence" help_zh:"密封字节的引用;通过 …/evidence 读取"`
	Packets   int       `json:"packets" min:"1" max:"1000000" en:"Packets" zh:"包数"`
	Bytes     int       `json:"bytes" min:"1" max:"1000000000" en:"Bytes" zh:"字节数" help:"Of the capture file" help_zh:"抓包文件大小"`
	SHA256    string    `json:"sha256" required:"true" max:"64" en:"SHA-256" zh:"SHA-256" help:"Of the capture file, in hex" help_zh:"抓包文件的哈希,十六进制"`
	Taken     time.Time `json:"taken" en:"Taken" zh:"采集时间"`
}

// AttackStatus is what was counted.
type AttackStatus struct {
	Peak        int        `json:"peak" en:"Peak" zh:"峰值" help:"Refused requests in the worst 10 s" help_zh:"最严重 10 秒内被拒绝的请求数"`
	Count       int        `json:"count" en:"Refused" zh:"拒绝数" help:"Since the start" help_zh:"自开始以来"`
	Vectors     []string   `json:"vectors,omitempty" en:"Vectors" zh:"攻击类型" help:"All that were seen" help_zh:"观察到的全部类型"`
	PeakPackets int        `json:"peakPackets,omitempty" en:"Peak, packets" zh:"峰值包速率" help:"A second, of a flood" help_zh:"洪水攻击每秒包数"`
	PeakBits    int        `json:"peakBits,omitempty" en:"Peak, bits" zh:"峰值比特率" help:"A second, of a flood" help_zh:"洪水攻击每秒比特数"`
	Direction   string     `json:"direction,omitempty" en:"Direction" zh:"方向" help:"in, or out: own hosts send it" help_zh:"in 为入站,out 为自有主机向外发送"`
	Fingerprint string     `json:"fingerprint,omitempty" en:"Fingerprint" zh:"特征" help:"What its packets have in common" help_zh:"攻击包的共同特征"`
	Passed      int        `json:"passed,omitempty" en:"Passed" zh:"放行" help:"Packets to the address while it lasted" help_zh:"攻击期间放行到该地址的包数"`
	Stopped     []Stopped  `json:"stopped,omitempty" en:"Stopped" zh:"拦下" help:"Packets that each rule stopped or answered while it lasted" help_zh:"攻击期间各规则拦下或代答的包数"`
	Lease       *time.Time `json:"lease,omitempty" en:"Lease" zh:"有效期" help:"What is done about it ends then, unless it is renewed" help_zh:"自动处置届时失效,除非续期"`
	Course      *Course    `json:"course,omitempty" en:"Course" zh:"过程" help:"Packets a second from the start, for a graph" help_zh:"自开始以来每秒包数,用于绘图"`

	Sources  []Source `json:"sources,omitempty" en:"Sources" zh:"来源" help:"The ten that sent most, as seen" help_zh:"观察到的前十个来源"`
	Requests []string `json:"requests,omitempty" en:"Evidence" zh:"证据" help:"Ids of some refused requests, for dun explain block" help_zh:"部分被拒绝请求的编号,可用 dun explain block 查看"`
}

// Stopped is what one rule did: its counter of use.
type Stopped struct {
	Reason  string `json:"reason" en:"Rule" zh:"规则"`
	Packets int    `json:"packets" en:"Packets" zh:"包数"`
}

// Course is how an attack went, at most 120 points. Each is the worst second of
// its time.
type Course struct {
	Step    resource.Duration `json:"step" en:"Step" zh:"步长" help:"Time of a point" help_zh:"每点时长"`
	Offered []int             `json:"offered" en:"Offered" zh:"到达"`
	Stopped []int             `json:"stopped" en:"Stopped" zh:"拦下"`
	Passed  []int             `json:"passed" en:"Passed" zh:"放行"`
}

// Source is one attacker as the edge saw him.
type Source struct {
	Address string `json:"address" en:"Address" zh:"地址"`
	Count   int    `json:"count" en:"Count" zh:"次数"`
}

// EndInput is what the verb end takes.
type EndInput struct {
	At *time.Time `json:"at,omitempty" en:"At" zh:"时间" help:"Default: now" help_zh:"默认:现在"`
}

// EvidenceOf is the evidence of an attack; nil = none was kept.
func EvidenceOf(o *resource.Object) *Evidence {
	if s, ok := o.State.(*AttackState); ok && s != nil {
		return s.Evidence
	}
	return nil
}

// Attack declares the kind.
func Attack() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "Attack", Plural: "attacks", Short: "attack", Scope: resource.ScopeTenant, Nav: "shield",
		Title:   resource.T("Attack", "攻击"),
		Doc:     resource.T("A burst of hostile traffic, from its start to its end, as one record; the service attacks writes it.", "一次恶意流量爆发,从开始到结束为一条记录;由 attacks 服务写入。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("Site", "站点"), Value: func(o *resource.Object) string { return o.Spec.(*AttackSpec).Site }},
			{Title: resource.T("Address", "地址"), Value: func(o *resource.Object) string { return o.Spec.(*AttackSpec).Address }},
			{Title: resource.T("Vectors", "攻击类型"), Value: func(o *resource.Object) string { return strings.Join(o.Spec.(*AttackSpec).Vectors, ",") }},
			{Title: resource.T("Start", "开始"), Value: func(o *resource.Object) string { return o.Spec.(*AttackSpec).Start.UTC().Format(time.RFC3339) }},
			{Title: resource.T("End", "结束"), Value: ended},
			{Title: resource.T("Refused", "拒绝数"), Value: counted},
			{Title: resource.T("Peak packets/s", "峰值包/秒"), Wide: true, Value: peaked},
			{Title: resource.T("Fingerprint", "特征"), Wide: true, Value: fingerprint},
		},
		Example: `kind: Attack
metadata: {tenant: platform, name: shop-20261101t030000}
spec:
  site: shop
  vectors: [web]
  start: 2026-11-01T03:00:00Z
`,
		Own: true, Sensitivity: resource.SensitivityTenant, ApprovalClass: resource.ApprovalNone,
		NewState: func() any { return new(AttackState) }, NewStatus: func() any { return new(AttackStatus) }, StatusOwner: AttackOwner,
		Verbs: []resource.Verb{resource.On(
			resource.Verb{Name: "end", Title: resource.T("End", "结束"), Doc: resource.T("Says that the attack is over.", "表明攻击已结束。")},
			func(a resource.Act[AttackSpec, AttackState, EndInput]) error {
				if a.State.End != nil {
					return resource.Refuse("it is over already", "已经结束")
				}
				at := a.Time
				if a.Input.At != nil && a.Input.At.Before(at) && a.Input.At.After(a.Spec.Start) {
					at = a.Input.At.UTC()
				}
				a.State.End = &at
				return nil
			}), resource.On(
			resource.Verb{Name: "attach", By: AttackOwner, Title: resource.T("Attach evidence", "附加证据"), Doc: resource.T("Names the packets that were kept of the attack; what was named before is replaced.", "登记攻击留存的数据包;先前登记的将被替换。")},
			func(a resource.Act[AttackSpec, AttackState, Evidence]) error {
				e := *a.Input
				if e.Packets < 1 || e.Bytes < 1 || e.Reference == "" || len(e.SHA256) != 64 {
					a.Add("input", "want a reference, packets, bytes and a hash", "应提供引用、包数、字节数和哈希")
					return nil
				}
				a.State.Evidence = &e
				return nil
			})},
	}, resource.Behaviour[AttackSpec]{})
}

func ended(o *resource.Object) string {
	if s, ok := o.State.(*AttackState); ok && s != nil && s.End != nil {
		return s.End.UTC().Format(time.RFC3339)
	}
	return ""
}

func counted(o *resource.Object) string {
	if s, ok := o.Status.(*AttackStatus); ok && s != nil {
		return fmt.Sprint(s.Count)
	}
	return ""
}

func peaked(o *resource.Object) string {
	if s, ok := o.Status.(*AttackStatus); ok && s != nil && s.PeakPackets > 0 {
		return fmt.Sprint(s.PeakPackets)
	}
	return ""
}

func fingerprint(o *resource.Object) string {
	if s, ok := o.Status.(*AttackStatus); ok && s != nil {
		return s.Fingerprint
	}
	return ""
}
