package edge

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// SiteOwner is the service that proves hosts and reports the status of sites.
const SiteOwner = "sites"

// How a host was proven.
const (
	ProvenDNS      = "dns"
	ProvenHTTP     = "http"
	ProvenOperator = "operator" // vouched for
	ProvenEarlier  = "earlier"  // served before hosts had to be proven
)

// checkAgain is how soon people may ask for another look.
const checkAgain = 10 * time.Second

// SiteState is what was decided about a site's hosts.
type SiteState struct {
	// Proofs is true in every site that was written since hosts are proven: what
	// is stored without it was served before, and stays so.
	Proofs bool       `json:"proofs,omitempty" en:"Hosts need proof" zh:"域名须验证" help:"false: from before hosts were proven, and served" help_zh:"false:早于域名验证,继续提供服务"`
	Proven []Proof    `json:"proven,omitempty" en:"Proven hosts" zh:"已验证域名"`
	Lapsed []string   `json:"lapsed,omitempty" en:"Lapsed hosts" zh:"失效域名" help:"Not proven within 7d: another site may take them" help_zh:"7d 内未验证:其他站点可以占用"`
	Asked  *time.Time `json:"asked,omitempty" en:"Check asked for" zh:"请求检查时间"`
}

// Proof says that a host belongs to the site's tenant. It stays until the host
// leaves the site.
type Proof struct {
	Host   string    `json:"host" en:"Host" zh:"域名"`
	Method string    `json:"method" en:"Method" zh:"方式" help:"dns, http, operator, or earlier: served before hosts were proven" help_zh:"dns、http、operator,或 earlier:早于域名验证即提供服务"`
	At     time.Time `json:"at" en:"At" zh:"时间"`
}

func (s *SiteState) proof(host string) *Proof {
	for i := range s.Proven {
		if s.Proven[i].Host == host {
			return &s.Proven[i]
		}
	}
	return nil
}

// Free reports whether a host needs no proof: those of the operator's own
// tenant, and names that nobody can have (RFC 6761 section 6.4).
func Free(tenant, host string) bool {
	return tenant == resource.Platform || strings.HasSuffix(host, ".invalid")
}

// Serves reports whether the edge may serve a host of the site. A site whose
// state is not known serves nothing of other tenants.
func Serves(o *resource.Object, host string) bool {
	if Free(o.Metadata.Tenant, host) {
		return true
	}
	s, ok := o.State.(*SiteState)
	return ok && s != nil && (!s.Proofs || s.proof(host) != nil)
}

// Unproven lists the hosts of a site that are not served.
func Unproven(o *resource.Object) (out []string) {
	for _, h := range o.Spec.(*SiteSpec).Hosts {
		if !Serves(o, h) {
			out = append(out, h)
		}
	}
	return out
}

// claimHosts holds each host over all tenants. One that was not proven in time
// is held within the tenant only: who cannot prove a host must not keep others
// from it for ever.
func claimHosts(o *resource.Object) []resource.Claim {
	var out []resource.Claim
	for i, h := range o.Spec.(*SiteSpec).Hosts {
		path := fmt.Sprintf("spec.hosts[%d]", i)
		out = append(out, resource.Claim{Path: path, Value: h, Weak: lapsed(o, h)}, resource.Claim{Path: path, Value: h, Within: o.Metadata.Tenant})
	}
	return out
}

func lapsed(o *resource.Object, host string) bool {
	s, ok := o.State.(*SiteState)
	return ok && s != nil && slices.Contains(s.Lapsed, host) && !Serves(o, host)
}

// settleSite drops the proofs of hosts that leave, and notes those of a site
// from before proofs.
func settleSite(old, next *resource.Object) any {
	hosts := next.Spec.(*SiteSpec).Hosts
	if old == nil {
		return &SiteState{Proofs: true}
	}
	was, ok := old.State.(*SiteState)
	if before := old.Spec.(*SiteSpec).Hosts; !ok || was == nil || slices.Equal(before, hosts) {
		return old.State
	}
	return was.settled(old, hosts)
}

// settled is the state once the site has these hosts.
func (s *SiteState) settled(old *resource.Object, hosts []string) *SiteState {
	out := &SiteState{Proofs: true, Asked: s.Asked}
	for _, h := range old.Spec.(*SiteSpec).Hosts {
		p := s.proof(h)
		if !s.Proofs {
			p = &Proof{Host: h, Method: ProvenEarlier, At: old.Metadata.Updated}
		}
		if !slices.Contains(hosts, h) {
			continue
		}
		if p != nil {
			out.Proven = append(out.Proven, *p)
		} else if slices.Contains(s.Lapsed, h) {
			out.Lapsed = append(out.Lapsed, h)
		}
	}
	return out
}

