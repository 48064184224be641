package shield

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/dun-sec/dun/internal/core/resource"
)

// What is done about attacks on an address.
const (
	ModeScrub   = "scrub"
	ModeMonitor = "monitor"
	ModeOff     = "off"
)

// ProtectedAddressSpec is an address, or a network, that the scrubbing centre
// stands in front of.
type ProtectedAddressSpec struct {
	Prefix     string      `json:"prefix" required:"true" max:"64" en:"Address" zh:"地址" help:"An address or a network, as in 198.51.100.7 or 2001:db8:7::/64" help_zh:"地址或网段,例如 198.51.100.7 或 2001:db8:7::/64"`
	Mode       string      `json:"mode,omitempty" enum:"scrub,monitor,off" en:"Mode" zh:"模式" help:"scrub (default) drops attacks, monitor only tells of them, off counts" help_zh:"scrub(默认)清洗攻击,monitor 只告警,off 仅计数"`
	Policy     string      `json:"policy,omitempty" format:"name" en:"Policy" zh:"策略" help:"A ScrubPolicy of the same tenant; default: what Dun does by itself" help_zh:"同一租户的清洗策略;默认采用内置做法"`
	Services   []Service   `json:"services,omitempty" max:"8" en:"Services" zh:"服务" help:"What the address offers" help_zh:"该地址提供的服务"`
	Strict     bool        `json:"strict,omitempty" en:"Nothing else" zh:"仅限所列服务" help:"New connections and datagrams to other ports are dropped at all times" help_zh:"始终丢弃发往其他端口的新连接和数据报"`
	Thresholds []Threshold `json:"thresholds,omitempty" max:"16" en:"Thresholds" zh:"阈值" help:"Of vectors that are not named here: learned from the traffic" help_zh:"未列出的类型由流量学习得出"`
	Quota      int         `json:"quota,omitempty" min:"1" max:"1000000" en:"Quota" zh:"配额" help:"Megabits a second up to which it is scrubbed; default 3000" help_zh:"清洗上限,单位兆比特每秒;默认 3000"`
}

// Service is a port that is offered.
type Service struct {
	Protocol string `json:"protocol" required:"true" enum:"tcp,udp" en:"Protocol" zh:"协议"`
	Ports    string `json:"ports" required:"true" max:"11" en:"Ports" zh:"端口" help:"One, or a range, as in 443 or 8000-8099" help_zh:"单个端口或范围,例如 443 或 8000-8099"`
	Form     string `json:"form,omitempty" enum:"any,dns,quic" en:"Form" zh:"形式" help:"What the datagrams must look like; default any" help_zh:"数据报须符合的形式;默认 any"`
}

// Threshold is the rate above which there is an attack.
type Threshold struct {
	Vector  string `json:"vector" required:"true" enum:"syn,ack,rst,synack,udp,dns,icmp,frag,amp,other" en:"Vector" zh:"类型"`
	Packets int    `json:"packets" required:"true" min:"1" max:"1000000000" en:"Packets" zh:"包数" help:"A second, to each address" help_zh:"每个地址每秒"`
}

// DefaultQuota is how much of an address is scrubbed, megabits a second
// (control 8.1-24).
const DefaultQuota = 3000

