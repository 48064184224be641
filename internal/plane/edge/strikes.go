package edge

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/dun-sec/dun/internal/core/events"
	"github.com/dun-sec/dun/internal/core/verdicts"
)

// The rule of the automatic ban: a client that the firewall or a limit refused
// strikeBurst times at once, or strikeRate times a second for long, is refused
// everything of the tenant for strikeBan. It is short, since many people can
// stand behind one address.
const (
	strikeBurst = 100
	strikeRate  = 5 // a second
	strikeBan   = time.Minute

	verdictBan  = "edge-ban"
	verdictRule = "edge-hammering"
	strikeIndex = -2 // of the rate in the table of clients
)

var strikes = rate{limited: true, at: strikeIndex, every: int64(time.Second) / strikeRate, burst: int64(time.Second) / strikeRate * strikeBurst}

func verdictKey(tenant string, a netip.Addr) string { return verdicts.Of(tenant, client64(a).String()) }

// judgedBefore reports an automatic ban that holds, of this node or another.
func (e *Edge) judgedBefore(tenant string, a netip.Addr) bool {
	return e.opts.Verdicts != nil && a.IsValid() && e.opts.Verdicts.Has(verdictBan, verdictKey(tenant, a))
}

// strike counts a refusal against its client, and bans him for a while when
// there were too many. Who is on an allow list is never struck.
func (q *request) strike() {
	v := q.edge.opts.Verdicts
	if v == nil || q.trust || !q.from.IsValid() || !q.site.strikes {
		return
	}
	tenant := q.site.name.tenant
	k := clientKey{siteName{tenant, ""}, strikeIndex, client64(q.from.Addr())}
	if ok, _ := q.edge.limits.take(k, &strikes, q.now.UnixNano()); ok || q.edge.judgedBefore(tenant, q.from.Addr()) {
		return
	}
	until := q.now.Add(strikeBan)
	err := v.Put(verdicts.Verdict{Kind: verdictBan, Key: verdictKey(tenant, q.from.Addr()), Until: until, Rule: verdictRule, Node: or(q.edge.opts.Node, "edge")})
	if err != nil {
		q.edge.opts.Log.Error("a verdict is not made", "err", err)
		return
	}
	if n, due := q.edge.report.coalesce("verdict "+tenant, q.now); due {
		q.edge.report.add(events.Event{
			Time: q.now.UTC(), Kind: kindBan, Action: actionBlocked, Tenant: tenant, Object: "site/" + q.site.name.name, Request: q.id, Source: q.from.Addr().String(),
			Attributes: map[string]string{"site": q.site.name.name, "class": "verdict", "rule": verdictRule, "until": until.UTC().Format(time.RFC3339), "count": strconv.FormatUint(n, 10)},
		})
	}
}
