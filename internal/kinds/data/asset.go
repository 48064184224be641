package data

import (
	"strings"

	"github.com/dun-sec/dun/internal/core/resource"
)

// DataAssetSpec is a thing that is data, or holds data (controls 4.0-1, 4.0-3).
// Its class is the label dun.dev/class, or else that of its container.
type DataAssetSpec struct {
	Title     string   `json:"title,omitempty" max:"128" en:"Title" zh:"名称" help:"Name for people" help_zh:"供人阅读的名称"`
	Form      string   `json:"form" required:"true" enum:"container,content" en:"Form" zh:"形态" help:"container: holds others, as a bucket, disk or host does; content: is data itself" help_zh:"container:容器,如存储桶、磁盘或主机;content:数据本身"`
	What      string   `json:"what" required:"true" enum:"bucket,object,database,table,disk,host,backup,file,log,other" en:"What" zh:"种类"`
	Type      string   `json:"type,omitempty" format:"name" en:"Data type" zh:"数据类型" help:"Of the same tenant; without one nothing may be done to the data" help_zh:"同一租户的数据类型;未指定则不可对数据做任何处理"`
	Owner     string   `json:"owner" required:"true" max:"128" en:"Owner" zh:"所有者" help:"Who answers for it" help_zh:"负责人"`
	OwnerType string   `json:"ownerType" required:"true" enum:"customer,company" en:"Whose" zh:"归属" help:"customer or company" help_zh:"customer(客户)或 company(公司)"`
	Region    string   `json:"region,omitempty" max:"32" en:"Region" zh:"所在区域" help:"Where it lies; default that of the container" help_zh:"所在区域;默认同容器"`
	Location  string   `json:"location,omitempty" max:"512" en:"Location" zh:"位置" help:"Where in the region, as a path or URL" help_zh:"区域内的位置,例如路径或 URL"`
	Container string   `json:"container,omitempty" format:"name" en:"Container" zh:"容器" help:"Asset that it lies in, whose class it has where it has no label; it is never put into one of a lower level, and the container is not lowered below it" help_zh:"其所在的资产;无标签时取容器的分类。不能放入级别更低的容器,容器也不能降到其内容之下"`
	Sources   []string `json:"sources,omitempty" max:"64" each:"format:'name'" en:"Sources" zh:"来源" help:"Assets that it was made from; it has the highest of their classes" help_zh:"派生自哪些资产;取其中最高的分类"`
}

// DataAsset declares the kind.
func DataAsset() *resource.Kind {
	spec := func(o *resource.Object) *DataAssetSpec { return o.Spec.(*DataAssetSpec) }
	return resource.Define(resource.Kind{
		Name: "DataAsset", Plural: "dataassets", Short: "asset", Scope: resource.ScopeTenant, Nav: "data",
		Title:   resource.T("Data asset", "数据资产"),
		Doc:     resource.T("Data, or something that holds data, with its class, type, owner and origin. Doors ask about it before they let data pass.", "数据或承载数据的对象,及其分类、类型、所有者和来源。数据通过各出口前均会据此判定。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("What", "种类"), Value: func(o *resource.Object) string { return spec(o).What }},
			{Title: resource.T("Class", "数据分类"), Value: func(o *resource.Object) string { return o.Metadata.Labels[resource.LabelClass] }},
			{Title: resource.T("Type", "数据类型"), Value: func(o *resource.Object) string { return spec(o).Type }},
			{Title: resource.T("Owner", "所有者"), Value: func(o *resource.Object) string { return spec(o).Owner }},
			{Title: resource.T("Region", "区域"), Value: func(o *resource.Object) string { return spec(o).Region }},
			{Title: resource.T("Container", "容器"), Wide: true, Value: func(o *resource.Object) string { return spec(o).Container }},
			{Title: resource.T("Sources", "来源"), Wide: true, Value: func(o *resource.Object) string { return strings.Join(spec(o).Sources, ",") }},
		},
		Example: `kind: DataAsset
metadata: {tenant: platform, name: orders-db}
spec: {form: container, what: database, type: customer-orders, owner: shop team, ownerType: customer, region: cn-north, location: db1/orders}
`,
		Sensitivity: resource.SensitivityTenant, ApprovalClass: resource.ApprovalNone, Retention: resource.Forever,
	}, resource.Behaviour[DataAssetSpec]{
		Validate: func(_ *resource.Metadata, s *DataAssetSpec, r *resource.Report) {
			if s.Region == "" && s.Container == "" {
				r.Add("spec.region", "name the region, or the container that it lies in", "请给出区域或所在容器")
			}
		},
		Refs: func(m *resource.Metadata, s *DataAssetSpec) []resource.Reference {
			out := line("DataAsset", m.Tenant, "spec.sources", s.Sources)
			if s.Container != "" {
				out = append(out, resource.Reference{Path: "spec.container", To: assetRef(m.Tenant, s.Container), Line: true})
			}
			if s.Type != "" {
				out = append(out, resource.Reference{Path: "spec.type", To: resource.Ref{Kind: "DataType", Tenant: m.Tenant, Name: s.Type}})
			}
			return out
		},
		Asset: func(m *resource.Metadata, s *DataAssetSpec) *resource.Asset {
			a := &resource.Asset{Region: s.Region}
			if s.Type != "" {
				a.Type = resource.Ref{Kind: "DataType", Tenant: m.Tenant, Name: s.Type}
			}
			if s.Container != "" {
				a.Container = assetRef(m.Tenant, s.Container)
			}
			for _, n := range s.Sources {
				a.Sources = append(a.Sources, assetRef(m.Tenant, n))
			}
			return a
		},
	})
}

func assetRef(tenant, name string) resource.Ref {
	return resource.Ref{Kind: "DataAsset", Tenant: tenant, Name: name}
}
