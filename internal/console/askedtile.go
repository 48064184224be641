package console

import (
	"strconv"

	"github.com/dun-sec/dun/internal/console/part"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
)

// askedTile counts the changes that wait for approval, as far as the visitor
// may see them; while one person runs the cell it says that nobody is asked.
func (v *visit) askedTile() (tile, bool) {
	for _, k := range v.c.opt.Gate.Registry().All() {
		if !v.c.opt.Gate.AsksAssent(k.Name) {
			continue
		}
		p, err := v.c.opt.Gate.List(v.r.Context(), v.actor, gate.ListOptions{Kind: k.Name, Tenant: gate.AllTenants, Limit: gate.MaxPage, Outline: true})
		if err != nil {
			return tile{}, false
		}
		phases := map[string]int{}
		for _, o := range p.Items {
			tree, err := resource.Tree(o)
			if err != nil {
				return tile{}, false
			}
			state, _ := tree["state"].(map[string]any)
			phases[scalar(state["phase"])]++
		}
		t := tile{title: v.t("Approvals", "审批"), value: strconv.Itoa(phases["open"]), sub: v.t("changes wait for assent", "项更改等待审批"), href: listPath(k, ""), tone: part.Plain}
		switch {
		case phases["glass"] > 0:
			t.sub, t.tone = v.t("made without approval, to be reviewed: ", "未经审批,待复核:")+strconv.Itoa(phases["glass"]), part.Bad
		case phases["open"] > 0:
			t.tone = part.Warn
		case v.c.opt.Gate.Founding() && v.c.opt.Gate.MayAny(v.actor, "status.read", resource.Platform):
			t.sub, t.tone = v.t("off: one founder. See dun admin founder", "未启用:仅一位创始人。见 dun admin founder"), part.Warn
		}
		return t, true
	}
	return tile{}, false
}
