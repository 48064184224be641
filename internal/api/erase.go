package api

import (
	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
)

// erasure is what POST …/audit/erase takes.
type erasure struct {
	Kind   string `json:"kind" required:"true" en:"Kind" zh:"类型"`
	Name   string `json:"name" required:"true" format:"name" en:"Name" zh:"名称"`
	UID    string `json:"uid,omitempty" max:"64" en:"UID" zh:"UID"`
	Reason string `json:"reason" required:"true" max:"1024" en:"Reason" zh:"理由"`
}

// erase takes away what history and log say about a record that is gone.
func (a *API) erase(c *call) error {
	_, n, err := c.document()
	if err != nil {
		return err
	}
	if n == nil {
		return fault.New(fault.Invalid, "send {\"kind\", \"name\", \"reason\"}", "请发送 {\"kind\", \"name\", \"reason\"}")
	}
	var in erasure
	if err := resource.Fill(n, &in); err != nil {
		return err
	}
	k, err := a.opt.Gate.Registry().Find(in.Kind)
	if err != nil {
		return err
	}
	rep, err := a.opt.Gate.Erase(c.r.Context(), c.actor, resource.Ref{Kind: k.Name, Tenant: c.r.PathValue("tenant"), Name: in.Name, UID: in.UID}, in.Reason)
	if err != nil {
		return err
	}
	return c.json(200, rep)
}
