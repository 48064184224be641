package console

import (
	"net/http"
	"slices"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/gate"
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
	if v.c.opt.Gate.May(v.actor, "event.read", resource.Platform) == nil {
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
	return v.table(k, "", homeRows, false)
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
	return v.render(http.StatusOK, homePage(v, sites, p.view()))
}

// table is a list of records of one kind, ready to be shown.
type table struct {
	kind    *resource.Kind
	tenants bool // a column says whose each record is
	head    []string
	rows    []row
	next    string // cursor of the next page
	at      resource.Position
}

type row struct {
	href, tenant, name string
	cells              []string
	revision           uint64
	updated            string
}

// table lists what the visitor may read of a kind, with its wide columns or
// without.
func (v *visit) table(k *resource.Kind, after string, limit int, wide bool) (*table, error) {
	columns := slices.DeleteFunc(slices.Clone(k.Columns), func(c resource.Column) bool { return c.Wide && !wide })
	p, err := v.c.opt.Gate.List(v.r.Context(), v.actor, gate.ListOptions{Kind: k.Name, Tenant: gate.AllTenants, Limit: limit, After: after})
	if err != nil {
		return nil, err
	}
	t := &table{kind: k, tenants: k.Scope == resource.ScopeTenant, next: p.Next, at: p.At}
	for _, c := range columns {
		t.head = append(t.head, c.Title.In(v.lang))
	}
	for _, o := range p.Items {
		r := row{href: recordPath(k, o.Metadata.Tenant, o.Metadata.Name), tenant: o.Metadata.Tenant, name: o.Metadata.Name, revision: o.Metadata.Revision, updated: stamp(o.Metadata.Updated)}
		for _, c := range columns {
			r.cells = append(r.cells, c.Value(o))
		}
		t.rows = append(t.rows, r)
	}
	return t, nil
}

// kind finds the kind that a path names by its plural alone.
func (c *Console) kind(plural string) (*resource.Kind, error) {
	for _, k := range c.opt.Gate.Registry().All() {
		if k.Plural == plural {
			return k, nil
		}
	}
	return nil, nothingHere()
}

// hidden makes of an error what the visitor may know: what he may not read
// looks like what is not there.
func hidden(err error) error {
	if fault.Is(err, fault.Forbidden) {
		return nothingHere()
	}
	return err
}
