package resource_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
)

func TestAnIncompleteDeclarationIsRefused(t *testing.T) {
	type unlabelled struct {
		A string `json:"a"`
	}
	type half struct {
		A string `json:"a" en:"A"`
	}
	type nested struct {
		A []half `json:"a" en:"A" zh:"甲"`
	}
	type odd struct {
		A float64 `json:"a" en:"A" zh:"甲"`
	}
	type oddInside struct {
		A map[string][]odd `json:"a" en:"A" zh:"甲"`
	}
	type keys struct {
		A map[int]string `json:"a" en:"A" zh:"甲"`
	}
	define := func(change func(*resource.Kind)) *resource.Kind {
		d := declaration()
		change(&d)
		return resource.Define(d, resource.Behaviour[thingSpec]{})
	}
	for name, tt := range map[string]struct {
		kind *resource.Kind
		want string
	}{
		"name":          {define(func(k *resource.Kind) { k.Name = "" }), "name, plural, short and nav"},
		"plural":        {define(func(k *resource.Kind) { k.Plural = "" }), "name, plural, short and nav"},
		"short":         {define(func(k *resource.Kind) { k.Short = "" }), "name, plural, short and nav"},
		"nav":           {define(func(k *resource.Kind) { k.Nav = "" }), "name, plural, short and nav"},
		"plural's form": {define(func(k *resource.Kind) { k.Plural = "Things" }), "path segments"},
		"short's form":  {define(func(k *resource.Kind) { k.Short = "a/b" }), "path segments"},
		"reserved":      {define(func(k *resource.Kind) { k.Plural = "audit" }), "reserved"},
		"title":         {define(func(k *resource.Kind) { k.Title = text.T("", "东西") }), "title and doc"},
		"title zh":      {define(func(k *resource.Kind) { k.Title = text.T("Thing", "") }), "title and doc"},
		"doc":           {define(func(k *resource.Kind) { k.Doc = text.T("", "一") }), "title and doc"},
		"doc zh":        {define(func(k *resource.Kind) { k.Doc = text.T("A thing.", "") }), "title and doc"},
		"scope":         {define(func(k *resource.Kind) { k.Scope = "" }), "scope"},
		"version":       {define(func(k *resource.Kind) { k.Version = 0 }), "version"},
		"no upgrade":    {define(func(k *resource.Kind) { k.Version = 2 }), "upgrade"},
		"an upgrade of nothing": {define(func(k *resource.Kind) {
			k.Upgrade = func(int, json.RawMessage) (json.RawMessage, error) { return nil, nil }
		}), "upgrade"},
		"example":         {define(func(k *resource.Kind) { k.Example = "" }), "example"},
		"columns":         {define(func(k *resource.Kind) { k.Columns = nil }), "columns"},
		"sensitivity":     {define(func(k *resource.Kind) { k.Sensitivity = "" }), "sensitivity"},
		"approval class":  {define(func(k *resource.Kind) { k.ApprovalClass = "" }), "approval class"},
		"column's title":  {define(func(k *resource.Kind) { k.Columns[0].Title.Zh = "" }), "column"},
		"column's value":  {define(func(k *resource.Kind) { k.Columns[0].Value = nil }), "column"},
		"not defined":     {func() *resource.Kind { k := declaration(); return &k }(), "Define"},
		"not a struct":    {resource.Define(declaration(), resource.Behaviour[int]{}), "not a struct"},
		"no label":        {resource.Define(declaration(), resource.Behaviour[unlabelled]{}), "spec.a has no label"},
		"half a label":    {resource.Define(declaration(), resource.Behaviour[half]{}), "spec.a has no label"},
		"nested label":    {resource.Define(declaration(), resource.Behaviour[nested]{}), "spec.a[].a has no label"},
		"unknown type":    {resource.Define(declaration(), resource.Behaviour[odd]{}), "unsupported type float64"},
		"unknown, nested": {resource.Define(declaration(), resource.Behaviour[oddInside]{}), "spec.a{}[].a has the unsupported type"},
		"unknown key":     {resource.Define(declaration(), resource.Behaviour[keys]{}), "unsupported type map[int]string"},
	} {
		if _, err := resource.NewRegistry(tt.kind); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoTwoKindsAnswerToOneName(t *testing.T) {
	other := func(name, plural, short string) *resource.Kind {
		d := declaration()
		d.Name, d.Plural, d.Short = name, plural, short
		return resource.Define(d, resource.Behaviour[thingSpec]{})
	}
	for _, k := range []*resource.Kind{thing(), other("Thing", "b", "c"), other("THING", "b", "c"), other("B", "things", "c"), other("B", "thing", "c"), other("B", "b", "thing"), other("Things", "b", "c")} {
		if _, err := resource.NewRegistry(thing(), k); err == nil || !strings.Contains(err.Error(), "both answer to") {
			t.Errorf("%s/%s/%s: %v", k.Name, k.Plural, k.Short, err)
		}
	}
	r, err := resource.NewRegistry(thing(), other("B", "bs", "b"))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Names(); len(got) != 2 || got[0] != "Thing" || len(r.All()) != 2 {
		t.Errorf("%v", got)
	}
	r.All()[0] = nil
	if r.All()[0] == nil {
		t.Error("the registry was changed from outside")
	}
}

func TestKindsAreFound(t *testing.T) {
	r := registry(t)
	for _, name := range []string{"Thing", "thing", "things", "THINGS"} {
		if k, err := r.Find(name); err != nil || k.Name != "Thing" {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "thingies", strings.Repeat("x", 9000)} {
		_, err := r.Find(name)
		if e := fault.Of(err); e.Code != fault.Invalid || len(e.Detail.En) > 300 {
			t.Errorf("%.10q: %v", name, err)
		}
	}
	if _, err := r.Kind("thing"); err == nil {
		t.Error("a manifest's kind has one spelling")
	}
	if k, err := r.Kind("Thing"); err != nil || k.Access() {
		t.Errorf("%v", err)
	}
}

func TestSchemaSaysWhatTheDecoderEnforces(t *testing.T) {
	b, err := json.Marshal(thing().Schema())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"additionalProperties":false`, `"required":["name"]`, `"enum":["block","detect","off"]`, `"maxItems":3`, `"minLength":2`, `"maxLength":5`, `"minimum":1`, `"maximum":4`,
		`"format":"date-time"`, `"x-title-zh":"模式"`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s is not in\n%s", want, b)
		}
	}
	if strings.Contains(string(b), "hidden") {
		t.Error("an unexported field is in the schema")
	}
	var paths []string
	for _, f := range thing().Fields() {
		paths = append(paths, f.Path+" "+f.Type.En)
	}
	if got := strings.Join(paths, ","); got != "spec.hosts[] text,spec.mode text,spec.name text,spec.note text,spec.on true|false,spec.level number,spec.port number,spec.count number,spec.tags map,"+
		"spec.wait duration,spec.limit size,spec.until time,spec.parts[] object,spec.parts[].url text,spec.parts[].weight number,spec.inner object,spec.inner.url text,spec.inner.weight number,spec.free text" {
		t.Error(got)
	}
}
