package api

import (
	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
)

// ControlJSON is one control that has a check, with its last result.
type ControlJSON struct {
	Control string            `json:"control"`
	Title   string            `json:"title"`
	Scope   string            `json:"scope"`
	Period  string            `json:"period"`
	Cost    string            `json:"cost"`
	Last    *assurance.Result `json:"last"` // null = not tried since the start
}

func (a *API) checks(c *call, action string) (*assurance.Registry, error) {
	if err := a.opt.Gate.May(c.actor, action, resource.Platform); err != nil {
		return nil, err
	}
	if a.opt.Checks == nil {
		return nil, fault.New(fault.Unavailable, "this node runs no checks", "此节点不运行检查")
	}
	return a.opt.Checks, nil
}

// posture lists the controls that have a check.
func (a *API) posture(c *call) error {
	r, err := a.checks(c, "posture.read")
	if err != nil {
		return err
	}
	items := []ControlJSON{}
	for _, e := range r.List() {
		items = append(items, ControlJSON{
			Control: e.Control, Title: e.Title.In(c.lang), Scope: string(e.Scope), Period: resource.Duration(e.Period).String(), Cost: e.Cost.In(c.lang), Last: e.Last,
		})
	}
	return c.json(200, map[string]any{"items": items})
}

// tryControl tries one control now.
func (a *API) tryControl(c *call) error {
	r, err := a.checks(c, "posture.run")
	if err != nil {
		return err
	}
	res, err := r.Run(c.r.Context(), c.actor, c.r.PathValue("control"))
	if err != nil {
		return err
	}
	return c.json(200, res)
}
