package edge

import (
	"fmt"
	"strings"

	"github.com/dun-sec/dun/internal/core/resource"
)

// DefaultConnections is how many connections of a pass-through site are carried
// at once.
const DefaultConnections = 4096

// PassThrough carries TLS connections to the origins by their server name (RFC
// 6066 section 3), unopened: the origin holds the certificate.
type PassThrough struct {
	ProxyProtocol bool `json:"proxyProtocol,omitempty" en:"PROXY protocol" zh:"PROXY 协议" help:"A header of version 2 tells the origin who the client is" help_zh:"以第 2 版头告知源站客户端地址"`
	Connections   int  `json:"connections,omitempty" min:"1" max:"20000" en:"Connections at once" zh:"并发连接" help:"Of all clients, default 4096" help_zh:"全部客户端合计,默认 4096"`
}

func validatePassThrough(m *resource.Metadata, s *SiteSpec, r *resource.Report) {
	if s.PassThrough == nil {
		return
	}
	if class := m.Labels[resource.LabelClass]; class != "" {
		// The label promises that answers above it stay inside, and nobody sees these.
		r.Add("metadata.labels."+resource.LabelClass, "says up to which class answers leave, and what is passed through is not opened: leave the label or passThrough out", "规定可外发响应的最高分类,而直通流量不解密,无法判断:请去掉该标签或 passThrough")
	}
	if s.WAF != nil && s.Mode() != ModeOff {
		r.Add("spec.waf.mode", "what is passed through is not opened and cannot be judged: leave waf out", "直通流量不会被解密,无法检查:请去掉 waf")
	}
	for path, given := range map[string]bool{"spec.tls": s.TLS != nil, "spec.headers": s.Headers != nil, "spec.health": s.Health != nil} {
		if given {
			r.Add(path, "has no effect on what is passed through: leave it out", "对直通流量不起作用:请去掉")
		}
	}
	if l := s.Limits; l != nil {
		if len(l.Routes) > 0 || l.Body != 0 || l.Header != 0 || l.Timeouts != nil && (l.Timeouts.Request != 0 || l.Timeouts.Origin != 0) {
			r.Add("spec.limits", "only rate and concurrency, which count connections, and timeouts.idle hold for what is passed through", "直通只适用 rate 和 concurrency(按连接计)以及 timeouts.idle")
		}
	}
	for i, g := range s.Origins {
		if g.Host != "" || g.ServerName != "" || g.CA != "" || !bare(g.URL) {
			r.Add(fmt.Sprintf("spec.origins[%d]", i), "want https:// with host and port only: the client's own TLS reaches the origin", "应为仅含主机和端口的 https:// 地址:客户端的 TLS 直达源站")
		}
	}
}

func bare(url string) bool {
	rest, ok := strings.CutPrefix(url, "https://")
	return ok && !strings.ContainsAny(strings.TrimSuffix(rest, "/"), "/?#@")
}
