package api

import (
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
)

// pace holds each tenant to so many requests a second, and twice as many at
// once. It knows tenants by whom somebody has proven to be, so that nobody fills
// it who is not signed in; who has been quiet for a while is forgotten.
type pace struct {
	mu    sync.Mutex
	by    map[string]*tokens
	swept time.Time
}

type tokens struct {
	left float64
	at   time.Time
}

const paceSweep = time.Minute

func (p *pace) take(tenant string, rate int, now time.Time) error {
	if rate == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	most := 2 * float64(rate)
	t := p.by[tenant]
	if t == nil {
		p.sweep(now)
		t = &tokens{left: most, at: now}
		p.by[tenant] = t
	}
	if passed := now.Sub(t.at); passed > 0 { // a clock that went back fills nothing
		t.left = min(most, t.left+passed.Seconds()*float64(rate))
	}
	t.at = now
	if t.left < 1 {
		e := fault.New(fault.Exhausted, "the tenant %s makes more than %d requests a second; try again", "租户 %s 的请求超过每秒 %d 次;请稍后重试", tenant, rate)
		e.RetryAfter = time.Second
		return e
	}
	t.left--
	return nil
}

func (p *pace) sweep(now time.Time) {
	away := func(t time.Time) bool { return now.Sub(t).Abs() > paceSweep } // the clock may have gone back
	if !away(p.swept) {
		return
	}
	p.swept = now
	for tenant, t := range p.by {
		if away(t.at) {
			delete(p.by, tenant)
		}
	}
}
