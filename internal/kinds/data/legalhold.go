package data

import (
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// LegalHoldSpec keeps records from being deleted and their history from being
// erased (control 4.0-7).
type LegalHoldSpec struct {
	Matter string            `json:"matter" required:"true" max:"256" en:"Matter" zh:"事由"`
	Law    string            `json:"law" required:"true" max:"64" en:"Law" zh:"法律依据" help:"By which it is ordered, as in FRCP-37" help_zh:"依据的法律,例如 CSL-28"`
	Kinds  []string          `json:"kinds,omitempty" max:"64" each:"max:'64'" en:"Kinds" zh:"类型" help:"As in DataAsset; empty = any" help_zh:"例如 DataAsset;空 = 任意"`
	Names  []string          `json:"names,omitempty" max:"256" each:"format:'name'" en:"Names" zh:"名称" help:"Of records; empty = any" help_zh:"记录名称;空 = 任意"`
	Labels map[string]string `json:"labels,omitempty" en:"Labels" zh:"标签" help:"That the record has; empty = any" help_zh:"记录具有的标签;空 = 任意"`
}

// LegalHoldState says whether it holds.
type LegalHoldState struct {
	Lifted *time.Time `json:"lifted,omitempty" en:"Lifted" zh:"解除时间"`
	By     string     `json:"by,omitempty" en:"Lifted by" zh:"解除人"`
	Reason string     `json:"reason,omitempty" en:"Reason" zh:"理由"`
}

// LiftInput is what lift takes.
type LiftInput struct {
	Reason string `json:"reason" required:"true" max:"1024" en:"Reason" zh:"理由"`
}

// LegalHold declares the kind.
func LegalHold() *resource.Kind {
	spec := func(o *resource.Object) *LegalHoldSpec { return o.Spec.(*LegalHoldSpec) }
	return resource.Define(resource.Kind{
		Name: "LegalHold", Plural: "legalholds", Short: "hold", Scope: resource.ScopeTenant, Nav: "data",
		Title:   resource.T("Legal hold", "法律保全"),
		Doc:     resource.T("Keeps what it selects in its tenant from deletion and erasure until it is lifted. Placing one needs nobody; lifting, changing and deleting one waits for approval.", "在解除之前,禁止删除和抹除其所选的本租户记录。设置无需审批;解除、更改和删除须审批。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("Matter", "事由"), Value: func(o *resource.Object) string { return spec(o).Matter }},
			{Title: resource.T("Law", "法律依据"), Value: func(o *resource.Object) string { return spec(o).Law }},
			{Title: resource.T("Selects", "范围"), Value: func(o *resource.Object) string {
				return strings.Join(append(spec(o).Kinds[:len(spec(o).Kinds):len(spec(o).Kinds)], spec(o).Names...), ",")
			}},
			{Title: resource.T("Lifted", "解除时间"), Value: func(o *resource.Object) string {
				if s := holdState(o); s.Lifted != nil {
					return s.Lifted.UTC().Format(time.RFC3339)
				}
				return ""
			}},
		},
		Example: `kind: LegalHold
metadata: {tenant: platform, name: case-2026-17}
spec: {matter: Dispute on an order, law: CSL-28, kinds: [DataAsset], names: [orders-db]}
`,
		Sensitivity: resource.SensitivityStaff, ApprovalClass: resource.ApprovalImportant, Retention: resource.Forever,
		NewState: func() any { return &LegalHoldState{} },
		Verbs: []resource.Verb{resource.On(
			resource.Verb{Name: "lift", Title: resource.T("Lift", "解除"), Doc: resource.T("Lets go what it held; it stays as a record.", "解除保全;记录保留。")},
			func(a resource.Act[LegalHoldSpec, LegalHoldState, LiftInput]) error {
				if a.State.Lifted != nil {
					return resource.Refuse("it was lifted already", "已经解除")
				}
				at := a.Time
				*a.State = LegalHoldState{Lifted: &at, By: a.Actor.String(), Reason: a.Input.Reason}
				return nil
			})},
	}, resource.Behaviour[LegalHoldSpec]{
		Validate: func(_ *resource.Metadata, s *LegalHoldSpec, r *resource.Report) {
			if len(s.Kinds) == 0 && len(s.Names) == 0 && len(s.Labels) == 0 {
				r.Add("spec.kinds", "say what it holds: kinds, names or labels", "请指明范围:kinds、names 或 labels")
			}
		},
		Holds: func(o *resource.Object) *resource.Hold {
			if holdState(o).Lifted != nil {
				return nil
			}
			s := spec(o)
			return &resource.Hold{Tenant: o.Metadata.Tenant, Kinds: s.Kinds, Names: s.Names, Labels: s.Labels, Law: s.Law}
		},
	})
}

func holdState(o *resource.Object) *LegalHoldState {
	if s, ok := o.State.(*LegalHoldState); ok && s != nil {
		return s
	}
	return &LegalHoldState{}
}
