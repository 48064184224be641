package console

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/id"
)

// block explains what happened to one request, as dun explain block does.
func (c *Console) block(v *visit) error {
	req := v.r.PathValue("request")
	if _, _, ok := id.ParseRequest(req); !ok {
		return nothingHere()
	}
	tenants := v.eventTenants()
	if len(tenants) == 0 {
		return nothingHere()
	}
	soon, cancel := context.WithTimeout(v.r.Context(), time.Second)
	defer cancel()
	if err := c.opt.Events.Flush(soon); err != nil {
		c.opt.Log.Debug("events are behind", "req", v.actor.Request, "err", err)
	}
	list, _, err := c.opt.Events.Search(v.r.Context(), events.Query{Request: req, Tenants: tenants, Limit: newest, Keep: c.opt.Gate.Sees(v.actor)})
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return fault.New(fault.NotFound, "there is no event of request %s; it was let through, is older than the events are kept, or is not yours to see", "没有请求 %s 的事件;它可能已放行、超过保留期,或您无权查看", req)
	}
	return v.render(http.StatusOK, blockPage(v, req, list))
}

// ruleOf is the message that says most: the first of the event's rules.
func ruleOf(e *events.Event) string {
	if len(e.Rules) == 0 {
		return ""
	}
	return e.Rules[0].Message
}

// siteOf is whose site an event is about, as short as it stays clear.
func siteOf(e *events.Event) string {
	_, name, _ := strings.Cut(e.Object, "/")
	return strings.Trim(e.Tenant+"/"+name, "/")
}
