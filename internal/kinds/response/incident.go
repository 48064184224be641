// Package response holds the kinds of what goes wrong and is looked into. It
// owns their words; who opens and follows them is govern's.
package response

import (
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// IncidentSpec is what happened, as it was first known.
type IncidentSpec struct {
	Title         string    `json:"title" required:"true" max:"256" en:"Title" zh:"标题"`
	Severity      string    `json:"severity" required:"true" enum:"low,medium,high,critical" en:"Severity" zh:"严重程度"`
	Cause         string    `json:"cause" required:"true" enum:"report,break-glass" en:"Cause" zh:"来源" help:"report: somebody tells of it; break-glass: an important change was made without approval" help_zh:"report:有人报告;break-glass:未经审批的重要更改"`
	ChangeRequest string    `json:"changeRequest,omitempty" max:"127" en:"Change request" zh:"变更请求" help:"Of a break-glass change, to be reviewed" help_zh:"应急更改的变更请求,待复核"`
	Detail        string    `json:"detail,omitempty" max:"4096" en:"Detail" zh:"详情"`
	Start         time.Time `json:"start" required:"true" en:"Start" zh:"开始"`
}

// IncidentState is how far it is.
type IncidentState struct {
	Phase   string     `json:"phase" en:"Phase" zh:"阶段" help:"open or closed" help_zh:"open 或 closed"`
	Closed  *time.Time `json:"closed,omitempty" en:"Closed" zh:"关闭时间"`
	By      string     `json:"by,omitempty" en:"Closed by" zh:"关闭人"`
	Outcome string     `json:"outcome,omitempty" en:"Outcome" zh:"结论"`
}

// CloseInput is what close takes.
type CloseInput struct {
	Outcome string `json:"outcome" required:"true" max:"4096" en:"Outcome" zh:"结论" help:"What it was, and what was done" help_zh:"原因及处置"`
}

// Incident declares the kind.
func Incident() *resource.Kind {
	state := func(o *resource.Object) *IncidentState {
		if s, ok := o.State.(*IncidentState); ok && s != nil {
			return s
		}
		return &IncidentState{}
	}
	return resource.Define(resource.Kind{
		Name: "Incident", Plural: "incidents", Short: "incident", Scope: resource.ScopeTenant, Nav: "response",
		Title:   resource.T("Incident", "安全事件"),
		Doc:     resource.T("Something that went wrong and is looked into until it is closed. A break-glass change opens one in its own transaction.", "需要调查直至关闭的安全事件。应急更改会在同一事务中开启一个事件。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("Title", "标题"), Value: func(o *resource.Object) string { return o.Spec.(*IncidentSpec).Title }},
			{Title: resource.T("Severity", "严重程度"), Value: func(o *resource.Object) string { return o.Spec.(*IncidentSpec).Severity }},
			{Title: resource.T("Phase", "阶段"), Value: func(o *resource.Object) string { return state(o).Phase }},
		},
		Example: `kind: Incident
metadata: {tenant: platform, name: odd-logins}
spec: {title: Odd logins at night, severity: medium, cause: report, start: 2026-11-25T02:00:00Z}
`,
		Own: true, Sensitivity: resource.SensitivityStaff, ApprovalClass: resource.ApprovalNone, Retention: resource.Forever,
		NewState: func() any { return &IncidentState{Phase: "open"} },
		Verbs: []resource.Verb{resource.On(
			resource.Verb{Name: "close", Title: resource.T("Close", "关闭"), Doc: resource.T("Says what it was and what was done.", "说明原因及处置。")},
			func(a resource.Act[IncidentSpec, IncidentState, CloseInput]) error {
				if a.State.Phase == "closed" {
					return resource.Refuse("it is closed already", "已经关闭")
				}
				at := a.Time
				a.State.Phase, a.State.Closed, a.State.By, a.State.Outcome = "closed", &at, a.Actor.String(), a.Input.Outcome
				return nil
			})},
	}, resource.Behaviour[IncidentSpec]{})
}
