package data

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/dun-sec/dun/internal/core/resource"
)

// DataTypeSpec says what may be done to data of one type, where, by whom, what
// for, and by which law and contract (controls 4.0-4 to 4.0-9).
type DataTypeSpec struct {
	Title        string            `json:"title" required:"true" max:"128" en:"Title" zh:"名称" help:"Name for people" help_zh:"供人阅读的名称"`
	Class        string            `json:"class,omitempty" format:"name" en:"Class" zh:"数据分类" help:"The lowest class that an asset of the type can have; default production" help_zh:"此类型资产的最低分类;默认 production"`
	Processing   []string          `json:"processing" required:"true" min:"1" max:"8" each:"enum:'read,process,copy,export,print,share,delete'" en:"Permitted processing" zh:"允许的处理"`
	Origin       string            `json:"origin,omitempty" max:"16" en:"Jurisdiction of origin" zh:"来源法域" help:"As in CN or DE" help_zh:"例如 CN 或 DE"`
	Regions      []string          `json:"regions" required:"true" min:"1" max:"64" each:"max:'32'" en:"Regions of data" zh:"数据所在区域" help:"Where the data may be; as in cn-north or DE" help_zh:"数据可存放的区域,例如 cn-north 或 DE"`
	AdminRegions []string          `json:"adminRegions" required:"true" min:"1" max:"64" each:"max:'32'" en:"Regions of administrators" zh:"管理员所在区域" help:"From where it may be handled" help_zh:"可由何处处理"`
	Purposes     []string          `json:"purposes" required:"true" min:"1" max:"32" each:"max:'64'" en:"Purposes" zh:"用途" help:"What it may be used for, as the caller declares it" help_zh:"可用于何种用途,由调用者声明"`
	Before       []string          `json:"before,omitempty" max:"32" each:"format:'name'" en:"Made from" zh:"来源类型" help:"Types that it is derived from" help_zh:"派生自哪些数据类型"`
	Laws         []Law             `json:"laws,omitempty" max:"32" en:"Laws" zh:"法律约束"`
	Contracts    []Clause          `json:"contracts,omitempty" max:"32" en:"Contracts" zh:"合同约束"`
	ThirdParties []string          `json:"thirdParties,omitempty" max:"64" each:"max:'128'" en:"Third parties" zh:"第三方" help:"To whom it may be shared; empty = to nobody" help_zh:"可共享给谁;空 = 不可共享"`
	RetentionMin resource.Duration `json:"retentionMin,omitempty" en:"Kept at least" zh:"最短保留" help:"Default: no minimum" help_zh:"默认:无下限"`
	RetentionMax resource.Duration `json:"retentionMax,omitempty" en:"Kept at most" zh:"最长保留" help:"Default: no maximum. What is older is named as drift, unless a legal hold keeps it" help_zh:"默认:无上限。超期者会被列为偏差,受法律保全者除外"`
}

// Law is what a law asks of a type of data.
type Law struct {
	Name   string   `json:"name" required:"true" max:"64" en:"Law" zh:"法律" help:"As in PIPL-38 or GDPR-17" help_zh:"例如 PIPL-38 或 GDPR-17"`
	Text   string   `json:"text,omitempty" max:"1024" en:"What it asks" zh:"要求"`
	Forbid []string `json:"forbid,omitempty" max:"8" each:"enum:'read,process,copy,export,print,share,delete'" en:"Forbids" zh:"禁止的处理"`
}

// Clause is what a contract asks of a type of data.
type Clause struct {
	Name   string     `json:"name" required:"true" max:"64" en:"Clause" zh:"条款"`
	Party  string     `json:"party" required:"true" max:"128" en:"Party" zh:"缔约方"`
	Text   string     `json:"text,omitempty" max:"1024" en:"What it asks" zh:"要求"`
	Forbid []string   `json:"forbid,omitempty" max:"8" each:"enum:'read,process,copy,export,print,share,delete'" en:"Forbids" zh:"禁止的处理"`
	Due    *time.Time `json:"due,omitempty" en:"Due" zh:"到期" help:"When the duty has to be done, as in deletion after the end. Later it is named as drift while assets of the type are there and the clause stands" help_zh:"义务的履行期限,例如合同结束后的删除。逾期后,只要仍有此类型的资产且条款仍在,即被列为偏差"`
}

