package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/dun-sec/dun/internal/core/resource"
)

type bellSpec struct {
	Tone string `json:"tone" required:"true" max:"8" en:"Tone" zh:"音"`
}

type bellState struct {
	Rung int `json:"rung" en:"Rung" zh:"次数"`
}

type bellStatus struct {
	Hot bool `json:"hot" en:"Hot" zh:"过热"`
}

type ringInput struct {
	Times int `json:"times" min:"1" max:"9" en:"Times" zh:"次数"`
}

func bell() *resource.Kind {
	return resource.Define(resource.Kind{
		Name: "Bell", Plural: "bells", Short: "bell", Scope: resource.ScopeTenant, Nav: "tower", Version: 1,
		Title: resource.T("Bell", "钟"), Doc: resource.T("A bell.", "钟。"),
		Columns: []resource.Column{{Title: resource.T("Tone", "音"), Value: func(o *resource.Object) string { return o.Spec.(*bellSpec).Tone }}},
		Example: "kind: Bell\nmetadata: {tenant: platform, name: a}\nspec: {tone: c}\n", Sensitivity: resource.SensitivityPublic, ApprovalClass: resource.ApprovalNone,
		NewState: func() any { return &bellState{} }, NewStatus: func() any { return &bellStatus{} }, StatusOwner: "ringer", Finalizers: []string{"ringer"},
		Verbs: []resource.Verb{resource.On(resource.Verb{Name: "ring", Title: resource.T("Ring", "敲响"), Doc: resource.T("Rings it.", "敲钟。")},
			func(a resource.Act[bellSpec, bellState, ringInput]) error {
				a.State.Rung += max(1, a.Input.Times)
				return nil
			})},
	}, resource.Behaviour[bellSpec]{})
}

const jsonHeader = "Content-Type"

func TestVerbsStatusAndFinalizersOverHTTP(t *testing.T) {
	d := newDoor(t, bell())
	const one = "/api/v1/platform/bells/a"
	a := d.call("PUT", one, `{"kind":"Bell","metadata":{},"spec":{"tone":"c"}}`)
	if a.status != 201 || !strings.Contains(a.body, `"state":{"rung":0}`) || !strings.Contains(a.body, `"finalizers":["ringer"]`) {
		t.Fatal(a.status, a.body)
	}
	rev := func(a answer) string { return a.header.Get("Dun-Revision") }
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", one + "/ring", `{"times":2}`, 400, "revision"}, // no unconditional verb
		{"POST", one + "/ring?revision=1", `{"times":2}`, 409, "revision"},
		{"POST", one + "/ring?revision=" + rev(a), `{"times":10}`, 400, "input.times"},
		{"POST", one + "/ring?revision=" + rev(a), `{"times":1,"times":2}`, 400, "times"},
		{"POST", one + "/ring?revision=" + rev(a), `[1]`, 400, "input"},
		{"POST", one + "/crack?revision=" + rev(a), `{}`, 404, "nothing at this path"},
		{"PUT", one + "/status", `{"hot":true}`, 403, "may not status"},
		{"PUT", one + "/status", `{"cold":true}`, 400, "status.cold"},
		{"PUT", one + "/status", ``, 400, "body"},
		{"DELETE", one + "/finalizers/nobody?revision=" + rev(a), ``, 404, "nobody"},
		{"PATCH", one, `{"metadata":{"revision":` + rev(a) + `},"state":{"rung":9}}`, 400, "state"},
	} {
		b := d.call(tt.method, tt.path, tt.body, jsonHeader, contentOf(tt.method))
		if b.status != tt.status || !strings.Contains(b.body, tt.want) {
			t.Errorf("%s %s %s: %d %s", tt.method, tt.path, tt.body, b.status, b.body)
		}
	}
	b := d.call("POST", one+"/ring?revision="+rev(a), `{"times":2}`, jsonHeader, "application/json", "Idempotency-Key", "k")
	again := d.call("POST", one+"/ring?revision="+rev(a), `{"times":2}`, jsonHeader, "application/json", "Idempotency-Key", "k")
	if b.status != 200 || !strings.Contains(b.body, `"rung":2`) || again.body != b.body {
		t.Fatal(b.status, b.body, again.body)
	}
	b = d.call("POST", one+"/ring?revision="+rev(b), ``)
	if b.status != 200 || !strings.Contains(b.body, `"rung":3`) {
		t.Fatal(b.status, b.body)
	}
	del := d.call("DELETE", one+"?revision="+rev(b), "")
	if del.status != 200 || !strings.Contains(del.body, `"deleting"`) {
		t.Fatal(del.status, del.body)
	}
	if end := d.call("DELETE", one+"/finalizers/ringer?revision="+rev(del), ""); end.status != 200 || !strings.Contains(end.body, `"deleted"`) {
		t.Fatal(end.status, end.body)
	}
	doc := d.call("GET", "/openapi.json", "").json(t)
	paths, _ := doc["paths"].(map[string]any)
	for _, p := range []string{"/ring", "/status", "/finalizers/{finalizer}"} {
		if paths["/api/v1/{tenant}/bells/{name}"+p] == nil {
			t.Error(p, "is not described")
		}
		if paths["/api/v1/{tenant}/exclusions/{name}"+p] != nil {
			t.Error("exclusions have no", p)
		}
	}
}

