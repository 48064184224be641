package edge

import (
	"fmt"
	"strings"

	"github.com/dun-sec/dun/internal/core/resource"
)

// Headers are set on every answer of the site.
type Headers struct {
	HSTS           *HSTS    `json:"hsts,omitempty" en:"HSTS" zh:"HSTS" help:"Over HTTPS only, and never for localhost or an address (RFC 6797)" help_zh:"仅在 HTTPS 上发送,且不用于 localhost 和 IP 地址(RFC 6797)"`
	CSP            *CSP     `json:"csp,omitempty" en:"Content security policy" zh:"内容安全策略"`
	Cookies        *Cookies `json:"cookies,omitempty" en:"Cookies" zh:"Cookie" help:"Added to the origin's Set-Cookie" help_zh:"加入源站的 Set-Cookie"`
	NoSniff        bool     `json:"noSniff,omitempty" en:"No sniffing" zh:"禁止嗅探" help:"X-Content-Type-Options: nosniff" help_zh:"X-Content-Type-Options: nosniff"`
	ReferrerPolicy string   `json:"referrerPolicy,omitempty" enum:"no-referrer,origin,same-origin,strict-origin,strict-origin-when-cross-origin,no-referrer-when-downgrade,origin-when-cross-origin" en:"Referrer policy" zh:"Referrer 策略"`
	FrameOptions   string   `json:"frameOptions,omitempty" enum:"DENY,SAMEORIGIN" en:"Frame options" zh:"框架选项"`
}

// HSTS tells browsers to use HTTPS alone.
type HSTS struct {
	MaxAge     resource.Duration `json:"maxAge,omitempty" en:"For" zh:"时长" help:"1m to 730d, default 180d" help_zh:"1m 到 730d,默认 180d"`
	Subdomains bool              `json:"subdomains,omitempty" en:"Subdomains too" zh:"包括子域"`
	Preload    bool              `json:"preload,omitempty" en:"Preload" zh:"预加载" help:"Needs subdomains and 365d" help_zh:"须包括子域且至少 365d"`
}

// CSP is a content security policy, directive by directive.
type CSP struct {
	Directives []string `json:"directives" required:"true" min:"1" max:"32" each:"max:'1024'" en:"Directives" zh:"指令" help:"As in default-src 'self'" help_zh:"例如 default-src 'self'"`
	Report     bool     `json:"report,omitempty" en:"Report only" zh:"仅报告" help:"Browsers only report what they would refuse" help_zh:"浏览器仅报告而不拦截"`
}

// Cookies hardens what the origin sets.
type Cookies struct {
	Secure   bool   `json:"secure,omitempty" en:"Secure" zh:"Secure" help:"Over HTTPS only" help_zh:"仅在 HTTPS 上添加"`
	HTTPOnly bool   `json:"httpOnly,omitempty" en:"HttpOnly" zh:"HttpOnly"`
	SameSite string `json:"sameSite,omitempty" enum:"Lax,Strict" en:"SameSite" zh:"SameSite" help:"Where the origin says nothing" help_zh:"源站未指定时"`
}

func validateHeaders(h *Headers, r *resource.Report) {
	if h == nil {
		return
	}
	if s := h.HSTS; s != nil {
		between(r, "spec.headers.hsts.maxAge", s.MaxAge, "1m", "730d")
		if year, _ := resource.ParseDuration("365d"); s.Preload && (!s.Subdomains || s.MaxAge < year) {
			r.Add("spec.headers.hsts.preload", "needs subdomains and a maxAge of 365d or more", "须包括子域且 maxAge 至少 365d")
		}
	}
	if c := h.CSP; c != nil {
		seen := map[string]bool{}
		for i, d := range c.Directives {
			path := fmt.Sprintf("spec.headers.csp.directives[%d]", i)
			name, _, _ := strings.Cut(d, " ")
			switch {
			case strings.ContainsFunc(d, func(c rune) bool { return c < ' ' || c > '~' || c == ';' || c == ',' }):
				r.Add(path, "holds a character that a header may not: want printable ASCII without ; and ,", "含有响应头不允许的字符:应为可打印 ASCII,且不含 ; 和 ,")
			case name == "" || strings.ContainsFunc(name, func(c rune) bool { return (c < 'a' || c > 'z') && c != '-' }):
				r.Add(path, "want a directive as in default-src 'self'", "应为指令,例如 default-src 'self'")
			case seen[name]:
				r.Add(path, "%q is given twice; browsers read the first only", "%q 重复;浏览器只读取第一个", name)
			}
			seen[name] = true
		}
	}
}
