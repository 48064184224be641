// Package edge holds the kinds of the front gate: Site, Certificate, Exclusion and Ban. It
// owns their words and their validation; the gate's work is plane/edge's.
package edge

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/dun-sec/dun/internal/core/resource"
)

// Defaults of a Site; a field that is absent or zero means these.
const (
	DefaultParanoia  = 1
	DefaultThreshold = 5 // inbound anomaly score, one critical rule (OWASP CRS)
	DefaultBody      = resource.Size(16 << 20)
	DefaultHeader    = resource.Size(64 << 10)
)

// WAF modes.
const (
	ModeBlock  = "block"
	ModeDetect = "detect"
	ModeOff    = "off"
)

// SiteSpec is a web site behind the edge.
type SiteSpec struct {
	Hosts   []string `json:"hosts" required:"true" min:"1" max:"64" each:"format:'host'" en:"Hosts" zh:"域名" help:"DNS names or addresses that clients ask for; a leading *. covers one label" help_zh:"客户端访问的域名或地址;开头的 *. 匹配一级子域"`
	Origins []Origin `json:"origins" required:"true" min:"1" max:"32" en:"Origins" zh:"源站" help:"Servers that the edge forwards to" help_zh:"边缘转发到的服务器"`
	Health  *Health  `json:"health,omitempty" en:"Health check" zh:"健康检查"`
	WAF     *WAF     `json:"waf,omitempty" en:"Web application firewall" zh:"Web 应用防火墙"`
	Limits  *Limits  `json:"limits,omitempty" en:"Limits" zh:"限制"`
	TLS     *TLS     `json:"tls,omitempty" en:"TLS" zh:"TLS"`
	Headers *Headers `json:"headers,omitempty" en:"Response headers" zh:"响应头"`
	Traffic *Traffic `json:"traffic,omitempty" en:"Traffic" zh:"流量"`

	PassThrough *PassThrough `json:"passThrough,omitempty" en:"Pass-through" zh:"直通" help:"TLS goes to the origins unopened, by its server name; nothing is answered over HTTP, and nothing is held back by class: a label dun.dev/class is refused" help_zh:"TLS 按服务器名直达源站,不解密;HTTP 不作应答,也不按分类拦截:不能带 dun.dev/class 标签"`
}

// TLS is how the site is reached over HTTPS. A host that no Certificate of the
// tenant covers has one that the cell's own authority signs.
type TLS struct {
	Certificate string `json:"certificate,omitempty" format:"name" en:"Certificate" zh:"证书" help:"Name of a Certificate of the same tenant; hosts that it does not cover have another. Default: the Certificate with the most specific name" help_zh:"同一租户的证书名;其未覆盖的域名使用其他证书。默认使用名称最具体的证书"`
	Redirect    bool   `json:"redirect,omitempty" en:"Redirect to HTTPS" zh:"跳转到 HTTPS" help:"The clear door answers 308" help_zh:"明文端口返回 308"`
}

// Origin is one server of a Site.
type Origin struct {
	URL        string `json:"url" required:"true" max:"512" format:"url" en:"Address" zh:"地址" help:"http:// or https://, host and port" help_zh:"http:// 或 https:// 加主机和端口"`
	Weight     int    `json:"weight,omitempty" min:"0" max:"1000" en:"Weight" zh:"权重" help:"Share of the requests, default 1" help_zh:"请求所占份额,默认 1"`
	Host       string `json:"host,omitempty" format:"host" en:"Host header" zh:"Host 头" help:"Sent to the origin instead of the client's Host" help_zh:"代替客户端的 Host 发送给源站"`
	ServerName string `json:"serverName,omitempty" format:"host" en:"TLS server name" zh:"TLS 服务器名" help:"Name that the origin's certificate must carry; default: the address" help_zh:"源站证书须包含的名称;默认取自地址"`
	CA         string `json:"ca,omitempty" max:"32768" en:"TLS authority" zh:"TLS 根证书" help:"PEM certificates that sign the origin's certificate; default: the system's" help_zh:"签发源站证书的 PEM 证书;默认使用系统证书库"`
}

// Health is how the edge finds out whether an origin lives.
type Health struct {
	Path     string            `json:"path,omitempty" max:"512" en:"Path" zh:"路径" help:"Asked with GET; 2xx and 3xx count as healthy" help_zh:"以 GET 请求;2xx 与 3xx 视为健康"`
	Interval resource.Duration `json:"interval,omitempty" en:"Interval" zh:"间隔" help:"From 1s to 10m, default 10s" help_zh:"1s 到 10m,默认 10s"`
}