var lawForm = regexp.MustCompile(`^[\pL\pN][\pL\pN ._()/-]*$`)

// DataType declares the kind.
func DataType() *resource.Kind {
	spec := func(o *resource.Object) *DataTypeSpec { return o.Spec.(*DataTypeSpec) }
	return resource.Define(resource.Kind{
		Name: "DataType", Plural: "datatypes", Short: "datatype", Scope: resource.ScopeTenant, Nav: "data",
		Title:   resource.T("Data type", "数据类型"),
		Doc:     resource.T("What may be done to data of a type, where and what for, and what law, contract and third parties ask. Every decision about an asset of the type knows it.", "某类数据可做何种处理、在何处、用于何种用途,以及法律、合同和第三方的要求。对此类资产的每次判定都会考虑这些内容。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("Title", "名称"), Value: func(o *resource.Object) string { return spec(o).Title }},
			{Title: resource.T("Class", "数据分类"), Value: func(o *resource.Object) string { return spec(o).Class }},
			{Title: resource.T("Processing", "允许的处理"), Value: func(o *resource.Object) string { return strings.Join(spec(o).Processing, ",") }},
			{Title: resource.T("Regions", "区域"), Value: func(o *resource.Object) string { return strings.Join(spec(o).Regions, ",") }},
		},
		Example: `kind: DataType
metadata: {tenant: platform, name: customer-orders}
spec:
  title: Orders of customers
  processing: [read, process, share, delete]
  regions: [cn-north]
  adminRegions: [cn-north]
  purposes: [fulfilment]
  thirdParties: [carrier]
  laws: [{name: PIPL-38, text: Leaves the country after an assessment only, forbid: [export]}]
  retentionMin: 365d
`,
		Sensitivity: resource.SensitivityTenant, ApprovalClass: resource.ApprovalImportant, Retention: resource.Forever,
	}, resource.Behaviour[DataTypeSpec]{
		Validate: validateType,
		Refs: func(m *resource.Metadata, s *DataTypeSpec) []resource.Reference {
			return append(classRef("spec.class", s.Class, false), line("DataType", m.Tenant, "spec.before", s.Before)...)
		},
		Terms: termsOf,
	})
}

func validateType(_ *resource.Metadata, s *DataTypeSpec, r *resource.Report) {
	if s.RetentionMin < 0 || s.RetentionMax < 0 || s.RetentionMax > 0 && s.RetentionMin > s.RetentionMax {
		r.Add("spec.retentionMax", "want times with the minimum below the maximum", "应为有效时长,且下限不大于上限")
	}
	for i, l := range s.Laws {
		if !lawForm.MatchString(l.Name) {
			r.Add(fmt.Sprintf("spec.laws[%d].name", i), "name the law and its article, as in GDPR-17", "请写明法律及条款,例如 GDPR-17")
		}
	}
}

func termsOf(_ *resource.Metadata, s *DataTypeSpec) *resource.Terms {
	t := &resource.Terms{
		Class: s.Class, Processing: s.Processing, Regions: s.Regions, AdminRegions: s.AdminRegions, Purposes: s.Purposes, ThirdParties: s.ThirdParties,
		RetentionMin: time.Duration(s.RetentionMin), RetentionMax: time.Duration(s.RetentionMax),
	}
	for _, l := range s.Laws {
		t.Laws, t.Unlawful = append(t.Laws, l.Name), append(t.Unlawful, l.Forbid...)
	}
	for _, c := range s.Contracts {
		t.Contracts, t.Breaches = append(t.Contracts, c.Name), append(t.Breaches, c.Forbid...)
	}
	return t
}

// line lists references of a kind to itself that may not come back.
func line(kind, tenant, path string, names []string) (out []resource.Reference) {
	for i, n := range names {
		out = append(out, resource.Reference{Path: fmt.Sprintf("%s[%d]", path, i), To: resource.Ref{Kind: kind, Tenant: tenant, Name: n}, Line: true})
	}
	return out
}
