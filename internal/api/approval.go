package api

import (
	"net/http"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
)

// approvalHeaders say that a change is to be approved whether a rule wants it
// or not, and when it is to be carried out.
var approvalHeaders = []param{
	{"Dun-Approval", "ask: make a change request of it in any case; break-glass: carry it out without approval, with a reason"}, {"Dun-Not-Before", "Carry out what was approved no earlier; RFC 3339"}, {"Dun-Not-After", "… and no later; RFC 3339"},
}

// approval reads them.
func (c *call) approval(req *gate.Request) (err error) {
	switch c.r.Header.Get("Dun-Approval") {
	case "":
	case "ask":
		req.Ask = true
	case "break-glass":
		req.BreakGlass = true
	default:
		return fault.New(fault.Invalid, "Dun-Approval: want ask or break-glass", "Dun-Approval:应为 ask 或 break-glass")
	}
	for name, to := range map[string]*time.Time{"Dun-Not-Before": &req.Open, "Dun-Not-After": &req.Close} {
		if s := c.r.Header.Get(name); s != "" {
			if *to, err = time.Parse(time.RFC3339, s); err != nil {
				return fault.New(fault.Invalid, "%s: want a time, as in 2026-11-25T22:00:00Z", "%s:应为时间,例如 2026-11-25T22:00:00Z", name)
			}
		}
	}
	return nil
}

// waiting answers that the change waits for approval (formats.md, HTTP).
func (c *call) waiting(w *gate.Waiting) error {
	people := w.Approvers
	if people == nil {
		people = []string{}
	}
	return c.json(http.StatusAccepted, map[string]any{
		"changeRequest": w.Request.Name, "tenant": w.Request.Tenant, "approvers": people, "url": "/records/changerequests/" + w.Request.Tenant + "/" + w.Request.Name,
	})
}
