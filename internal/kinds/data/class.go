// Package data holds the kinds that say what data there are and what may be
// done to them: classes, types, assets, legal holds and shares. It owns their
// words and validation; what follows of them is decided in core/policy.
package data

import (
	"fmt"
	"strings"

	"github.com/dun-sec/dun/internal/core/resource"
)

// DataClassSpec is a class of data. Its name is what the label dun.dev/class
// says (controls 1-3, 1-4).
type DataClassSpec struct {
	Title    string   `json:"title" required:"true" max:"128" en:"Title" zh:"名称" help:"Name for people" help_zh:"供人阅读的名称"`
	Level    int      `json:"level" required:"true" min:"1" max:"4" en:"Level" zh:"级别" help:"1 = public, 4 = highest; never below that of the parent" help_zh:"1 = 公开,4 = 最高;不低于上级分类的级别"`
	Parent   string   `json:"parent,omitempty" format:"name" en:"Parent" zh:"上级分类" help:"A class that this one is part of" help_zh:"此分类所属的分类"`
	Handling []string `json:"handling,omitempty" max:"8" each:"enum:'read,process,copy,export,print,share,delete'" en:"Handling" zh:"可做的处理" help:"What may be done to data of the class at all; empty = nothing" help_zh:"对此类数据可做的处理;空 = 均不可"`
	Assent   []string `json:"assent,omitempty" max:"8" each:"enum:'read,process,copy,export,print,share,delete'" en:"With assent" zh:"经批准可做的处理" help:"What may be done by an approved change request alone" help_zh:"仅经已批准的变更请求可做的处理"`
}

// DataClass declares the kind.
func DataClass() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "DataClass", Plural: "dataclasses", Short: "class", Scope: resource.ScopePlatform, Nav: "data",
		Title:   resource.T("Data class", "数据分类"),
		Doc:     resource.T("A class of data with its level of protection. Whatever has no label dun.dev/class is of class production, the highest.", "数据的分类及其保护级别。没有 dun.dev/class 标签的均属最高分类 production。"),
		Version: 1,
		Columns: []resource.Column{
			{Title: resource.T("Title", "名称"), Value: func(o *resource.Object) string { return o.Spec.(*DataClassSpec).Title }},
			{Title: resource.T("Level", "级别"), Value: func(o *resource.Object) string { return fmt.Sprint(o.Spec.(*DataClassSpec).Level) }},
			{Title: resource.T("Parent", "上级分类"), Value: func(o *resource.Object) string { return o.Spec.(*DataClassSpec).Parent }},
			{Title: resource.T("Handling", "可做的处理"), Wide: true, Value: func(o *resource.Object) string { return strings.Join(o.Spec.(*DataClassSpec).Handling, ",") }},
		},
		Example: `kind: DataClass
metadata: {tenant: platform, name: partners}
spec: {title: Shared with partners, level: 2, handling: [read, copy, share]}
`,
		Sensitivity: resource.SensitivityPublic, ApprovalClass: resource.ApprovalPolicy, Retention: resource.Forever, NodeRoles: []string{"edge"},
	}, resource.Behaviour[DataClassSpec]{
		Validate: func(m *resource.Metadata, s *DataClassSpec, r *resource.Report) {
			if m.Name == resource.HighestClass && (s.Level != resource.HighestLevel || s.Parent != "") {
				r.Add("spec.level", "%s is the highest class: level %d, without a parent", "%s 为最高分类:级别 %d,无上级", m.Name, resource.HighestLevel)
			}
		},
		Refs: func(_ *resource.Metadata, s *DataClassSpec) []resource.Reference {
			return classRef("spec.parent", s.Parent, true)
		},
		Class: func(_ *resource.Metadata, s *DataClassSpec) *resource.Class {
			return &resource.Class{Level: s.Level, Parent: s.Parent, Handling: s.Handling, Assent: s.Assent}
		},
	})
}

func classRef(path, name string, line bool) []resource.Reference {
	if name == "" {
		return nil
	}
	return []resource.Reference{{Path: path, To: resource.Ref{Kind: "DataClass", Tenant: resource.Platform, Name: name}, Line: line}}
}