func contentOf(method string) string {
	if method == http.MethodPatch {
		return "application/merge-patch+json"
	}
	return "application/json"
}

func TestATransactionIsAllOrNothing(t *testing.T) {
	d := newDoor(t, bell())
	post := func(body string) answer {
		return d.call("POST", "/api/v1/-/transaction", body, jsonHeader, "application/json")
	}
	put := func(name, tone string) string {
		return fmt.Sprintf(`{"op":"put","object":{"kind":"Bell","metadata":{"tenant":"platform","name":%q},"spec":{"tone":%q}}}`, name, tone)
	}
	at := d.gate.At()
	for body, want := range map[string]string{
		`{"changes":[` + put("a", "c") + `,` + put("b", "much too long") + `]}`:                                         `changes[1].spec.tone`,
		`{"changes":[` + put("a", "c") + `,{"op":"delete","kind":"bell","tenant":"platform","name":"x","revision":3}]}`: `not_found`,
		`{"changes":[` + put("a", "c") + `,{"op":"burn","kind":"bell","tenant":"platform","name":"x"}]}`:                `change 2 of 2: op: want`,
		`{"changes":[` + put("a", "c") + `],"more":1}`:                                                                  `nothing else`,
		`{"changes":[` + put("a", "c") + `]}{}`:                                                                         `nothing else`,
		`{"changes":[]}`:                                                                                                `nothing to change`,
		``:                                                                                                              `nothing else`,
		`{"changes":[{"op":"put","kind":"Bell","object":{"kind":"Bell","metadata":{"tenant":"platform","name":"a"},"spec":{"tone":"c"}}}]}`: `in its object`,
		`{"changes":[{"op":"put","object":{"kind":"Bell","kind":"Bell","metadata":{"tenant":"platform","name":"a"},"spec":{"tone":"c"}}}]}`: `kind`,
		`{"changes":[{"op":"patch","kind":"Bell","tenant":"platform","name":"a","patch":{"spec":{"tone":"d"}}}]}`:                           `not_found`,
		`{"changes":[{"op":"act","kind":"Bell","tenant":"platform","name":"a","verb":"crack","revision":1}]}`:                               `no verb`,
		`{"changes":[` + strings.TrimSuffix(strings.Repeat(put("a", "c")+",", 101), ",") + `]}`:                                             `more than 100`,
	} {
		if a := post(body); a.status < 400 || a.status >= 500 || !strings.Contains(a.body, want) {
			t.Errorf("%.120s: %d %s", body, a.status, a.body)
		}
	}
	if d.gate.At() != at {
		t.Error("a refused transaction left something behind")
	}
	a := post(`{"changes":[` + put("a", "c") + `,{"op":"act","kind":"bells","tenant":"platform","name":"a","verb":"ring","revision":` + fmt.Sprint(at.Revision+1) + `,"input":{"times":4}}]}`)
	if a.status != 200 || !strings.Contains(a.body, `"rung":4`) || d.gate.At().Revision != at.Revision+2 {
		t.Error(a.status, a.body)
	}
}

func TestAListIsAsLongAsAsked(t *testing.T) {
	d := newDoor(t, bell())
	for p := range 25 {
		var list []string
		for i := range 100 {
			list = append(list, fmt.Sprintf(`{"op":"put","object":{"kind":"Bell","metadata":{"tenant":"platform","name":"b%04d"},"spec":{"tone":"c"}}}`, p*100+i))
		}
		if a := d.call("POST", "/api/v1/-/transaction", `{"changes":[`+strings.Join(list, ",")+`]}`, jsonHeader, "application/json"); a.status != 200 {
			t.Fatal(a.body)
		}
	}
	items := func(q string) ([]any, string) {
		t.Helper()
		doc := d.call("GET", "/api/v1/-/bells"+q, "").json(t)
		if doc["at"] != d.gate.At().String() {
			t.Error(doc["at"])
		}
		next, _ := doc["next"].(string)
		list, ok := doc["items"].([]any)
		if !ok {
			t.Fatal(doc)
		}
		return list, next
	}
	if l, next := items("?limit=100000"); len(l) != 2500 || next != "" {
		t.Error(len(l), next)
	}
	l, next := items("?limit=1700")
	if len(l) != 1700 || next == "" {
		t.Error(len(l), next)
	}
	if l, next = items("?limit=1700&after=" + next); len(l) != 800 || next != "" {
		t.Error(len(l), next)
	}
	if l, next = items(""); len(l) != 100 || next == "" {
		t.Error(len(l), next)
	}
	if l, _ = items("?labels=a=b"); len(l) != 0 {
		t.Error(len(l))
	}
}
