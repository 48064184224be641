package console

import (
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// thresholdsView is what was learned of a protected address, ready to be shown.
type thresholdsView struct {
	hours string
	rows  []thresholdRow
	by    string // who took over the draft; "" = nobody
	at    time.Time
}

type thresholdRow struct {
	vector, source        string
	usual, draft, inForce float64
}

// thresholdsOf is nil for other kinds, and while nothing was reported.
func thresholdsOf(k *resource.Kind, o *resource.Object) (*thresholdsView, error) {
	if k.Name != protectedKind {
		return nil, nil
	}
	all, err := resource.Tree(o)
	if err != nil {
		return nil, err
	}
	status, reviewed := tree(all).in("status"), tree(all).in("state").in("reviewed")
	list, _ := status["thresholds"].([]any)
	if len(list) == 0 {
		return nil, nil
	}
	out := &thresholdsView{hours: status.text("hours"), by: reviewed.text("by"), at: reviewed.time("at")}
	for _, x := range list {
		if m, ok := x.(map[string]any); ok {
			t := tree(m)
			out.rows = append(out.rows, thresholdRow{t.text("vector"), t.text("source"), t.number("usual"), t.number("draft"), t.number("inForce")})
		}
	}
	return out, nil
}

// says reports whether the card shows a field already.
func (t *thresholdsView) says(path string) bool {
	return strings.HasPrefix(path, "status.thresholds") || strings.HasPrefix(path, "state.reviewed") || path == "status.hours"
}

// source says where a threshold comes from; the list is closed (core/traffic).
func (v *visit) source(word string) string {
	switch word {
	case "spec":
		return v.t("the record", "记录")
	case "reviewed":
		return v.t("reviewed", "已审阅")
	case "learned":
		return v.t("learned", "学习")
	case "floor":
		return v.t("the floor", "下限")
	}
	return clean(word, clipCell)
}
