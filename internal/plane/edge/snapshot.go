package edge

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/kinds/data"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// WAF modes, as the kind names them.
const (
	modeBlock  = edge.ModeBlock
	modeDetect = edge.ModeDetect
	modeOff    = edge.ModeOff
)

// siteName names a Site; names are unique within a tenant.
type siteName struct{ tenant, name string }

// String is the key of a site in Stats.
func (n siteName) String() string { return n.tenant + "/" + n.name }

// snapshot is everything a request is judged by. It is never changed after
// compile; readers hold it as long as they need it.
type snapshot struct {
	hosts  map[string]*site // exact names and addresses
	wild   map[string]*site // ".example.com" for *.example.com
	sites  map[siteName]*site
	bans   *banTable
	count  int
	passes bool     // some site passes through
	own    ownPairs // certificates of the tenants' own

	checks map[healthKey]*health
}

// site is one compiled Site.
type site struct {
	name       siteName
	mode       string
	paranoia   string
	threshold  string
	address    bool // some host is an IP address
	exclusions []exclusion
	origins    []*origin
	body       int64
	header     int
	request    time.Duration
	idle       time.Duration
	redirect   bool
	cert       string // name of the Certificate that the site names; "" = by host
	headers    *siteHeaders
	outlet     *outlet        // nil = answers of any class
	rate       *rate          // nil = no limit
	routes     []limitedRoute // longest path first
	spread     spread
	pass       *passing // nil = HTTP
	strikes    bool     // who is refused often is banned for a while
	broken     bool     // the record could not be compiled: its hosts answer 503
	tally      *siteTally
}

// lookup finds the site of a normalised host: exact before wildcard of one label.
func (s *snapshot) lookup(host string) *site {
	if t := s.hosts[host]; t != nil {
		return t
	}
	if len(s.wild) > 0 {
		if i := strings.IndexByte(host, '.'); i > 0 {
			return s.wild[host[i:]]
		}
	}
	return nil
}

// configured is the name under which host is configured: itself or its
// wildcard; "" when it is not.
func (s *snapshot) configured(host string) string {
	if s.hosts[host] != nil {
		return host
	}
	if i := strings.IndexByte(host, '.'); i > 0 && s.wild[host[i:]] != nil {
		return "*" + host[i:]
	}
	return ""
}

// named is a record's spec with its name.
type named[S any] struct {
	tenant, name string
	spec         S
	record       *resource.Object
}

// compile turns records into a snapshot in time linear in their number (but
// for the sort that makes the outcome independent of arrival). No record can
// make it fail: what cannot be understood refuses or is left out, on the safe
// side, and is logged.
func (e *Edge) compile(records map[resource.Ref]*resource.Object) *snapshot {
	sites := collect[*edge.SiteSpec](records, "Site")
	tenants := map[string]uint64{}
	for ref, o := range records {
		if ref.Kind == "Tenant" {
			tenants[ref.Name] = o.Metadata.Revision
		}
	}
	s := &snapshot{
		hosts: make(map[string]*site, len(sites)), wild: map[string]*site{},
		sites: make(map[siteName]*site, len(sites)),
		bans:  compileBans(collect[*edge.BanSpec](records, "Ban"), e.opts.Log),
		count: len(sites), checks: map[healthKey]*health{},
	}
	exclusions := compileExclusions(e.engine.ruleSet, collect[*edge.ExclusionSpec](records, "Exclusion"), e.opts.Log)
	levels := compileClasses(collect[*data.DataClassSpec](records, resource.ClassKind))
	round := e.pool.begin()
	for _, o := range sites {
		t, err := e.compileSite(o, round, tenants[o.tenant])
		if err != nil {
			e.opts.Log.Warn("site refuses all requests", "kind", "Site", "tenant", o.tenant, "name", o.name, "err", err)
			t.broken = true
		}
		t.exclusions = exclusions[t.name]
		t.outlet = compileOutlet(o.record, levels, e.opts.Log)
		for _, g := range t.origins {
			if g.health = e.checks.of(t, o.spec, g); g.health != nil {
				s.checks[g.health.key] = g.health
			}
		}
		s.sites[t.name] = t
		s.passes = s.passes || t.pass != nil
		s.claim(t, slices.DeleteFunc(slices.Clone(o.spec.Hosts), func(h string) bool { return !edge.Serves(o.record, h) }))
	}
	round.commit()
	e.tally.keep(sites)
	return s
}

func (s *snapshot) claim(t *site, hosts []string) {
	for _, h := range hosts {
		if rest, ok := strings.CutPrefix(h, "*"); ok {
			if s.wild[rest] == nil { // hosts are claimed uniquely; should two sites share one, the first by name has it
				s.wild[rest] = t
			}
			continue
		}
		if s.hosts[h] == nil {
			s.hosts[h] = t
		}
	}
}

func (e *Edge) compileSite(o named[*edge.SiteSpec], round *originRound, tenant uint64) (*site, error) {
	t := &site{
		name: siteName{o.tenant, o.name}, mode: o.spec.Mode(),
		paranoia: strconv.Itoa(o.spec.Paranoia()), threshold: strconv.Itoa(o.spec.Threshold()),
		body: int64(edge.DefaultBody), header: int(edge.DefaultHeader),
		request: 60 * time.Second, idle: 60 * time.Second,
	}
	t.tally = e.tally.site(t.name)
	e.compileOptions(t, o.spec)
	wait := 30 * time.Second
	if l := o.spec.Limits; l != nil {
		t.body = min(or(int64(l.Body), t.body), maxBody)
		t.header = or(int(l.Header), t.header)
		if d := l.Timeouts; d != nil {
			t.request = or(time.Duration(d.Request), t.request)
			t.idle = or(time.Duration(d.Idle), t.idle)
			wait = or(time.Duration(d.Origin), wait)
		}
	}
	for _, h := range o.spec.Hosts {
		if _, err := netip.ParseAddr(h); err == nil {
			t.address = true
		}
	}
	for i := range o.spec.Origins {
		g, err := round.origin(o.tenant, tenant, &o.spec.Origins[i], wait)
		if err != nil {
			return t, fmt.Errorf("read origin %d: %w", i, err)
		}
		t.origins = append(t.origins, g)
	}
	if len(t.origins) == 0 {
		return t, fmt.Errorf("no origin")
	}
	return t, nil
}

// collect gathers the records of one kind in the order of tenant and name.
func collect[S any](records map[resource.Ref]*resource.Object, kind string) []named[S] {
	var out []named[S]
	for ref, o := range records {
		if ref.Kind != kind {
			continue
		}
		if spec, ok := o.Spec.(S); ok {
			out = append(out, named[S]{ref.Tenant, ref.Name, spec, o})
		}
	}
	slices.SortFunc(out, func(a, b named[S]) int {
		return cmp.Or(cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.name, b.name))
	})
	return out
}
