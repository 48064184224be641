package edge

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/dun-sec/dun/internal/core/usage"
	"github.com/dun-sec/dun/internal/kinds/edge"
)

// SiteStats counts requests of one site, or of the node, since start.
type SiteStats struct {
	Requests     uint64 // served or refused after the site was known
	Blocked      uint64 // refused by the firewall, a ban or a limit
	Detected     uint64 // would have been refused in mode block
	OriginErrors uint64 // answered 502, 503 or 504 for want of an origin
	// HealthChanges counts origins that became unhealthy or healthy again.
	HealthChanges uint64
	Retries       uint64 // requests that were sent to an origin once more
}

// Stats is a moment's counters.
type Stats struct {
	Total SiteStats
	Sites map[string]SiteStats // by "tenant/name"; configured sites only
}

type siteTally struct {
	requests, blocked, detected, originErrors, healthChanges, retries atomic.Uint64
	in, out                                                           atomic.Uint64 // bytes of bodies, from and to clients
	connections                                                       atomic.Int64  // that are passed through now
	work                                                              atomic.Uint64 // ns of inspection

	told usage.Sum // of Usage; tally.mu guards it, CPU holds work

	purse purse
}

func (t *siteTally) read() SiteStats {
	return SiteStats{t.requests.Load(), t.blocked.Load(), t.detected.Load(), t.originErrors.Load(), t.healthChanges.Load(), t.retries.Load()}
}

// tally keeps the counters of a site over snapshots.
type tally struct {
	gone  siteTally // sums of sites that are no longer configured
	mu    sync.Mutex
	sites map[siteName]*siteTally // guarded by mu
	debts debts                   // guarded by mu
}

func (t *tally) site(n siteName) *siteTally {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sites == nil {
		t.sites = map[siteName]*siteTally{}
	}
	return at(t.sites, n)
}

// keep drops the counters of all other sites into gone.
func (t *tally) keep(sites []named[*edge.SiteSpec]) {
	want := make(map[siteName]bool, len(sites))
	for _, s := range sites {
		want[siteName{s.tenant, s.name}] = true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for n, s := range t.sites {
		if want[n] {
			continue
		}
		if n.tenant == CanaryTenant {
			delete(t.sites, n)
			continue
		}
		if x := s.since(n); x.Sum != (usage.Sum{}) && len(t.debts.owed) < maxOwed {
			x.CPU /= uint64(time.Microsecond)
			t.debts.owed = append(t.debts.owed, x)
		}
		c := s.read()
		t.gone.requests.Add(c.Requests)
		t.gone.blocked.Add(c.Blocked)
		t.gone.detected.Add(c.Detected)
		t.gone.originErrors.Add(c.OriginErrors)
		t.gone.healthChanges.Add(c.HealthChanges)
		t.gone.retries.Add(c.Retries)
		delete(t.sites, n)
	}
}

// Stats reads the counters.
func (e *Edge) Stats() Stats {
	e.tally.mu.Lock()
	defer e.tally.mu.Unlock()
	out := Stats{Total: e.tally.gone.read(), Sites: make(map[string]SiteStats, len(e.tally.sites))}
	for n, t := range e.tally.sites {
		if n.tenant == CanaryTenant {
			continue // what checks do is no traffic
		}
		c := t.read()
		out.Sites[n.String()] = c
		out.Total.Requests += c.Requests
		out.Total.Blocked += c.Blocked
		out.Total.Detected += c.Detected
		out.Total.OriginErrors += c.OriginErrors
		out.Total.HealthChanges += c.HealthChanges
		out.Total.Retries += c.Retries
	}
	return out
}