// HostsInput names hosts of a site.
type HostsInput struct {
	Hosts  []string `json:"hosts" required:"true" min:"1" max:"64" each:"format:'host'" en:"Hosts" zh:"域名"`
	Method string   `json:"method,omitempty" enum:"dns,http" en:"Method" zh:"方式"`
}

func siteVerbs() []resource.Verb {
	return []resource.Verb{
		resource.On(resource.Verb{Name: "check", Title: resource.T("Look for proofs now", "立即检查验证"),
			Doc: resource.T("Looks at once for the DNS records or answers that prove the site's hosts; the status says what was found.", "立即查找证明站点域名的 DNS 记录或应答;结果见状态。")}, askCheck),
		resource.On(resource.Verb{Name: "prove", Title: resource.T("Note a proven host", "记录已验证域名"),
			Doc: resource.T("Notes that a proof was found. The service sites alone does so.", "记录已找到证明;仅由 sites 服务执行。")}, prove),
		resource.On(resource.Verb{Name: "lapse", Title: resource.T("Note that hosts were not proven", "记录域名未验证"),
			Doc: resource.T("Lets other sites take hosts that were not proven in time; they can be proven still. The service sites alone does so.", "允许其他站点占用逾期未验证的域名;仍可继续验证。仅由 sites 服务执行。")}, lapse),
		resource.On(resource.Verb{Name: "vouch", Title: resource.T("Vouch for hosts", "为域名担保"),
			Doc: resource.T("Says that hosts belong to the tenant, without a proof; for people of the tenant platform.", "声明域名属于该租户,无需证明;仅限 platform 租户的人员。")}, vouch),
	}
}

func askCheck(a resource.Act[SiteSpec, SiteState, resource.None]) error {
	if a.State.Asked != nil {
		if wait := checkAgain - a.Time.Sub(*a.State.Asked); wait > 0 && wait <= checkAgain {
			return resource.Refuse("it was asked for just now; ask again in %s", "刚刚已请求检查;请在 %s 后重试", wait.Round(time.Second))
		}
	}
	at := a.Time
	a.State.Asked = &at
	return nil
}

func prove(a resource.Act[SiteSpec, SiteState, HostsInput]) error {
	if a.Actor != (resource.Ref{Kind: "Service", Tenant: resource.Platform, Name: SiteOwner}) || a.Input.Method == "" {
		return resource.Refuse("a host is proven by a DNS record or an answer, which the service sites looks for; the site's status says which", "域名须以 DNS 记录或应答证明,由 sites 服务查找;具体见站点状态")
	}
	return note(a, a.Input.Method)
}

func lapse(a resource.Act[SiteSpec, SiteState, HostsInput]) error {
	if a.Actor != (resource.Ref{Kind: "Service", Tenant: resource.Platform, Name: SiteOwner}) {
		return resource.Refuse("the service sites alone says that hosts were not proven", "仅 sites 服务可记录域名未验证")
	}
	for _, h := range a.Input.Hosts {
		if slices.Contains(a.Spec.Hosts, h) && a.State.Proofs && a.State.proof(h) == nil && !slices.Contains(a.State.Lapsed, h) {
			a.State.Lapsed = append(a.State.Lapsed, h)
		}
	}
	return nil
}

func vouch(a resource.Act[SiteSpec, SiteState, HostsInput]) error {
	if a.Actor.Kind != "User" || a.Actor.Tenant != resource.Platform {
		return resource.Refuse("people of the tenant platform alone vouch for hosts", "仅 platform 租户的人员可为域名担保")
	}
	return note(a, ProvenOperator)
}

func note(a resource.Act[SiteSpec, SiteState, HostsInput], method string) error {
	if !a.State.Proofs {
		*a.State = *a.State.settled(&resource.Object{Metadata: *a.Metadata, Spec: a.Spec}, a.Spec.Hosts)
	}
	for i, h := range a.Input.Hosts {
		if !slices.Contains(a.Spec.Hosts, h) {
			a.Add(fmt.Sprintf("input.hosts[%d]", i), "%q is no host of the site", "%q 不是该站点的域名", h)
			continue
		}
		a.State.Proven = slices.DeleteFunc(a.State.Proven, func(p Proof) bool { return p.Host == h })
		a.State.Lapsed = slices.DeleteFunc(a.State.Lapsed, func(l string) bool { return l == h })
		a.State.Proven = append(a.State.Proven, Proof{Host: h, Method: method, At: a.Time})
	}
	return nil
}

// Method is how a host was proven, "" for one that was not.
func (s *SiteState) Method(host string) string {
	if p := s.proof(host); p != nil {
		return p.Method
	}
	return ""
}

// HasLapsed reports whether other sites may take an unproven host.
func (s *SiteState) HasLapsed(host string) bool { return slices.Contains(s.Lapsed, host) }
