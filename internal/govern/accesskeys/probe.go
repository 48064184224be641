package accesskeys

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"

	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/deposit"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/identity/sigv4"
)

// run makes two keys that live side by side, and goes through what must be
// refused.
func (p *probe) run(ctx context.Context, e *assurance.Evidence) error {
	a, err := p.make(ctx, "check-a")
	if err != nil {
		return err
	}
	b, err := p.make(ctx, "check-b")
	if err != nil {
		return err
	}
	if err := p.record(ctx, "check-c"); !fault.Is(err, fault.Exhausted) {
		return assurance.NotHeld("a third key is made beside two", "已有两个密钥时仍可新建第三个")
	}
	if _, v, err := deposit.Make(ctx, p.env.Gate, p.env.Secrets, deposit.Request{Actor: p.me, Ref: keyRef("check-a"), Verb: "issue"}); err == nil || len(v.Reveal()) > 0 {
		v.Wipe()
		return assurance.NotHeld("a secret is shown a second time", "密钥内容可再次显示")
	}
	e.Add("keys", "two live, a third refused, a secret shown once")
	if err := p.ready(ctx, a); err != nil {
		return err
	}
	for _, t := range p.table(ctx, a, b) {
		took, err := p.taken(t.r)
		if err != nil {
			return err
		}
		e.Add(t.what, "%s", map[bool]string{true: "taken", false: "refused"}[took])
		if took != t.take {
			return assurance.NotHeld("%s: the request was %s", "%s:请求的结果为 %s", t.what, map[bool]string{true: "taken", false: "refused"}[took])
		}
	}
	p.remove(ctx, "check-a")
	for _, t := range []try{{"a deleted key", a.signed(ctx, http.MethodGet, "", time.Now()), false}, {"the key that stays", b.signed(ctx, http.MethodGet, "", time.Now()), true}} {
		if took, err := p.taken(t.r); err != nil || took != t.take {
			if err != nil {
				return err
			}
			return assurance.NotHeld("%s is not treated as such", "%s 的处理不正确", t.what)
		}
	}
	e.Add("rotation", "the deleted key is refused at once, the other goes on")
	return nil
}

// try is a request, and whether it must be taken.
type try struct {
	what string
	r    *http.Request
	take bool
}

func (p *probe) table(ctx context.Context, a, b held) []try {
	now := time.Now()
	read := func(k held, at time.Time) *http.Request { return k.signed(ctx, http.MethodGet, "", at) }
	changed := func(change func(*http.Request)) *http.Request {
		r := read(a, now)
		if r != nil {
			change(r)
		}
		return r
	}
	written := a.signed(ctx, http.MethodDelete, "", now)
	replayed := written
	if written != nil {
		replayed = written.Clone(ctx)
		replayed.Body = http.NoBody
	}
	body := a.signed(ctx, http.MethodPut, "{}", now)
	if body != nil {
		body.Body = io.NopCloser(bytes.NewReader([]byte("[]")))
	}
	return []try{
		{"a good signature", read(a, now), true},
		{"by the second key", read(b, now), true},
		{"a wrong secret", read(held{a.name, a.id, b.secret}, now), false},
		{"an unknown id", read(held{a.name, "AK0", a.secret}, now), false},
		{"another method", changed(func(r *http.Request) { r.Method = http.MethodHead }), false},
		{"a changed byte of the path", changed(func(r *http.Request) { r.URL.Path += "x" }), false},
		{"one more parameter", changed(func(r *http.Request) { r.URL.RawQuery = "at=x" }), false},
		{"a header that was not signed", changed(func(r *http.Request) { r.Header.Set("Dun-Reason", "x") }), false},
		{"another date", changed(func(r *http.Request) {
			r.Header.Set("X-Amz-Date", now.UTC().Add(time.Second).Format("20060102T150405Z"))
		}), false},
		{"no signature", changed(func(r *http.Request) { r.Header.Del("Authorization") }), false},
		{"another body", body, false},
		{"older than 15 minutes", read(a, now.Add(-sigv4.Skew-time.Minute)), false},
		{"from the future", read(a, now.Add(sigv4.Skew+time.Minute)), false},
		{"a write", written, true},
		{"the same write again", replayed, false},
	}
}
