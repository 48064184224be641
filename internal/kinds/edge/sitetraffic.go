package edge

import (
	"github.com/dun-sec/dun/internal/core/resource"
)

// Defaults of a site's traffic: what an operator would keep.
const (
	DefaultAttempts = 1  // more than the first
	DefaultBudget   = 10 // percent of the requests
	DefaultFailures = 5  // in a row
	DefaultRatio    = 50 // percent of failures, of RatioLeast requests or more in RatioWindow seconds
	DefaultTrials   = 1  // requests at once
	RatioLeast      = 20
	RatioWindow     = 10
)

// Balancing of a site's origins.
const (
	BalanceWeight = "weight"
	BalanceLeast  = "least"
)

// Traffic is how requests are spread over the origins.
type Traffic struct {
	Balance string   `json:"balance,omitempty" enum:"weight,least" en:"Balance" zh:"负载均衡" help:"weight (default): at random by weight; least: fewest requests in progress for the weight, until the last byte of their answers" help_zh:"weight(默认):按权重随机;least:按权重取进行中请求最少者,直到响应的最后一个字节"`
	Retries *Retries `json:"retries,omitempty" en:"Retries" zh:"重试"`
	Breaker *Breaker `json:"breaker,omitempty" en:"Circuit breaker" zh:"熔断"`
}

// Retries repeat what failed before its answer began: GET, HEAD, OPTIONS, PUT
// and DELETE (RFC 9110 section 9.2.2) on another origin. A request that reached
// no origin goes to one other, whatever its method and this setting.
type Retries struct {
	Off      bool `json:"off,omitempty" en:"Off" zh:"关闭"`
	Attempts int  `json:"attempts,omitempty" min:"1" max:"3" en:"Attempts" zh:"次数" help:"So many more, 1 (default) to 3" help_zh:"额外尝试次数,1(默认)到 3"`
	Budget   int  `json:"budget,omitempty" min:"1" max:"100" en:"Budget" zh:"预算" help:"Percent of the requests that may be repeated, default 10; up to 10 unused ones are saved up" help_zh:"可重试请求的百分比,默认 10;最多累积 10 次"`
}

// Breaker leaves an origin alone that keeps failing: no connection, no answer
// in time, a broken answer, or 502, 503 or 504.
type Breaker struct {
	Off      bool              `json:"off,omitempty" en:"Off" zh:"关闭"`
	Failures int               `json:"failures,omitempty" min:"1" max:"1000" en:"Failures" zh:"失败次数" help:"In a row, default 5" help_zh:"连续失败次数,默认 5"`
	Ratio    int               `json:"ratio,omitempty" min:"1" max:"100" en:"Ratio" zh:"比例" help:"Percent of failures among at least 20 requests of 10 s, default 50" help_zh:"10 秒内至少 20 个请求中的失败百分比,默认 50"`
	Rest     resource.Duration `json:"rest,omitempty" en:"Rest" zh:"暂停" help:"Before requests try it again, 1s to 10m, default 5s" help_zh:"多久后放行请求试探,1s 到 10m,默认 5s"`
	Trials   int               `json:"trials,omitempty" min:"1" max:"100" en:"Trials" zh:"试探" help:"Requests at once that try it then, default 1; the first success closes the breaker" help_zh:"同时试探的请求数,默认 1;首个成功即恢复"`
}

func validateTraffic(t *Traffic, r *resource.Report) {
	if t != nil && t.Breaker != nil {
		between(r, "spec.traffic.breaker.rest", t.Breaker.Rest, "1s", "10m")
	}
}
