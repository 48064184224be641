package edge

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// Ban actions. An allow entry is asked before every ban, so that nobody locks
// himself out.
const (
	ActionBan   = "ban"
	ActionAllow = "allow"
)

// BanSpec refuses or always lets in clients by source address.
type BanSpec struct {
	Action  string     `json:"action" required:"true" enum:"ban,allow" en:"Action" zh:"动作" help:"ban refuses every request; allow goes before every ban" help_zh:"ban 拒绝全部请求;allow 优先于任何封禁"`
	Sources []string   `json:"sources" required:"true" min:"1" max:"256" each:"max:'64'" en:"Sources" zh:"来源" help:"Addresses or networks, as in 203.0.113.7 or 2001:db8::/32" help_zh:"地址或网段,例如 203.0.113.7 或 2001:db8::/32"`
	Sites   []string   `json:"sites,omitempty" max:"64" each:"format:'name'" en:"Sites" zh:"站点" help:"Only on these sites; default: every site of the tenant, and of every tenant for platform" help_zh:"仅限这些站点;默认为租户的全部站点,platform 则为全部租户"`
	Expires *time.Time `json:"expires,omitempty" en:"Expires" zh:"到期" help:"No longer in force after this time" help_zh:"此时间之后失效"`
}

// Ban declares the kind.
func Ban() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "Ban", Plural: "bans", Short: "ban", Scope: resource.ScopeTenant, Nav: "edge",
		Title:   resource.T("Ban", "封禁"),
		Doc:     resource.T("A list of client addresses that the edge refuses, or lets past every ban.", "边缘拒绝或始终放行的客户端地址列表。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("Action", "动作"), Value: func(o *resource.Object) string { return o.Spec.(*BanSpec).Action }},
			{Title: resource.T("Sources", "来源"), Value: func(o *resource.Object) string { return few(o.Spec.(*BanSpec).Sources) }},
			{Title: resource.T("Sites", "站点"), Value: func(o *resource.Object) string { return few(o.Spec.(*BanSpec).Sites) }},
			{Title: resource.T("Expires", "到期"), Value: func(o *resource.Object) string { return when(o.Spec.(*BanSpec).Expires) }},
		},
		Example: `kind: Ban
metadata: {tenant: platform, name: scanner}
spec:
  action: ban
  sources: [203.0.113.7, 2001:db8:bad::/48]
  expires: 2027-01-01T00:00:00Z
`,
		Sensitivity: resource.SensitivityTenant, ApprovalClass: resource.ApprovalNone, NodeRoles: []string{"edge"},
	}, resource.Behaviour[BanSpec]{Validate: validateBan})
}

func few(s []string) string {
	if len(s) > 3 {
		return fmt.Sprintf("%s +%d", strings.Join(s[:3], ","), len(s)-3)
	}
	return strings.Join(s, ",")
}

// ParseSource reads an address or a network as a prefix.
func ParseSource(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("read source %q: %w", s, err)
	}
	if p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("read source %q: an IPv4-mapped network", s)
	}
	return p, nil
}

func validateBan(_ *resource.Metadata, s *BanSpec, r *resource.Report) {
	for i, src := range s.Sources {
		path := fmt.Sprintf("spec.sources[%d]", i)
		p, err := ParseSource(src)
		switch {
		case err != nil:
			r.Add(path, "%q is neither an address nor a network", "%q 既不是地址也不是网段", src)
		case p.Masked() != p:
			r.Add(path, "%q has host bits set; write %s", "%q 的主机位不为零;请写作 %s", src, p.Masked())
		case s.Action == ActionBan && p.Bits() == 0:
			r.Add(path, "a ban of every address would close the edge; switch the site off instead", "封禁全部地址会关闭边缘;请停用站点")
		}
	}
}