// WAF says how strictly requests are judged.
type WAF struct {
	Mode      string `json:"mode,omitempty" enum:"block,detect,off" en:"Mode" zh:"模式" help:"block (default) refuses, detect only records, off does not look" help_zh:"block(默认)拦截,detect 只记录,off 不检查"`
	Paranoia  int    `json:"paranoia,omitempty" min:"1" max:"4" en:"Paranoia level" zh:"严格等级" help:"1 (default) to 4, as in the OWASP core rule set" help_zh:"1(默认)到 4,同 OWASP 核心规则集"`
	Threshold int    `json:"threshold,omitempty" min:"1" max:"1000" en:"Anomaly threshold" zh:"异常阈值" help:"Score at which a request is refused, default 5" help_zh:"达到该分值即拦截,默认 5"`
}

// Limits bound what one request may cost.
type Limits struct {
	Body     resource.Size `json:"body,omitempty" en:"Request body" zh:"请求体" help:"Largest body, up to 1GiB, default 16MiB" help_zh:"请求体上限,至多 1GiB,默认 16MiB"`
	Header   resource.Size `json:"header,omitempty" en:"Request header" zh:"请求头" help:"Largest header, up to 64KiB, default 64KiB" help_zh:"请求头上限,至多 64KiB,默认 64KiB"`
	Timeouts *Timeouts     `json:"timeouts,omitempty" en:"Timeouts" zh:"超时"`

	Rate        *Rate   `json:"rate,omitempty" en:"Rate of a client" zh:"单个客户端速率"`
	Concurrency int     `json:"concurrency,omitempty" min:"0" max:"10000" en:"Requests of a client at once" zh:"单个客户端并发请求" help:"Default: no limit" help_zh:"默认不限"`
	Hammering   string  `json:"hammering,omitempty" enum:"ban,serve" en:"Hammering clients" zh:"频繁被拒的客户端" help:"ban (default): who is refused more than 100 times at once, or 5 times a second for long, is refused everything of the tenant for a minute; serve: each request is judged by itself" help_zh:"ban(默认):短时间内被拒绝超过 100 次或持续每秒 5 次的客户端,一分钟内拒绝其对该租户的全部请求;serve:逐个判断请求"`
	Routes      []Route `json:"routes,omitempty" max:"32" en:"Routes" zh:"路径" help:"Tighter limits below a path; the longest path that fits counts" help_zh:"某路径下的更严限制;以最长匹配的路径为准"`
}

// Timeouts of one request.
type Timeouts struct {
	Request resource.Duration `json:"request,omitempty" en:"Request" zh:"请求" help:"For reading the whole request, default 60s" help_zh:"读取完整请求的时限,默认 60s"`
	Origin  resource.Duration `json:"origin,omitempty" en:"Origin" zh:"源站" help:"For the origin's first byte, default 30s" help_zh:"等待源站首字节的时限,默认 30s"`
	Idle    resource.Duration `json:"idle,omitempty" en:"Idle" zh:"空闲" help:"Without a byte in either direction, default 60s" help_zh:"双向无数据的时限,默认 60s"`
}

// Site declares the kind.
func Site() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "Site", Plural: "sites", Short: "site", Scope: resource.ScopeTenant, Nav: "edge",
		Title:   resource.T("Site", "站点"),
		Doc:     resource.T("A web site that the edge stands in front of: its host names, its origins, and how strictly requests are judged.", "由边缘防护的网站:域名、源站,以及检查请求的严格程度。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("Hosts", "域名"), Value: func(o *resource.Object) string { return strings.Join(o.Spec.(*SiteSpec).Hosts, ",") }},
			{Title: resource.T("Origins", "源站"), Value: origins},
			{Title: resource.T("Not served", "未提供服务"), Value: func(o *resource.Object) string { return strings.Join(Unproven(o), ",") }},
			{Title: resource.T("WAF", "防火墙"), Value: func(o *resource.Object) string { return o.Spec.(*SiteSpec).Mode() }},
			{Title: resource.T("Paranoia", "严格等级"), Wide: true, Value: func(o *resource.Object) string { return fmt.Sprint(o.Spec.(*SiteSpec).Paranoia()) }},
			{Title: resource.T("Threshold", "阈值"), Wide: true, Value: func(o *resource.Object) string { return fmt.Sprint(o.Spec.(*SiteSpec).Threshold()) }},
		},
		Example: `kind: Site
metadata: {tenant: platform, name: shop}
spec:
  hosts: [shop.example.com, www.shop.example.com]
  origins:
    - url: http://10.0.0.5:3000
  waf: {mode: block, paranoia: 1}
`,
		Sensitivity: resource.SensitivityTenant, ApprovalClass: resource.ApprovalImportant, NodeRoles: []string{"edge"},
		NewState: func() any { return new(SiteState) }, Settle: settleSite, Verbs: siteVerbs(),
		NewStatus: func() any { return new(SiteStatus) }, StatusOwner: SiteOwner,
	}, resource.Behaviour[SiteSpec]{Validate: validateSite, Claims: claimHosts, Refs: siteRefs})
}

