package shield

import (
	"fmt"
	"slices"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// ThresholdOwner is the service that reports what the detection centre learned.
const ThresholdOwner = "thresholds"

// ProtectedAddressState is what people decided about an address beside its spec.
type ProtectedAddressState struct {
	Reviewed *Reviewed `json:"reviewed,omitempty" en:"Reviewed" zh:"已审阅"`
}

// Reviewed are thresholds of the draft that a person took over.
type Reviewed struct {
	Thresholds []Threshold `json:"thresholds" max:"16" en:"Thresholds" zh:"阈值"`
	At         time.Time   `json:"at" en:"At" zh:"时间"`
	By         string      `json:"by" max:"140" en:"By" zh:"审阅人"`
}

// Thresholds are those that a person took over; of a nil state there are none.
func (s *ProtectedAddressState) Thresholds() []Threshold {
	if s == nil || s.Reviewed == nil {
		return nil
	}
	return s.Reviewed.Thresholds
}

// ProtectedAddressStatus is what was learned of the traffic.
type ProtectedAddressStatus struct {
	Hours      int                `json:"hours" en:"Hours watched" zh:"已监测小时数" help:"Of the last seven days, attacks left out" help_zh:"最近七天内,不含攻击时段"`
	Thresholds []LearnedThreshold `json:"thresholds,omitempty" en:"Thresholds" zh:"阈值"`
}

// LearnedThreshold is the threshold of one vector, packets a second to each
// address.
type LearnedThreshold struct {
	Vector  string `json:"vector" en:"Vector" zh:"类型"`
	Usual   int    `json:"usual" en:"Usual" zh:"平时" help:"Packets a second: the 95th percentile of the busiest ten seconds of each hour, of the busiest address" help_zh:"每秒包数:最忙地址每小时最忙 10 秒的第 95 百分位"`
	Draft   int    `json:"draft" en:"Draft" zh:"草案" help:"The threshold that follows: five times what is usual, never below the floor" help_zh:"由此得出的阈值:平时的五倍,不低于下限"`
	InForce int    `json:"inForce" en:"In force" zh:"生效值"`
	Source  string `json:"source" en:"From" zh:"来源" help:"spec, reviewed, learned or floor" help_zh:"spec(规格)、reviewed(已审阅)、learned(学习)或 floor(下限)"`
}

// ReviewInput is what the verb review takes.
type ReviewInput struct {
	Thresholds []Threshold `json:"thresholds,omitempty" max:"16" en:"Thresholds" zh:"阈值" help:"Default: the whole draft as the status shows it" help_zh:"默认:状态中显示的完整草案"`
}

func thresholdVerbs() []resource.Verb {
	return []resource.Verb{
		resource.On(resource.Verb{Name: "review", Title: resource.T("Take over the draft", "采用草案"),
			Doc: resource.T("Puts the thresholds that were learned in force as they are now; they move no more by themselves. What the spec names stays as it says.", "按当前学习到的值固定阈值,此后不再自动变化;规格中列出的类型仍以规格为准。")}, review),
		resource.On(resource.Verb{Name: "unreview", Title: resource.T("Let thresholds follow the traffic", "恢复自动阈值"),
			Doc: resource.T("Drops what was taken over of the draft: thresholds are learned again.", "撤销已采用的草案,阈值恢复为学习得出。")},
			func(a resource.Act[ProtectedAddressSpec, ProtectedAddressState, resource.None]) error {
				if a.State.Reviewed == nil {
					return resource.Refuse("no draft was taken over", "尚未采用任何草案")
				}
				a.State.Reviewed = nil
				return nil
			}),
	}
}

func review(a resource.Act[ProtectedAddressSpec, ProtectedAddressState, ReviewInput]) error {
	list := slices.Clone(a.Input.Thresholds)
	if len(list) == 0 {
		st, _ := a.Status.(*ProtectedAddressStatus)
		if st == nil || st.Hours == 0 {
			return resource.Refuse("there is no draft yet: an hour without an attack has to be watched first", "尚无草案:须先监测满一小时且无攻击")
		}
		for _, t := range st.Thresholds {
			list = append(list, Threshold{Vector: t.Vector, Packets: max(t.Draft, 1)})
		}
	}
	once(list, "input.thresholds", a.Report)
	a.State.Reviewed = &Reviewed{Thresholds: list, At: a.Time, By: a.Actor.String()}
	return nil
}

// once refuses a vector that is named twice.
func once(list []Threshold, path string, r *resource.Report) {
	seen := map[string]bool{}
	for i, t := range list {
		if seen[t.Vector] {
			r.Add(fmt.Sprintf("%s[%d].vector", path, i), "%q is given twice", "%q 重复", t.Vector)
		}
		seen[t.Vector] = true
	}
}

// settleProtected drops what was taken over of another network's traffic.
func settleProtected(old, next *resource.Object) any {
	if old == nil || old.Spec.(*ProtectedAddressSpec).Prefix != next.Spec.(*ProtectedAddressSpec).Prefix {
		return new(ProtectedAddressState)
	}
	return old.State
}

// thresholds says in a word where the thresholds come from.
func thresholds(o *resource.Object) string {
	word := "floor"
	if st, ok := o.Status.(*ProtectedAddressStatus); ok && st != nil && st.Hours > 0 {
		word = fmt.Sprintf("learned, %d h", st.Hours)
	}
	if s, ok := o.State.(*ProtectedAddressState); ok && s.Thresholds() != nil {
		word = "reviewed"
	}
	return word
}
