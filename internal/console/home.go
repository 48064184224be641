package console

import (
	"net/http"
	"slices"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/resource"
)

// homeKind is what the first page lists beside the blocks.
const homeKind = "Site"

// homeRows is how many records the first page shows.
const homeRows = 50

// eventTenants lists whose events the visitor may see; nobody's is an empty
// list, never nil, which would be everybody's.
func (v *visit) eventTenants() []string {
	out := []string{}
	out = append(out, v.c.opt.Gate.Tenants(v.actor, "event.read")...)
	if v.c.opt.Gate.MayAny(v.actor, "event.read", resource.Platform) {
		out = append(out, "") // what belongs to no tenant is the operator's
	}
	return slices.Clip(out)
}

// homeTable is the first page's table; nil where there is no such kind.
func (v *visit) homeTable() (*table, error) {
	k, err := v.c.opt.Gate.Registry().Kind(homeKind)
	if err != nil {
		return nil, nil
	}
	return v.table(k, homeRows)
}

// home is the first page.
func (c *Console) home(v *visit) error {
	sites, err := v.homeTable()
	if err != nil {
		return err
	}
	p, err := c.join(v.r.Context(), v.eventTenants())
	if err != nil {
		return err
	}
	defer p.leave()
	return v.render(http.StatusOK, homePage(v, sites, v.seen(p.view())))
}

// seen leaves out the blocks of records whose class keeps them from the viewer:
// a pulse is shared by all who see the same tenants.
func (v *visit) seen(p view) view {
	sees := v.c.opt.Gate.Sees(v.actor)
	p.list = slices.DeleteFunc(slices.Clone(p.list), func(e events.Event) bool { return !sees(e.Tenant, e.Object) })
	return p
}
