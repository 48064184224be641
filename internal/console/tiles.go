package console

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dun-sec/dun/internal/console/part"
	"github.com/dun-sec/dun/internal/core/assurance"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
)

// attackKind is shown on the first page once it is registered.
const attackKind = "Attack"

// tile is one figure of the first page.
type tile struct {
	title, value, sub, href string
	tone                    part.Tone
}

// tiles are what the visitor may know of the cell at a glance.
func (v *visit) tiles() []tile {
	var out []tile
	if s, ok := v.status(); ok {
		behind := 0
		for _, n := range s.Nodes {
			if n.LagMs > 0 || n.Revision < s.Revision {
				behind++
			}
		}
		t := tile{title: v.t("Enforcement", "执行情况"), value: strconv.Itoa(len(s.Nodes)-behind) + "/" + strconv.Itoa(len(s.Nodes)), sub: v.t("nodes at the current revision", "个节点处于当前修订"), tone: part.Good}
		if behind > 0 {
			t.tone = part.Warn
		}
		for _, r := range s.Roles {
			if r.State != "enforcing" && r.State != "off" {
				t.sub, t.tone = r.Name+": "+r.State, part.Bad
			}
		}
		out = append(out, t)
	}
	out = append(out, v.postureTiles()...)
	if t, ok := v.attackTile(); ok {
		out = append(out, t)
	}
	if t, ok := v.askedTile(); ok {
		out = append(out, t)
	}
	if t, ok := v.certificateTile(); ok {
		out = append(out, t)
	}
	return out
}

func (v *visit) postureTiles() []tile {
	if v.c.opt.Checks == nil || !v.c.opt.Gate.MayAny(v.actor, "posture.read", resource.Platform) {
		return nil
	}
	proved, failed, never := 0, []string{}, 0
	for _, e := range v.c.opt.Checks.List() {
		switch {
		case e.Last == nil:
			never++
		case e.Last.State == assurance.Proved:
			proved++
		default:
			failed = append(failed, e.Control)
		}
	}
	t := tile{title: v.t("Controls proved", "已证明的控制项"), value: strconv.Itoa(proved) + "/" + strconv.Itoa(proved+len(failed)+never), tone: part.Good, sub: v.t("every check that ran holds", "已运行的检查全部通过")}
	if never > 0 {
		t.sub, t.tone = strconv.Itoa(never)+v.t(" not tried since the start", " 项自启动以来未检查"), part.Plain
	}
	if len(failed) > 0 {
		t.sub, t.tone = v.t("failed: ", "失败:")+strings.Join(failed, ", "), part.Bad
	}
	return []tile{t}
}

func (v *visit) attackTile() (tile, bool) {
	k, err := v.c.opt.Gate.Registry().Kind(attackKind)
	if err != nil {
		return tile{}, false
	}
	p, err := v.c.opt.Gate.List(v.r.Context(), v.actor, gate.ListOptions{Kind: k.Name, Tenant: gate.AllTenants, Limit: gate.DefaultPage})
	if err != nil {
		return tile{}, false
	}
	lasting := 0
	for _, o := range p.Items {
		tree, err := resource.Tree(o)
		if err != nil {
			return tile{}, false
		}
		if state, _ := tree["state"].(map[string]any); state["end"] == nil {
			lasting++
		}
	}
	n := strconv.Itoa(len(p.Items))
	if p.Next != "" {
		n = "≥ " + n
	}
	t := tile{title: k.Title.In(v.lang), value: n, sub: v.t("none under way", "当前没有进行中的攻击"), href: listPath(k, ""), tone: part.Plain}
	if lasting > 0 {
		t.sub, t.tone = v.t("under way: ", "进行中:")+strconv.Itoa(lasting), part.Bad
	}
	return t, true
}

// span is how many seconds of traffic the first page shows.
const span = 120

// requestRates keeps the rates of the last two minutes; it samples only while
// somebody looks, at most once a second.
type requestRates struct {
	mu             sync.Mutex
	at             time.Time
	requests, bad  uint64
	rates, refused []float64
}

// sample takes the counters when a second has passed.
func (t *requestRates) sample(now time.Time, read func() (uint64, uint64)) (taken bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	passed := now.Sub(t.at).Seconds()
	if passed < 1 && passed >= 0 {
		return false
	}
	requests, bad := read()
	if !t.at.IsZero() && passed > 0 && passed < span {
		for range max(1, int(passed)) {
			t.rates = append(t.rates, float64(requests-min(requests, t.requests))/passed)
			t.refused = append(t.refused, float64(bad-min(bad, t.bad))/passed)
		}
	} else {
		t.rates, t.refused = nil, nil
	}
	t.rates, t.refused = t.rates[max(0, len(t.rates)-span):], t.refused[max(0, len(t.refused)-span):]
	t.at, t.requests, t.bad = now, requests, bad
	return true
}

// points are both rates, oldest first, for the chart, and the newest of each.
func (t *requestRates) points() (points string, rate, refused float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	write := func(list []float64) string {
		list = slices.Concat(make([]float64, span-len(list)), list)
		var b []string
		for _, x := range list {
			b = append(b, strconv.FormatFloat(x, 'f', 1, 64))
		}
		return strings.Join(b, ",")
	}
	if n := len(t.rates); n > 0 {
		rate, refused = t.rates[n-1], t.refused[n-1]
	}
	return write(t.rates) + ";" + write(t.refused), rate, refused
}
