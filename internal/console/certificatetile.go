package console

import (
	"strconv"
	"strings"

	"github.com/dun-sec/dun/internal/console/part"
	"github.com/dun-sec/dun/internal/core/gate"
	"github.com/dun-sec/dun/internal/core/resource"
)

// certificateTile names the certificates that have expired or soon will; there
// is none where the visitor sees no certificate.
func (v *visit) certificateTile() (tile, bool) {
	k, err := v.c.opt.Gate.Registry().Kind(certificateKind)
	if err != nil {
		return tile{}, false
	}
	p, err := v.c.opt.Gate.List(v.r.Context(), v.actor, gate.ListOptions{Kind: k.Name, Tenant: gate.AllTenants, Limit: gate.MaxPage})
	if err != nil || len(p.Items) == 0 {
		return tile{}, false
	}
	by := map[string][]string{}
	for _, o := range p.Items {
		tree, err := resource.Tree(o)
		if err != nil {
			return tile{}, false
		}
		status, _ := tree["status"].(map[string]any)
		c := scalar(status["condition"])
		by[c] = append(by[c], o.Metadata.Tenant+"/"+o.Metadata.Name)
	}
	n := strconv.Itoa(len(p.Items))
	if p.Next != "" {
		n = "≥ " + n
	}
	t := tile{title: k.Title.In(v.lang), value: n, sub: v.t("all hold", "均有效"), href: listPath(k, ""), tone: part.Good}
	for _, s := range []struct {
		condition, en, zh string
		tone              part.Tone
	}{{"half", "without a key: ", "缺少私钥:", part.Warn}, {"expiring", "end soon: ", "即将到期:", part.Warn}, {"expired", "expired: ", "已过期:", part.Bad}} {
		if names := by[s.condition]; len(names) > 0 {
			t.sub, t.tone = v.t(s.en, s.zh)+strings.Join(names, ", "), s.tone // the worst stays
		}
	}
	return t, true
}
