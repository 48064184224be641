package edge

import (
	"fmt"
	"strings"

	"github.com/dun-sec/dun/internal/core/resource"
)

// Rate is how many requests one client may send; IPv6 clients count by /64.
type Rate struct {
	Requests int               `json:"requests" required:"true" min:"1" max:"1000000" en:"Requests" zh:"请求数"`
	Per      resource.Duration `json:"per,omitempty" en:"Per" zh:"每" help:"1s to 1h, default 1s" help_zh:"1s 到 1h,默认 1s"`
	Burst    int               `json:"burst,omitempty" min:"0" max:"100000" en:"Burst" zh:"突发" help:"So many at once; default: requests" help_zh:"瞬时允许的数量;默认同 requests"`
}

// Route is a part of a site with tighter limits.
type Route struct {
	Path        string `json:"path" required:"true" max:"512" en:"Path" zh:"路径" help:"Begins with /; everything below it counts too" help_zh:"以 / 开头;包含其下全部路径"`
	Rate        *Rate  `json:"rate,omitempty" en:"Rate of a client" zh:"单个客户端速率"`
	Concurrency int    `json:"concurrency,omitempty" min:"0" max:"10000" en:"Requests of a client at once" zh:"单个客户端并发请求" help:"Default: no limit" help_zh:"默认不限"`
}

func validateLimits(l *Limits, r *resource.Report) {
	validateRate(l.Rate, "spec.limits.rate", r)
	seen := map[string]bool{}
	for i, t := range l.Routes {
		path := fmt.Sprintf("spec.limits.routes[%d]", i)
		if !strings.HasPrefix(t.Path, "/") || strings.ContainsAny(t.Path, "?#* \t\r\n%\\") || strings.Contains(t.Path, "//") {
			r.Add(path+".path", "want a plain path that begins with /", "应为以 / 开头的普通路径")
		}
		if seen[t.Path] {
			r.Add(path+".path", "%q is given twice", "%q 重复", t.Path)
		}
		seen[t.Path] = true
		if t.Rate == nil && t.Concurrency == 0 {
			r.Add(path, "want rate or concurrency", "应给出 rate 或 concurrency")
		}
		validateRate(t.Rate, path+".rate", r)
	}
}

func validateRate(t *Rate, path string, r *resource.Report) {
	if t != nil {
		between(r, path+".per", t.Per, "1s", "1h")
	}
}
