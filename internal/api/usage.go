package api

import (
	"context"
	"net/http"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/usage"
)

// UsageBook is what the API asks of core/usage.
type UsageBook interface {
	Read(ctx context.Context, tenant string, from, to time.Time, step time.Duration) ([]usage.Bucket, error)
}

func (a *API) usageOperation() operation {
	return operation{id: "usage", method: http.MethodGet, path: "/api/v1/{tenant}/usage", summary: "Requests, refusals, bytes and CPU time of a tenant, by time and site", status: 200, reply: jsonType, replySchema: "Document", handle: a.usage,
		query: []param{{"from", "RFC 3339 time; default a day ago"}, {"to", "RFC 3339 time; default now"}, {"step", "1m to 31d, whole minutes; default 1h. Minutes are kept for a day, hours for 35 days, days for two years"}}}
}

// usage answers for one tenant: nobody sees another one's.
func (a *API) usage(c *call) error {
	tenant := c.r.PathValue("tenant")
	if err := a.opt.Gate.May(c.actor, "usage.read", tenant); err != nil {
		return fault.New(fault.NotFound, "there is no tenant %q", "租户 %q 不存在", tenant).Because(err)
	}
	if a.opt.Usage == nil {
		return fault.New(fault.Unavailable, "nothing is counted here", "此处不计量")
	}
	v := c.r.URL.Query()
	now := a.opt.Now().UTC()
	from, to, step := now.Add(-24*time.Hour), now, time.Hour
	var err error
	for name, t := range map[string]*time.Time{"from": &from, "to": &to} {
		if s := v.Get(name); s != "" {
			if *t, err = moment(s, name); err != nil {
				return err
			}
		}
	}
	if s := v.Get("step"); s != "" {
		d, err := resource.ParseDuration(s)
		if err != nil {
			return fault.New(fault.Invalid, "step: want a time as in 1m or 1h", "step:应为时长,例如 1m 或 1h")
		}
		step = time.Duration(d)
	}
	list, err := a.opt.Usage.Read(c.r.Context(), tenant, from, to, step)
	if err != nil {
		return err
	}
	if list == nil {
		list = []usage.Bucket{}
	}
	return c.json(200, map[string]any{"tenant": tenant, "from": from, "to": to, "step": resource.Duration(step).String(), "items": list})
}
