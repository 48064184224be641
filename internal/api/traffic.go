package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/identity"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/traffic"
)

const protectedKind = "ProtectedAddress"

func (a *API) trafficOperation() operation {
	return operation{id: "traffic", method: http.MethodGet, path: "/api/v1/{tenant}/traffic", summary: "What goes to a tenant's protected addresses now: packets and bits a second, by vector, and what became of them", status: 200, reply: jsonType, replySchema: "Document", handle: a.traffic}
}

// trafficItem is one protected address.
type trafficItem struct {
	Name string `json:"name"`
	traffic.Live
}

// traffic shows the counters of those addresses whose records the caller may
// read, and no others.
func (a *API) traffic(c *call) error {
	tenant := c.r.PathValue("tenant")
	if err := a.opt.Gate.May(c.actor, "usage.read", tenant); err != nil {
		return fault.New(fault.NotFound, "there is no tenant %q", "租户 %q 不存在", tenant).Because(err)
	}
	items, err := Floods(c.r.Context(), a.opt.Gate, a.opt.Floods, c.actor, tenant)
	if err != nil {
		return err
	}
	out := []trafficItem{}
	for name, l := range items {
		out = append(out, trafficItem{name, l})
	}
	slices.SortFunc(out, func(x, y trafficItem) int {
		return cmp.Or(cmp.Compare(y.Packets, x.Packets), cmp.Compare(x.Name, y.Name))
	})
	return c.json(200, map[string]any{"tenant": tenant, "items": out})
}

// lister is what Floods asks of the gate.
type lister interface {
	List(context.Context, identity.Actor, gate.ListOptions) (gate.Page, error)
}

// Floods are the live counters of one tenant's protected addresses, by name, of
// those that the actor may read.
func Floods(ctx context.Context, g lister, live func() map[resource.Ref]traffic.Live, actor identity.Actor, tenant string) (map[string]traffic.Live, error) {
	var all map[resource.Ref]traffic.Live
	if live != nil {
		all = live()
	}
	if all == nil {
		return nil, fault.New(fault.Unavailable, "nothing counts what goes to addresses: name interfaces in scrub.interfaces of the configuration, devices that export flows in detect.exporters, or join nodes of the role scrub", "没有任何流量计数:请在配置的 scrub.interfaces 中指定接口,在 detect.exporters 中指定导出流量的设备,或加入 scrub 角色的节点")
	}
	out := map[string]traffic.Live{}
	for after := ""; ; {
		p, err := g.List(ctx, actor, gate.ListOptions{Kind: protectedKind, Tenant: tenant, Limit: 500, After: after})
		if err != nil {
			return nil, err
		}
		for _, o := range p.Items {
			if l, ok := all[resource.Ref{Kind: protectedKind, Tenant: o.Metadata.Tenant, Name: o.Metadata.Name}]; ok {
				out[o.Metadata.Name] = l
			}
		}
		if after = p.Next; after == "" {
			return out, nil
		}
	}
}