// ProtectedAddress declares the kind.
func ProtectedAddress() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "ProtectedAddress", Plural: "protectedaddresses", Short: "protectedaddress", Scope: resource.ScopeTenant, Nav: "shield",
		Title:   resource.T("Protected address", "受保护地址"),
		Doc:     resource.T("An address or a network that is watched for floods and scrubbed of them. A tenant may name those that Tenant spec.addresses gives it.", "受监测并清洗洪水攻击的地址或网段。租户只能使用 Tenant 的 spec.addresses 中的地址。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("Address", "地址"), Value: func(o *resource.Object) string { return o.Spec.(*ProtectedAddressSpec).Prefix }},
			{Title: resource.T("Mode", "模式"), Value: func(o *resource.Object) string { return o.Spec.(*ProtectedAddressSpec).ModeInForce() }},
			{Title: resource.T("Services", "服务"), Value: services},
			{Title: resource.T("Policy", "策略"), Wide: true, Value: func(o *resource.Object) string { return o.Spec.(*ProtectedAddressSpec).Policy }},
			{Title: resource.T("Thresholds", "阈值"), Wide: true, Value: thresholds},
		},
		Example: `kind: ProtectedAddress
metadata: {tenant: platform, name: shop}
spec:
  prefix: 198.51.100.7
  services:
    - {protocol: tcp, ports: "80"}
    - {protocol: tcp, ports: "443"}
    - {protocol: udp, ports: "443", form: quic}
  thresholds:
    - {vector: syn, packets: 20000}
`,
		Sensitivity: resource.SensitivityTenant, ApprovalClass: resource.ApprovalImportant, NodeRoles: []string{"scrub"},
		NewState: func() any { return new(ProtectedAddressState) }, Settle: settleProtected, Verbs: thresholdVerbs(),
		NewStatus: func() any { return new(ProtectedAddressStatus) }, StatusOwner: ThresholdOwner,
	}, resource.Behaviour[ProtectedAddressSpec]{
		Validate: validateProtected,
		// Within the tenant: else whoever names somebody's address first has it.
		Unique: func(m *resource.Metadata, s *ProtectedAddressSpec) []resource.Claim {
			p, err := ParsePrefix(s.Prefix)
			if err != nil {
				return nil
			}
			return []resource.Claim{{Path: "spec.prefix", Value: p.String(), Within: m.Tenant}}
		},
		Refs: func(m *resource.Metadata, s *ProtectedAddressSpec) []resource.Reference {
			if s.Policy == "" {
				return nil
			}
			return []resource.Reference{{Path: "spec.policy", To: resource.Ref{Kind: "ScrubPolicy", Tenant: m.Tenant, Name: s.Policy}}}
		},
	})
}

// ModeInForce is the mode; absent means scrub.
func (s *ProtectedAddressSpec) ModeInForce() string {
	if s.Mode == "" {
		return ModeScrub
	}
	return s.Mode
}

func services(o *resource.Object) string {
	var out []string
	for _, s := range o.Spec.(*ProtectedAddressSpec).Services {
		out = append(out, s.Protocol+"/"+s.Ports)
	}
	return strings.Join(out, ",")
}

// ParsePrefix reads an address or a network without host bits, IPv4 not mapped.
func ParsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" && !a.Is4In6() {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Masked() != p || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("read %q: want an address or a network without host bits", s)
	}
	return p, nil
}

// Range reads the ports of a service.
func (s Service) Range() (lo, hi uint16, err error) {
	first, last, _ := strings.Cut(s.Ports, "-")
	if last == "" {
		last = first
	}
	a, aerr := strconv.ParseUint(first, 10, 16)
	b, berr := strconv.ParseUint(last, 10, 16)
	if aerr != nil || berr != nil || a == 0 || b < a {
		return 0, 0, fmt.Errorf("read ports %q", s.Ports)
	}
	return uint16(a), uint16(b), nil
}

func validateProtected(_ *resource.Metadata, s *ProtectedAddressSpec, r *resource.Report) {
	p, err := ParsePrefix(s.Prefix)
	switch {
	case err != nil:
		r.Add("spec.prefix", "%q is neither an address nor a network without host bits", "%q 既不是地址,也不是主机位为零的网段", s.Prefix)
	case p.Addr().Is4() && p.Bits() < 16 || p.Addr().Is6() && p.Bits() < 32:
		r.Add("spec.prefix", "want a network of /16 or smaller, /32 of IPv6", "网段须不大于 /16(IPv6 为 /32)")
	case p.Addr().IsLoopback() || p.Addr().IsMulticast() || p.Addr().IsUnspecified() || p.Addr().IsLinkLocalUnicast():
		r.Add("spec.prefix", "%s does not reach anybody from outside", "%s 无法从外部到达", s.Prefix)
	}
	for i, x := range s.Services {
		path := fmt.Sprintf("spec.services[%d]", i)
		if _, _, err := x.Range(); err != nil {
			r.Add(path+".ports", "want a port or a range, as in 443 or 8000-8099", "应为端口或范围,例如 443 或 8000-8099")
		}
		if x.Protocol == "tcp" && x.Form != "" && x.Form != "any" {
			r.Add(path+".form", "only udp has a form", "只有 udp 可指定形式")
		}
	}
	if s.Strict && len(s.Services) == 0 {
		r.Add("spec.strict", "without services nothing at all would be reached", "未列出服务时将无法访问任何端口")
	}
	once(s.Thresholds, "spec.thresholds", r)
}
