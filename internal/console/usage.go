package console

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/usage"
)

// UsageBook is what the console asks of core/usage.
type UsageBook interface {
	Read(ctx context.Context, tenant string, from, to time.Time, step time.Duration) ([]usage.Bucket, error)
}

// period is one choice of the page.
type period struct {
	name       string
	long, step time.Duration
}

var periods = []period{{"1h", time.Hour, time.Minute}, {"24h", 24 * time.Hour, time.Hour}, {"30d", 30 * 24 * time.Hour, 24 * time.Hour}}

// taken is what the page shows.
type taken struct {
	tenant  string
	tenants []string
	span    period
	sites   []usage.Bucket // sums, most requests first
	total   usage.Sum
	points  string // requests and refusals, as the chart takes them
}

// usageTenants lists the tenants whose usage the visitor may see.
func (v *visit) usageTenants() []string {
	out := v.c.opt.Gate.Tenants(v.actor, "usage.read")
	if v.c.opt.Gate.MayAny(v.actor, "usage.read", resource.Platform) && !slices.Contains(out, resource.Platform) {
		out = append([]string{resource.Platform}, out...)
	}
	return out
}

// usage shows what a tenant's sites took.
func (c *Console) usage(v *visit) error {
	p := &taken{tenant: v.r.URL.Query().Get("tenant"), tenants: v.usageTenants(), span: periods[1]}
	if c.opt.Usage == nil || len(p.tenants) == 0 {
		return nothingHere()
	}
	if p.tenant == "" {
		p.tenant = p.tenants[0]
		if slices.Contains(p.tenants, v.actor.Principal.Tenant) {
			p.tenant = v.actor.Principal.Tenant
		}
	}
	if !slices.Contains(p.tenants, p.tenant) {
		return nothingHere()
	}
	for _, s := range periods {
		if s.name == v.r.URL.Query().Get("span") {
			p.span = s
		}
	}
	now := c.opt.Now().UTC()
	from := now.Add(-p.span.long).Truncate(p.span.step)
	list, err := c.opt.Usage.Read(v.r.Context(), p.tenant, from, now, p.span.step)
	if err != nil {
		return err
	}
	p.fill(list, from, now)
	return v.render(http.StatusOK, usagePage(v, p))
}

// fill sums up by site and by time; a time without traffic is a nought.
func (p *taken) fill(list []usage.Bucket, from, to time.Time) {
	bySite := map[string]*usage.Bucket{}
	byTime := map[int64][2]uint64{}
	for _, b := range list {
		s := bySite[b.Site]
		if s == nil {
			s = &usage.Bucket{Site: b.Site}
			bySite[b.Site] = s
		}
		for _, sum := range []*usage.Sum{&s.Sum, &p.total} {
			sum.Requests += b.Requests
			sum.Blocks += b.Blocks
			sum.In += b.In
			sum.Out += b.Out
			sum.CPU += b.CPU
		}
		x := byTime[b.Start.Unix()]
		byTime[b.Start.Unix()] = [2]uint64{x[0] + b.Requests, x[1] + b.Blocks}
	}
	for _, s := range bySite {
		p.sites = append(p.sites, *s)
	}
	slices.SortFunc(p.sites, func(a, b usage.Bucket) int {
		if a.Requests != b.Requests {
			return int(min(max(int64(b.Requests)-int64(a.Requests), -1), 1))
		}
		return strings.Compare(a.Site, b.Site)
	})
	var requests, blocks []string
	for t := from; !t.After(to); t = t.Add(p.span.step) {
		x := byTime[t.Unix()]
		requests, blocks = append(requests, number(x[0])), append(blocks, number(x[1]))
	}
	p.points = strings.Join(requests, ",") + ";" + strings.Join(blocks, ",")
}

// sized writes bytes for people.
func sized(n uint64) string {
	const step = 1024
	x, unit := float64(n), "B"
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if x < step {
			break
		}
		x, unit = x/step, u
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", x, unit)
}

// processors writes CPU time for people.
func processors(us uint64) string {
	return (time.Duration(us) * time.Microsecond).Round(10 * time.Millisecond).String()
}