// Mode is the WAF mode in force.
func (s *SiteSpec) Mode() string {
	if s.WAF == nil || s.WAF.Mode == "" {
		return ModeBlock
	}
	return s.WAF.Mode
}

// Paranoia is the paranoia level in force, 1 to 4.
func (s *SiteSpec) Paranoia() int {
	if s.WAF == nil || s.WAF.Paranoia == 0 {
		return DefaultParanoia
	}
	return s.WAF.Paranoia
}

// Threshold is the inbound anomaly score at which a request is refused.
func (s *SiteSpec) Threshold() int {
	if s.WAF == nil || s.WAF.Threshold == 0 {
		return DefaultThreshold
	}
	return s.WAF.Threshold
}

func origins(o *resource.Object) string {
	var out []string
	for _, g := range o.Spec.(*SiteSpec).Origins {
		out = append(out, g.URL)
	}
	return strings.Join(out, ",")
}

func siteRefs(m *resource.Metadata, s *SiteSpec) []resource.Reference {
	if s.TLS == nil || s.TLS.Certificate == "" {
		return nil
	}
	return []resource.Reference{{Path: "spec.tls.certificate", To: resource.Ref{Kind: "Certificate", Tenant: m.Tenant, Name: s.TLS.Certificate}}}
}

func validateSite(m *resource.Metadata, s *SiteSpec, r *resource.Report) {
	seen := map[string]bool{}
	for i, h := range s.Hosts {
		if seen[h] {
			r.Add(fmt.Sprintf("spec.hosts[%d]", i), "%q is given twice", "%q 重复", h)
		}
		seen[h] = true
	}
	for i, g := range s.Origins {
		validateOrigin(g, fmt.Sprintf("spec.origins[%d]", i), r)
	}
	if h := s.Health; h != nil {
		if h.Path != "" && (!strings.HasPrefix(h.Path, "/") || strings.ContainsAny(h.Path, " \t\n#")) {
			r.Add("spec.health.path", "want a path that begins with /", "路径须以 / 开头")
		}
		between(r, "spec.health.interval", h.Interval, "1s", "10m")
	}
	validateHeaders(s.Headers, r)
	validateTraffic(s.Traffic, r)
	validatePassThrough(m, s, r)
	if l := s.Limits; l != nil {
		validateLimits(l, r)
		if l.Body > 1<<30 {
			r.Add("spec.limits.body", "want at most 1GiB", "至多 1GiB")
		}
		if l.Header > DefaultHeader || l.Header != 0 && l.Header < 1<<10 {
			r.Add("spec.limits.header", "want 1KiB to 64KiB", "应为 1KiB 到 64KiB")
		}
		if t := l.Timeouts; t != nil {
			between(r, "spec.limits.timeouts.request", t.Request, "1s", "1d")
			between(r, "spec.limits.timeouts.origin", t.Origin, "1s", "1h")
			between(r, "spec.limits.timeouts.idle", t.Idle, "1s", "1d")
		}
	}
}

func between(r *resource.Report, path string, d resource.Duration, lo, hi string) {
	l, _ := resource.ParseDuration(lo)
	h, _ := resource.ParseDuration(hi)
	if d != 0 && (d < l || d > h) {
		r.Add(path, "want %s to %s", "应为 %s 到 %s", lo, hi)
	}
}

func validateOrigin(g Origin, path string, r *resource.Report) {
	https := strings.HasPrefix(g.URL, "https:")
	if !https && (g.CA != "" || g.ServerName != "") {
		r.Add(path, "ca and serverName need an https:// address", "ca 和 serverName 需要 https:// 地址")
	}
	if g.CA == "" {
		return
	}
	rest, n := []byte(g.CA), 0
	for {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			r.Add(path+".ca", "holds a %s; only certificates belong here", "含有 %s;这里只能放证书", b.Type)
			return
		}
		if _, err := x509.ParseCertificate(b.Bytes); err != nil {
			r.Add(path+".ca", "holds a certificate that cannot be read", "含有无法解析的证书")
			return
		}
		n++
	}
	if n == 0 || strings.TrimSpace(string(rest)) != "" {
		r.Add(path+".ca", "want certificates in PEM", "应为 PEM 格式的证书")
	}
}
