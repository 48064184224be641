package data

import (
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// ThirdPartyDutySpec is one share of an asset to somebody else: to whom, what
// for, what he owes, and until when (control 4.0-9).
type ThirdPartyDutySpec struct {
	Asset     string    `json:"asset" required:"true" format:"name" en:"Asset" zh:"数据资产" help:"Of the same tenant; the asset itself, not what lies in it" help_zh:"同一租户的资产;仅指该资产本身,不含其中的内容"`
	Recipient string    `json:"recipient" required:"true" max:"128" en:"Recipient" zh:"接收方" help:"One that the asset's type names" help_zh:"须为资产的数据类型所列的第三方"`
	Purpose   string    `json:"purpose" required:"true" max:"64" en:"Purpose" zh:"用途" help:"One that the asset's type names" help_zh:"须为资产的数据类型所列的用途"`
	Duty      string    `json:"duty" required:"true" max:"1024" en:"Duty" zh:"义务" help:"What the recipient owes, as in deletion at the end" help_zh:"接收方的义务,例如到期删除"`
	Ends      time.Time `json:"ends" required:"true" en:"Ends" zh:"结束" help:"From then on nothing is shared under it, and it is named as drift until it is deleted" help_zh:"此后不再允许据此共享;删除之前会被列为偏差"`
}

// ThirdPartyDuty declares the kind.
func ThirdPartyDuty() *resource.Kind {
	spec := func(o *resource.Object) *ThirdPartyDutySpec { return o.Spec.(*ThirdPartyDutySpec) }
	return resource.Define(resource.Kind{
		Name: "ThirdPartyDuty", Plural: "thirdpartyduties", Short: "duty", Scope: resource.ScopeTenant, Nav: "data",
		Title:   resource.T("Third-party duty", "第三方义务"),
		Doc:     resource.T("A share of an asset with its end and what the recipient owes. Data are shared under one that has not ended alone, for its recipient and purpose. Nobody can write one that class and type of the asset do not allow.", "一次资产共享及其期限和接收方义务。仅在未到期的记录之下,才能按其接收方和用途共享数据。资产的分类与类型不允许的共享无法创建。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("Asset", "数据资产"), Value: func(o *resource.Object) string { return spec(o).Asset }},
			{Title: resource.T("Recipient", "接收方"), Value: func(o *resource.Object) string { return spec(o).Recipient }},
			{Title: resource.T("Purpose", "用途"), Value: func(o *resource.Object) string { return spec(o).Purpose }},
			{Title: resource.T("Ends", "结束"), Value: func(o *resource.Object) string { return spec(o).Ends.UTC().Format(time.RFC3339) }},
		},
		Example: `kind: ThirdPartyDuty
metadata: {tenant: platform, name: carrier-2026}
spec: {asset: orders-db, recipient: carrier, purpose: fulfilment, duty: Deletes addresses 30 days after delivery, ends: 2027-06-30T00:00:00Z}
`,
		Sensitivity: resource.SensitivityTenant, ApprovalClass: resource.ApprovalImportant, Retention: resource.Forever,
	}, resource.Behaviour[ThirdPartyDutySpec]{
		Refs: func(m *resource.Metadata, s *ThirdPartyDutySpec) []resource.Reference {
			return []resource.Reference{{Path: "spec.asset", To: assetRef(m.Tenant, s.Asset)}}
		},
		Asset: func(m *resource.Metadata, s *ThirdPartyDutySpec) *resource.Asset {
			return &resource.Asset{Of: assetRef(m.Tenant, s.Asset)}
		},
		Share: func(m *resource.Metadata, s *ThirdPartyDutySpec) *resource.Share {
			return &resource.Share{Of: assetRef(m.Tenant, s.Asset), Recipient: s.Recipient, Purpose: s.Purpose, Ends: s.Ends}
		},
	})
}
