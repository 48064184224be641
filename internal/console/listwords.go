package console

import (
	"github.com/dun-sec/dun/internal/console/part"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
)

func emptyList(v *visit, t *table) string {
	if t.narrowed() {
		return v.t("Nothing matches this filter.", "没有匹配此筛选条件的记录。")
	}
	return v.t("There is none that you may see.", "没有您可查看的记录。")
}

// bulkActions are what can be done to several records at once: verbs without
// input among them.
func bulkActions(v *visit, k *resource.Kind) []part.Option {
	out := []part.Option{{Value: "label", Text: v.t("Label", "打标签")}, {Value: "delete", Text: v.t("Delete", "删除")}}
	for i := range k.Verbs {
		if k.Verbs[i].ForPeople() && len(k.Verbs[i].Inputs()) == 0 {
			out = append(out, part.Option{Value: "verb:" + k.Verbs[i].Name, Text: k.Verbs[i].Title.In(v.lang)})
		}
	}
	return out
}

// group names a navigation group (design section 4); one that is new has its
// own name until somebody translates it.
func group(nav string) text.Text {
	known := map[string]text.Text{
		"edge": text.T("Edge", "边缘"), "access": text.T("Access", "访问"), "system": text.T("System", "系统"), "shield": text.T("Shield", "防护"),
		"assurance": text.T("Assurance", "合规"), "build": text.T("Build", "构建"), "continuity": text.T("Continuity", "连续性"), "data": text.T("Data", "数据"),
		"host": text.T("Hosts", "主机"), "network": text.T("Network", "网络"), "place": text.T("Places", "场所"), "response": text.T("Response", "响应"),
	}
	if t, ok := known[nav]; ok {
		return t
	}
	if nav == "" {
		return text.T("Other", "其他")
	}
	return text.T(nav, nav)
}

// navGroup is one group of the navigation with its kinds.
type navGroup struct {
	name  text.Text
	kinds []*resource.Kind
}

// groups orders the kinds as they are registered, by group.
func (c *Console) groups() []navGroup {
	var out []navGroup
	at := map[string]int{}
	for _, k := range c.opt.Gate.Registry().All() {
		i, ok := at[k.Nav]
		if !ok {
			i = len(out)
			at[k.Nav], out = i, append(out, navGroup{name: group(k.Nav)})
		}
		out[i].kinds = append(out[i].kinds, k)
	}
	return out
}

// toasts are what a page may say about what was just done.
func (v *visit) toast() string {
	switch v.r.URL.Query().Get("done") {
	case "saved":
		return v.t("Saved.", "已保存。")
	case "created":
		return v.t("Created.", "已创建。")
	case "deleted":
		return v.t("Deleted.", "已删除。")
	case "done":
		return v.t("Done.", "已完成。")
	}
	return ""
}
