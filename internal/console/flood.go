package console

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/console/part"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/trace"
	"github.com/dun-sec/dun/internal/core/traffic"
)

// protectedKind is watched for floods.
const protectedKind = "ProtectedAddress"

const (
	floodLines = 5  // vectors, or reasons, that have a line of their own
	floodRows  = 20 // addresses on the first page
	pastRows   = 10 // attacks of an address
)

// floodView is what goes to one protected address, ready to be shown.
type floodView struct {
	kind    *resource.Kind
	object  *resource.Object
	live    traffic.Live
	known   bool // the filter counts it
	series  trace.Series
	attacks []*resource.Object
}

func (v *visit) floodOf(k *resource.Kind, o *resource.Object) *floodView {
	ref := o.Ref()
	ref.UID = ""
	f := &floodView{kind: k, object: o}
	f.live, f.known = v.c.opt.Floods()[ref]
	if v.c.opt.Trace != nil {
		f.series, _ = v.c.opt.Trace(ref, trace.Seconds)
	}
	f.attacks = v.attacksOn(o)
	return f
}

// attacksOn are the newest attacks on an address that the visitor may see.
func (v *visit) attacksOn(o *resource.Object) (out []*resource.Object) {
	all, err := resource.Tree(o)
	if err != nil {
		return nil
	}
	prefix := plainPrefix(tree(all).in("spec").text("prefix"))
	for after := ""; ; {
		p, err := v.c.opt.Gate.List(v.r.Context(), v.actor, gate.ListOptions{Kind: attackKind, Tenant: o.Metadata.Tenant, Limit: 500, After: after})
		if err != nil {
			return nil
		}
		for _, x := range p.Items {
			if t, err := resource.Tree(x); err == nil && prefix != "" && plainPrefix(tree(t).in("spec").text("address")) == prefix {
				out = append(out, x)
			}
		}
		if after = p.Next; after == "" {
			break
		}
	}
	slices.SortFunc(out, func(x, y *resource.Object) int { return y.Metadata.Created.Compare(x.Metadata.Created) })
	return out[:min(len(out), pastRows)]
}

// plainPrefix writes an address or a network in one way; "" = it is none.
func plainPrefix(s string) string {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()).String()
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return ""
	}
	return p.String()
}

// trafficOf is the page of an address that the visitor may see; "" = none.
func (v *visit) trafficOf(tenant, address string) string {
	k, err := v.c.opt.Gate.Registry().Kind(protectedKind)
	if err != nil {
		return ""
	}
	for after := ""; ; {
		p, err := v.c.opt.Gate.List(v.r.Context(), v.actor, gate.ListOptions{Kind: k.Name, Tenant: tenant, Limit: 500, After: after})
		if err != nil {
			return ""
		}
		for _, o := range p.Items {
			if t, err := resource.Tree(o); err == nil && plainPrefix(tree(t).in("spec").text("prefix")) == plainPrefix(address) {
				return recordPath(k, o.Metadata.Tenant, o.Metadata.Name) + "/traffic"
			}
		}
		if after = p.Next; after == "" {
			return ""
		}
	}
}

// state is how the address stands.
func (f *floodView) state(v *visit) (string, part.Tone) {
	switch {
	case !f.known:
		return v.t("not counted", "未计数"), part.Plain
	case f.live.Attack != "" && f.live.Monitor:
		return v.t("under attack, only watched", "受攻击(仅监测)"), part.Bad
	case f.live.Attack != "":
		return v.t("under attack", "受攻击"), part.Bad
	case len(f.live.Armed) > 0:
		return v.t("armed", "已布防"), part.Warn
	}
	return v.t("quiet", "平静"), part.Good
}

// stopped is how many packets a second are stopped or answered.
func stopped(l traffic.Live) (sum float64) {
	for _, n := range l.Dropped {
		sum += n
	}
	return sum
}

// whole are offered, stopped and passed.
func (f *floodView) whole(v *visit) ([]part.Line, string) {
	return []part.Line{{Name: v.t("offered", "到达"), Tint: "soft", Now: short(f.live.Packets)}, {Name: v.t("stopped", "拦下"), Tint: "bad", Now: short(stopped(f.live))}, {Name: v.t("passed", "放行"), Tint: "good", Now: short(f.live.Passed)}},
		series(pad(f.series.Packets), pad(f.series.Stopped), pad(f.series.Passed))
}

