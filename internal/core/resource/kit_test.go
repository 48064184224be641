package resource_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dun-sec/dun/internal/core/fault"
	"github.com/dun-sec/dun/internal/core/resource"
	"github.com/dun-sec/dun/internal/core/text"
)

// thingSpec has a field of every type that a spec may have.
type thingSpec struct {
	Hosts  []string          `json:"hosts,omitempty" max:"3" each:"format:'host'" en:"Hosts" zh:"域名"`
	Mode   string            `json:"mode,omitempty" enum:"block,detect,off" en:"Mode" zh:"模式"`
	Name   string            `json:"name" required:"true" format:"name" en:"Name" zh:"名称"`
	Note   string            `json:"note,omitempty" min:"2" max:"5" en:"Note" zh:"备注"`
	On     bool              `json:"on,omitempty" en:"On" zh:"开"`
	Level  int               `json:"level,omitempty" min:"1" max:"4" en:"Level" zh:"等级"`
	Port   uint16            `json:"port,omitempty" en:"Port" zh:"端口"`
	Count  uint64            `json:"count,omitempty" en:"Count" zh:"数量"`
	Tags   map[string]string `json:"tags,omitempty" max:"2" en:"Tags" zh:"标记"`
	Wait   resource.Duration `json:"wait,omitempty" en:"Wait" zh:"等待"`
	Limit  resource.Size     `json:"limit,omitempty" en:"Limit" zh:"限制"`
	Until  *time.Time        `json:"until,omitempty" en:"Until" zh:"直到"`
	Parts  []part            `json:"parts,omitempty" min:"1" max:"2" en:"Parts" zh:"部件"`
	Inner  *part             `json:"inner,omitempty" en:"Inner" zh:"内部"`
	Free   string            `json:"free,omitempty" en:"Free" zh:"任意"`
	hidden string
}

type part struct {
	URL    string `json:"url" required:"true" format:"url" en:"Address" zh:"地址"`
	Weight int    `json:"weight,omitempty" en:"Weight" zh:"权重"`
}

func declaration() resource.Kind {
	return resource.Kind{
		Name: "Thing", Plural: "things", Short: "thing", Scope: resource.ScopeTenant, Nav: "test", Version: 1,
		Title: text.T("Thing", "东西"), Doc: text.T("A thing.", "一个东西。"),
		Columns: []resource.Column{{Title: text.T("Mode", "模式"), Value: func(o *resource.Object) string { return o.Spec.(*thingSpec).Mode }}},
		Example: "kind: Thing\n", Sensitivity: resource.SensitivityTenant, ApprovalClass: resource.ApprovalNone,
	}
}

func thing() *resource.Kind {
	return resource.Define(declaration(), resource.Behaviour[thingSpec]{
		Validate: func(_ *resource.Metadata, s *thingSpec, r *resource.Report) {
			if s.Free == "bad" {
				r.Add("spec.free", "is bad", "不好")
			}
		},
	})
}

func registry(t testing.TB) *resource.Registry {
	t.Helper()
	r, err := resource.NewRegistry(thing())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// decodeYAML decodes one document and validates it.
func decodeYAML(t testing.TB, s string) (*resource.Object, error) {
	t.Helper()
	docs, err := resource.ParseYAML([]byte(s))
	if err != nil {
		return nil, err
	}
	if len(docs) != 1 {
		t.Fatalf("%d documents", len(docs))
	}
	return decoded(t, docs[0])
}

func decodeJSON(t testing.TB, s string) (*resource.Object, error) {
	t.Helper()
	n, err := resource.ParseJSON([]byte(s))
	if err != nil {
		return nil, err
	}
	return decoded(t, n)
}

func decoded(t testing.TB, n *resource.Node) (*resource.Object, error) {
	o, k, err := registry(t).Decode(n)
	if err != nil {
		return nil, err
	}
	return o, k.Validate(o)
}

// wantFault looks for a wrong field with the reason, and for both languages in
// all of the error.
func wantFault(t *testing.T, err error, path, reason string) {
	t.Helper()
	if !fault.Is(err, fault.Invalid) {
		t.Errorf("want invalid, got %v", err)
		return
	}
	e := fault.Of(err)
	both := func(x text.Text) bool { return x.En != "" && x.Zh != "" && x.En != x.Zh }
	if !both(e.Detail) {
		t.Errorf("the detail is not in both languages: %+v", e.Detail)
	}
	for _, f := range e.Fields {
		if !both(f.Reason) {
			t.Errorf("%s is not explained in both languages: %+v", f.Path, f.Reason)
		}
	}
	if path == "" && len(e.Fields) == 0 {
		if !strings.Contains(e.Detail.En, reason) {
			t.Errorf("want %q, got %q", reason, e.Detail.En)
		}
		return
	}
	if !slices.ContainsFunc(e.Fields, func(f fault.Field) bool { return f.Path == path && strings.Contains(f.Reason.En, reason) }) {
		t.Errorf("want %s: %s, got %v", path, reason, err)
	}
}