// each makes a line of each of the largest and one of the rest.
func each(of map[string][]float64, now map[string]float64, word func(string) string, rest string) ([]part.Line, string) {
	sum := func(list []float64) (n float64) {
		for _, x := range list {
			n += x
		}
		return n
	}
	names := slices.SortedFunc(maps.Keys(of), func(x, y string) int { return cmp.Or(cmp.Compare(sum(of[y]), sum(of[x])), cmp.Compare(x, y)) })
	var lines []part.Line
	var all [][]float64
	others, othersNow := make([]float64, trace.Seconds), 0.0
	for i, n := range names {
		if i < floodLines {
			lines, all = append(lines, part.Line{Name: word(n), Tint: part.Tints()[i], Now: short(now[n])}), append(all, pad(of[n]))
			continue
		}
		for j, x := range pad(of[n]) {
			others[j] += x
		}
		othersNow += now[n]
	}
	if len(names) > floodLines {
		lines, all = append(lines, part.Line{Name: rest, Tint: part.Tints()[floodLines], Now: short(othersNow)}), append(all, others)
	}
	return lines, series(all...)
}

// pad makes a series as long as the graph.
func pad(list []float64) []float64 {
	return slices.Concat(make([]float64, max(0, trace.Seconds-len(list))), list)
}

func series(all ...[]float64) string {
	var out []string
	for _, list := range all {
		var b []string
		for _, x := range list {
			b = append(b, strconv.FormatFloat(x, 'f', 0, 64))
		}
		out = append(out, strings.Join(b, ","))
	}
	return strings.Join(out, ";")
}

// floodFound finds the address of a page; what the visitor may not see is not
// there.
func (v *visit) floodFound() (*resource.Kind, *resource.Object, error) {
	k, o, err := v.found()
	if err == nil && (k.Name != protectedKind || v.c.opt.Floods == nil) {
		return nil, nil, nothingHere()
	}
	return k, o, err
}

// flood is the page of what goes to a protected address.
func (c *Console) flood(v *visit) error {
	k, o, err := v.floodFound()
	if err != nil {
		return err
	}
	return v.render(http.StatusOK, floodPage(v, v.floodOf(k, o)))
}

// floodLive keeps that page as it is, once a second.
func (c *Console) floodLive(v *visit) error {
	if _, _, err := v.floodFound(); err != nil {
		return err
	}
	who := v.actor.Principal
	if !c.streams.take(who) {
		return busy()
	}
	defer c.streams.give(who)
	ctx, end := context.WithCancel(v.r.Context())
	defer end()
	defer context.AfterFunc(c.life, end)()
	v.w.Header().Set("Content-Type", "text/event-stream")
	v.w.WriteHeader(http.StatusOK)
	s := &stream{v: v, rc: http.NewResponseController(v.w), ctx: ctx}
	s.rc.SetReadDeadline(time.Time{})
	look := time.NewTicker(c.beat.poll)
	defer look.Stop()
	for {
		// Who was signed out, or may see the record no more, sees nothing more.
		session, gone := c.opt.Gate.Authenticate(v.token)
		if gone != nil || session.Principal != who {
			return s.end()
		}
		k, o, err := v.floodFound()
		if err != nil {
			return s.end()
		}
		if err := s.send("flood", floodParts(v, v.floodOf(k, o))); err != nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}

// floodRow is an address under attack.
type floodRow struct {
	object *resource.Object
	href   string
	live   traffic.Live
}

// flooded are the addresses under attack that the visitor may see, the worst
// first, and how many there are.
func (v *visit) flooded() (rows []floodRow, all int) {
	k, err := v.c.opt.Gate.Registry().Kind(protectedKind)
	if err != nil || v.c.opt.Floods == nil {
		return nil, 0
	}
	live := maps.Clone(v.c.opt.Floods())
	maps.DeleteFunc(live, func(_ resource.Ref, l traffic.Live) bool { return l.Attack == "" })
	for after := ""; len(live) > 0; {
		p, err := v.c.opt.Gate.List(v.r.Context(), v.actor, gate.ListOptions{Kind: k.Name, Tenant: gate.AllTenants, Limit: 500, After: after})
		if err != nil {
			return nil, 0
		}
		for _, o := range p.Items {
			if l, ok := live[resource.Ref{Kind: k.Name, Tenant: o.Metadata.Tenant, Name: o.Metadata.Name}]; ok {
				rows = append(rows, floodRow{o, recordPath(k, o.Metadata.Tenant, o.Metadata.Name) + "/traffic", l})
			}
		}
		if after = p.Next; after == "" {
			break
		}
	}
	slices.SortFunc(rows, func(x, y floodRow) int {
		return cmp.Or(cmp.Compare(y.live.Packets, x.live.Packets), cmp.Compare(x.href, y.href))
	})
	return rows[:min(len(rows), floodRows)], len(rows)
}

// largest names the vectors of which most comes.
func (v *visit) largest(offered map[string]float64) string {
	names := slices.SortedFunc(maps.Keys(offered), func(x, y string) int {
		return cmp.Or(cmp.Compare(offered[y], offered[x]), cmp.Compare(x, y))
	})
	return v.vectors(names[:min(3, len(names))])
}
